//! The dashboard's end of the socket.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use nixfleet_protocol::{AgentMessage, Heartbeat, Status};

use super::{HOUR, LONGEST, Rig};
use crate::link::ended::Ended;

impl Rig {
    fn socket(&mut self) -> &mut WebSocketStream<DuplexStream> {
        self.socket.as_mut().unwrap()
    }

    /// The next frame. The agent is never silent for an hour, and no test needs longer than [`LONGEST`]: it would
    /// wait for something that heartbeats do not bring.
    async fn frame(&mut self) -> Message {
        assert!(self.elapsed() < LONGEST, "nothing but other messages for {LONGEST:?}");
        let next = tokio::time::timeout(HOUR, self.socket().next()).await;
        next.expect("a frame within an hour").expect("the connection lives").unwrap()
    }

    pub(crate) async fn next(&mut self) -> AgentMessage {
        loop {
            match self.frame().await {
                Message::Text(text) => return AgentMessage::decode(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Reads up to the next ping, and lets the agent get the pong.
    pub(crate) async fn pong_to_next_ping(&mut self) {
        while !matches!(self.frame().await, Message::Ping(_)) {}
        self.socket().flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// The next message that is no heartbeat.
    pub(crate) async fn next_but_heartbeats(&mut self) -> AgentMessage {
        let next = async {
            loop {
                let message = self.next().await;
                if !matches!(message, AgentMessage::Heartbeat(_)) {
                    return message;
                }
            }
        };
        tokio::time::timeout(HOUR, next).await.expect("a message that is no heartbeat")
    }

    /// The next heartbeat, past output.
    pub(crate) async fn heartbeat(&mut self) -> Heartbeat {
        loop {
            match self.next().await {
                AgentMessage::Heartbeat(heartbeat) => return *heartbeat,
                AgentMessage::Output(_) | AgentMessage::OutputBatch(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) async fn heartbeat_at(&mut self) -> Instant {
        self.heartbeat().await;
        Instant::now()
    }

    pub(crate) async fn status(&mut self) -> Status {
        match self.next_but_heartbeats().await {
            AgentMessage::Status(status) => status,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn accept_registration(&mut self, capabilities: &[&str]) {
        assert!(matches!(self.next().await, AgentMessage::Register(_)));
        self.registered(capabilities).await;
    }

    pub(crate) async fn registered(&mut self, capabilities: &[&str]) {
        let text = serde_json::json!({
            "type": "registered", "payload": {"host_id": "test-host", "capabilities": capabilities}
        });
        self.texts(&[&text.to_string()]).await;
    }

    pub(crate) async fn acknowledge(&mut self, seq: u64, server_status: &str) {
        let server_status: serde_json::Value = serde_json::from_str(server_status).unwrap();
        let payload = serde_json::json!({
            "seq": seq, "server_time": "2026-01-01T00:00:00Z", "server_status": server_status
        });
        let text = serde_json::json!({"type": "heartbeat_ack", "payload": payload});
        self.texts(&[&text.to_string()]).await;
    }

    /// Reads and answers pings, until the session ends.
    pub(crate) async fn listening(&mut self) -> Ended {
        let mut socket = self.hold();
        let listen = tokio::spawn(async move { while matches!(socket.next().await, Some(Ok(_))) {} });
        let ended = self.ended().await;
        listen.abort();
        ended
    }

    /// Sends several frames in one packet.
    pub(crate) async fn texts(&mut self, texts: &[&str]) {
        for text in texts {
            self.socket().feed(Message::text(*text)).await.unwrap();
        }
        self.socket().flush().await.unwrap();
    }

    pub(crate) async fn binary(&mut self, bytes: Vec<u8>) {
        self.socket().send(Message::binary(bytes)).await.unwrap();
    }

    pub(crate) async fn command(&mut self, name: &str, id: Option<&str>) {
        let payload = serde_json::json!({"type": "command", "payload": {"command": name, "id": id}});
        self.texts(&[&payload.to_string()]).await;
    }

    pub(crate) async fn close(&mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        self.socket().send(Message::Close(Some(frame))).await.unwrap();
    }

    pub(crate) async fn close_frame(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(Some(frame)) = self.frame().await {
                // Flushes the answer.
                drop(self.socket().next().await);
                return (frame.code.into(), frame.reason.to_string());
            }
        }
    }

    /// Lets both sides answer everything that is in transit, above all pings.
    pub(crate) async fn pong(&mut self) {
        let limit = Duration::from_millis(1);
        while let Ok(message) = tokio::time::timeout(limit, self.socket().next()).await {
            message.unwrap().unwrap();
        }
        self.socket().flush().await.unwrap();
        tokio::time::sleep(limit).await;
    }

    /// Takes the socket out of the rig: it stays open and is not read.
    pub(crate) fn hold(&mut self) -> WebSocketStream<DuplexStream> {
        self.socket.take().unwrap()
    }

    /// Takes the socket back.
    pub(crate) fn put_back(&mut self, socket: WebSocketStream<DuplexStream>) {
        self.socket = Some(socket);
    }

    /// Lets the session handle what it was sent.
    pub(crate) async fn yield_now(&mut self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn answer_to_ping(&mut self, payload: &'static [u8]) -> Vec<u8> {
        self.socket().send(Message::Ping(payload.into())).await.unwrap();
        loop {
            if let Message::Pong(payload) = self.frame().await {
                return payload.to_vec();
            }
        }
    }

    /// Reads nothing until the session ends.
    pub(crate) async fn without_reading(&mut self) -> Ended {
        let held = self.hold();
        self.begun = Instant::now();
        let ended = self.ended().await;
        drop(held);
        ended
    }

    /// Reads all bytes and answers nothing, until the session ends.
    pub(crate) async fn swallow(&mut self) -> Ended {
        let mut raw = self.socket.take().unwrap().into_inner();
        let swallow = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while matches!(raw.read(&mut buffer).await, Ok(1..)) {}
        });
        let ended = self.ended().await;
        swallow.abort();
        ended
    }
}
