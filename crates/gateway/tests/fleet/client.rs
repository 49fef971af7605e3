//! An agent that says exactly what a test wants.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use nixfleet_protocol::{AgentMessage, DashboardMessage, Heartbeat, HeartbeatAck, encode};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

/// Longest wait for a frame.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection.
pub(crate) struct Client(WebSocketStream<TcpStream>);

/// What a gateway sends.
#[derive(Debug)]
pub(crate) enum Frame {
    Message(DashboardMessage),
    Pong(Bytes),
    Close(u16, String),
    /// The connection ended without a close frame.
    Gone,
}

impl Client {
    /// Connects, or returns the status of the answer that refused it.
    pub(crate) async fn connect(address: SocketAddr, token: &str) -> Result<Self, u16> {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(err) => panic!("{err}"),
        }
    }

    /// One that has registered this name.
    pub(crate) async fn registered(address: SocketAddr, token: &str, host: &str) -> Self {
        let mut client = Self::connect(address, token).await.unwrap();
        client.register(host).await;
        let Frame::Message(DashboardMessage::Registered(registered)) = client.next().await else {
            panic!("not registered")
        };
        assert_eq!(registered.host_id, host);
        client
    }

    pub(crate) async fn register(&mut self, host: &str) {
        let payload =
            format!(r#"{{"type":"register","payload":{{"hostname":"{host}","heartbeat_interval":1}}}}"#);
        self.say(&payload).await;
    }

    pub(crate) async fn beat(&mut self, seq: u64) {
        let beat = Heartbeat { generation: "1".to_owned(), seq: Some(seq), ..Heartbeat::default() };
        self.say(&encode(&AgentMessage::Heartbeat(Box::new(beat)))).await;
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.0.send(text.to_owned().into()).await.unwrap();
    }

    pub(crate) async fn ping(&mut self, payload: &'static str) {
        self.0.send(Message::Ping(Bytes::from_static(payload.as_bytes()))).await.unwrap();
    }

    /// The next frame that is no ping of the gateway.
    pub(crate) async fn next(&mut self) -> Frame {
        timeout(PATIENCE, self.frame()).await.expect("a frame")
    }

    async fn frame(&mut self) -> Frame {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => {
                    return Frame::Message(DashboardMessage::decode(&text).unwrap());
                }
                Some(Ok(Message::Pong(payload))) => return Frame::Pong(payload),
                Some(Ok(Message::Close(Some(close)))) => {
                    return Frame::Close(close.code.into(), close.reason.to_string());
                }
                Some(Ok(Message::Ping(_))) => {}
                _ => return Frame::Gone,
            }
        }
    }

    /// Waits for a ping of the gateway, and says something all the time.
    pub(crate) async fn is_pinged(&mut self) {
        let mut says = interval(Duration::from_millis(100));
        let pinged = async {
            loop {
                tokio::select! {
                    _ = says.tick() => self.0.send(r#"{"type":"anything"}"#.into()).await.unwrap(),
                    frame = self.0.next() => match frame {
                        Some(Ok(Message::Ping(_))) => return,
                        other => panic!("{other:?}"),
                    },
                }
            }
        };
        timeout(PATIENCE, pinged).await.expect("a ping");
    }

    /// The next acknowledgement of a heartbeat.
    pub(crate) async fn ack(&mut self) -> HeartbeatAck {
        match self.next().await {
            Frame::Message(DashboardMessage::HeartbeatAck(ack)) => ack,
            other => panic!("{other:?}"),
        }
    }

    /// Whether a frame comes within this time.
    pub(crate) async fn is_silent_for(&mut self, time: Duration) -> bool {
        timeout(time, self.next()).await.is_err()
    }
}
