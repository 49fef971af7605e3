//! A dashboard on a free port, and fake agents and browsers that connect to it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Semaphore, mpsc::Receiver, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async, connect_async,
    tungstenite::{
        self, Message,
        client::IntoClientRequest,
        http::{HeaderValue, Request},
        protocol::CloseFrame,
    },
};

use crate::{Asked, Dashboard, Feed, Handle, Options, Strict};
use nixfleet_protocol::{
    AgentMessage, CommandRejected, CommandRequest, DashboardMessage, Heartbeat, Register, encode,
};

/// Limit of every wait, long enough for a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) const TOKEN: &str = "test-token";
pub(crate) const CSRF: &str = "test-csrf";

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::start_as(None).await
    }

    pub(crate) async fn start_as(strict: Option<Strict>) -> Self {
        Self::start_with(strict, &[]).await
    }

    /// With names besides those of loopback.
    pub(crate) async fn start_under(names: &[&str]) -> Self {
        Self::start_with(None, names).await
    }

    async fn start_with(strict: Option<Strict>, names: &[&str]) -> Self {
        let options = Options {
            listen: ([127, 0, 0, 1], 0).into(),
            token: TOKEN.to_owned(),
            csrf_token: Some(CSRF.to_owned()),
            strict,
        };
        let mut dashboard = Dashboard::bind(options).await.unwrap();
        for name in names {
            dashboard = dashboard.allow_host(name).unwrap();
        }
        Self::serve(dashboard, |routes| routes)
    }

    /// With room for so many connections.
    pub(crate) async fn start_with_room(room: Arc<Semaphore>) -> Self {
        let (mut dashboard, _, _) =
            Dashboard::fed(([127, 0, 0, 1], 0).into(), Some(CSRF.to_owned())).await.unwrap();
        dashboard.room = room;
        Self::serve(dashboard, |routes| routes)
    }

    /// Whose hosts are told by the test.
    pub(crate) async fn start_fed() -> (Self, Feed, Receiver<Asked>) {
        Self::start_fed_behind(|routes| routes).await
    }

    /// The same, with a login around it.
    pub(crate) async fn start_fed_behind(
        wrap: impl FnOnce(Router) -> Router + Send + 'static,
    ) -> (Self, Feed, Receiver<Asked>) {
        let listen = ([127, 0, 0, 1], 0).into();
        let (dashboard, feed, asked) = Dashboard::fed(listen, Some(CSRF.to_owned())).await.unwrap();
        (Self::serve(dashboard, wrap), feed, asked)
    }

    fn serve(dashboard: Dashboard, wrap: impl FnOnce(Router) -> Router + Send + 'static) -> Self {
        let (address, handle) = (dashboard.address(), dashboard.handle());
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(dashboard.serve_behind(wrap, async {
            drop(stopped.await);
        }));
        Self { address, handle, stop: Some(stop), task }
    }

    /// Ends `serve` and waits for it.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        timeout(LIMIT, self.task).await.expect("serve ends").unwrap();
    }

    pub(crate) fn agent_request(&self) -> Request<()> {
        let mut request = format!("ws://{}/ws", self.address).into_client_request().unwrap();
        let bearer = HeaderValue::from_str(&format!("Bearer {TOKEN}")).unwrap();
        request.headers_mut().insert("authorization", bearer);
        request
    }

    /// An agent that has registered and sent one heartbeat.
    pub(crate) async fn agent(&self, hostname: &str) -> Agent {
        let mut agent = self.silent_agent().await;
        agent.register(hostname).await;
        assert!(matches!(agent.next().await, DashboardMessage::Registered(_)));
        agent.send(&beat(None)).await;
        self.handle.wait_until("first beat", LIMIT, |handle| handle.host(hostname)?.last_seen).await;
        agent
    }

    /// An agent that has sent nothing yet.
    pub(crate) async fn silent_agent(&self) -> Agent {
        let (socket, _) = connect_async(self.agent_request()).await.unwrap();
        Agent { socket }
    }

    /// The HTTP status of a refused upgrade, and its `Retry-After`.
    pub(crate) async fn refused(&self, request: Request<()>) -> (u16, Option<String>) {
        match connect_async(request).await {
            Err(tungstenite::Error::Http(response)) => {
                let retry = response.headers().get("retry-after");
                (response.status().as_u16(), retry.map(|value| value.to_str().unwrap().to_owned()))
            }
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    pub(crate) async fn browser(&self) -> Browser {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let (socket, _) = client_async(format!("ws://{}/browser", self.address), tcp).await.unwrap();
        Browser { socket }
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.http("GET", path, None, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        self.http("POST", path, Some(CSRF), body).await
    }

    /// Sends one HTTP request.
    pub(crate) async fn http(
        &self,
        method: &str,
        path: &str,
        csrf: Option<&str>,
        body: &str,
    ) -> (u16, Value) {
        let text = self.raw_http(method, path, csrf, body).await;
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    pub(crate) async fn raw_http(&self, method: &str, path: &str, csrf: Option<&str>, body: &str) -> String {
        let csrf = csrf.map_or(String::new(), |token| format!("X-CSRF-Token: {token}\r\n"));
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{csrf}\r\n{body}"
        );
        let mut tcp = TcpStream::connect(self.address).await.unwrap();
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(LIMIT, tcp.read_to_string(&mut answer)).await.expect("an answer in time").unwrap();
        answer
    }
}

pub(crate) struct Agent {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Agent {
    pub(crate) async fn send(&mut self, message: &AgentMessage) {
        self.send_text(encode(message)).await;
    }

    pub(crate) async fn send_text(&mut self, text: String) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn register(&mut self, hostname: &str) {
        let facts = Register {
            hostname: hostname.to_owned(),
            heartbeat_interval: 30,
            agent_version: "0.1.0".to_owned(),
            ..Register::default()
        };
        self.send(&AgentMessage::Register(Box::new(facts))).await;
    }

    /// The next frame; `None` at the end of the connection.
    pub(crate) async fn frame(&mut self) -> Option<Message> {
        timeout(LIMIT, self.socket.next()).await.expect("a frame in time").and_then(Result::ok)
    }

    pub(crate) async fn next(&mut self) -> DashboardMessage {
        loop {
            match self.frame().await.expect("the connection lives") {
                Message::Text(text) => return DashboardMessage::decode(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("expected a message, got {other:?}"),
            }
        }
    }

    pub(crate) async fn command(&mut self) -> CommandRequest {
        match self.next().await {
            DashboardMessage::Command(command) => command,
            other => panic!("expected a command, got {other:?}"),
        }
    }

    /// The close frame at the end of the connection; `None` if there is none.
    pub(crate) async fn closed(&mut self) -> Option<CloseFrame> {
        let mut close = None;
        while let Some(frame) = self.frame().await {
            if let Message::Close(frame) = frame {
                close = frame;
            }
        }
        close
    }

    /// The code of the close frame.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        self.closed().await.map(|frame| frame.code.into())
    }
}

pub(crate) struct Browser {
    socket: WebSocketStream<TcpStream>,
}

impl Browser {
    pub(crate) async fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text.to_owned())).await.unwrap();
    }

    /// Returns at the end of the connection.
    pub(crate) async fn ended(&mut self) {
        while let Some(Ok(_)) = timeout(LIMIT, self.socket.next()).await.expect("an end in time") {}
    }

    pub(crate) async fn next(&mut self) -> Value {
        loop {
            let frame =
                timeout(LIMIT, self.socket.next()).await.expect("news in time").expect("the socket lives");
            if let Message::Text(text) = frame.unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// The payload of the next message of this type.
    pub(crate) async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let mut message = self.next().await;
            if message["type"] == kind {
                return message["payload"].take();
            }
        }
    }
}

pub(crate) fn beat(pending: Option<&str>) -> AgentMessage {
    AgentMessage::Heartbeat(Box::new(Heartbeat {
        generation: "abc1234".to_owned(),
        nixpkgs_version: "24.11.20241201.abc1234".to_owned(),
        pending_command: pending.map(str::to_owned),
        command_pid: pending.map(|_| 12345),
        ..Heartbeat::default()
    }))
}

pub(crate) fn rejection(of: &CommandRequest) -> AgentMessage {
    AgentMessage::CommandRejected(CommandRejected {
        reason: nixfleet_protocol::ALREADY_RUNNING.to_owned(),
        current_command: Some("switch".to_owned()),
        current_pid: Some(12345),
        command: Some(of.command.clone()),
        command_id: of.id.clone(),
    })
}
