//! Frames of agents over real sockets, in every shape that a library may give them.

use futures_util::SinkExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data as OpData, OpCode};

use nixfleet_protocol::{AgentMessage, Heartbeat, encode};

use super::client::{Running, beat};

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
