//! Frames of agents over real sockets, in every shape that a library may give them.

use std::sync::{Arc, Mutex};

use futures_util::SinkExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data as OpData, OpCode};

use nixfleet_protocol::{AgentMessage, Heartbeat, encode};

use super::client::{Running, beat};
use super::world::status;

#[tokio::test]
async fn messages_arrive_however_they_are_cut_and_packed() {
    const MANY: usize = 300;
    let dashboard = Running::start().await;
    let mut agent = dashboard.agent("web").await;
    let begun = dashboard.handle.next_index("web");
    let text = encode(&beat(None)).into_bytes();
    let part = |bytes: &[u8], opcode: OpData, last| {
        Message::Frame(Frame::message(bytes.to_vec(), OpCode::Data(opcode), last))
    };
    // In three parts, with something else in between, each at its own time.
    let ping = Message::Ping(b"between".to_vec().into());
    let parts = [
        part(&text[..10], OpData::Text, false),
        ping.clone(),
        part(&text[10..60], OpData::Continue, false),
        part(&text[60..], OpData::Continue, true),
    ];
    for frame in parts {
        agent.socket.send(frame).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(agent.frame().await, Some(Message::Pong(b"between".to_vec().into())));
    // More than are handled at once, with one write, behind a message that is longer than any buffer.
    let long = Heartbeat { store_path: "x".repeat(300_000), ..Heartbeat::default() };
    agent.socket.feed(Message::text(encode(&AgentMessage::Heartbeat(Box::new(long))))).await.unwrap();
    for _ in 0..MANY {
        agent.socket.feed(Message::text(encode(&beat(None)))).await.unwrap();
    }
    agent.socket.feed(ping.clone()).await.unwrap();
    agent.socket.flush().await.unwrap();
    assert_eq!(agent.frame().await, Some(Message::Pong(b"between".to_vec().into())));
    let messages = dashboard.handle.messages_since("web", begun);
    assert_eq!(messages.len(), 1 + 1 + MANY);
    assert_eq!((&messages[0].message, &messages[1 + MANY].message), (&beat(None), &beat(None)));
    assert_eq!(dashboard.handle.host("web").unwrap().ignored_frames, 0);
    dashboard.stop().await;
}

/// What is logged meanwhile.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_agent_can_neither_forge_a_line_of_the_log_nor_fill_it() {
    let logged = Logged::default();
    let writer = logged.clone();
    let lines = tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(lines.with_max_level(tracing::Level::DEBUG).finish());
    let dashboard = Running::start().await;
    let mut agent = dashboard.agent("web").await;
    let bad = format!("x\n INFO forged \u{202e}{}", "y".repeat(100_000));
    let AgentMessage::Status(status) = status() else { unreachable!() };
    let command = nixfleet_protocol::Status { command: bad.clone(), ..status };
    let messages = [
        serde_json::json!({ "type": bad, "payload": {} }).to_string(),
        serde_json::json!({ "type": "output", "payload": { "line": "", "stream": bad } }).to_string(),
        encode(&AgentMessage::Status(command)),
        encode(&beat(Some(&bad))),
    ];
    for message in messages {
        agent.socket.send(Message::text(message)).await.unwrap();
    }
    agent.socket.send(Message::Ping(b"end".to_vec().into())).await.unwrap();
    assert_eq!(agent.frame().await, Some(Message::Pong(b"end".to_vec().into())));
    assert_eq!(dashboard.handle.host("web").unwrap().ignored_frames, 2);
    dashboard.stop().await;
    let text = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
    let told: Vec<&str> = text.lines().filter(|line| line.contains("forged")).collect();
    assert_eq!(told.len(), 4, "{} lines", told.len());
    for line in told {
        assert!(!line.starts_with(" INFO forged") && !line.contains('\u{202e}'), "{line:.300}");
        assert!(line.len() < 1_000, "{} bytes", line.len());
    }
}
