//! Each fault.

use std::time::Duration;

use futures_util::SinkExt;
use serde_json::json;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use nixfleet_protocol::DashboardMessage;

use super::client::{LIMIT, Running, beat};
use crate::{Faults, Handle, SendError};

/// How long something must not happen. The test may pass by chance, but it cannot fail by chance.
const QUIET: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_dropped_connection_ends_without_a_close_frame() {
    let dashboard = Running::start().await;
    let mut agent = dashboard.agent("web").await;
    dashboard.handle.drop_connection("web").unwrap();
    assert_eq!(agent.close_code().await, None);
    dashboard
        .handle
        .wait_until("end", LIMIT, |h: &Handle| h.host("web").filter(|host| !host.connected))
        .await;
    assert_eq!(dashboard.handle.drop_connection("web"), Err(SendError::NotConnected));
    assert_eq!(dashboard.handle.drop_connection("nobody"), Err(SendError::UnknownHost));
    let mut agent = dashboard.agent("web").await;
    assert_eq!(dashboard.post("/api/hosts/web/faults", r#"{"action":"drop"}"#).await.0, 202);
    assert_eq!(agent.close_code().await, None);
    dashboard.stop().await;
}

#[tokio::test]
async fn a_connection_is_closed_with_the_code_and_reason_asked_for() {
    let dashboard = Running::start().await;
    let mut agent = dashboard.agent("web").await;
    let body = json!({"action": "close", "code": 1012, "reason": "ä".repeat(100)}).to_string();
    assert_eq!(dashboard.post("/api/hosts/web/faults", &body).await.0, 202);
    let close = agent.closed().await.unwrap();
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1012, &*"ä".repeat(61)));
    dashboard.stop().await;
}

#[tokio::test]
async fn refused_connections_get_the_status_and_retry_after() {
    let dashboard = Running::start().await;
    let cases = [(401, None), (403, None), (429, Some(7)), (503, Some(120))];
    for (status, retry_after) in cases {
        let body = json!({"refuse_auth": {"status": status, "retry_after": retry_after}}).to_string();
        assert_eq!(dashboard.post("/api/faults", &body).await.0, 200);
        let expected = (status, retry_after.map(|seconds: u64| seconds.to_string()));
        assert_eq!(dashboard.refused(dashboard.agent_request()).await, expected);
    }
    assert_eq!(dashboard.post("/api/faults", r#"{"refuse_auth":{"status":200}}"#).await.0, 400);
    assert_eq!(dashboard.post("/api/faults", r#"{"nonsense":true}"#).await.0, 400);
    let (_, faults) = dashboard.post("/api/faults", r#"{"refuse_auth":null}"#).await;
    assert_eq!(faults, dashboard.get("/api/faults").await.1);
    dashboard.agent("web").await;
    dashboard.stop().await;
}

#[tokio::test]
async fn frames_go_out_as_they_are_and_many_of_them_together() {
    let dashboard = Running::start().await;
    let mut agent = dashboard.agent("web").await;
    let texts: Vec<String> = (0..500).map(|number| format!("not json {number}")).collect();
    dashboard.handle.send_many("web", texts.clone()).unwrap();
    for text in texts {
        assert_eq!(agent.frame().await, Some(Message::text(text)));
    }
    assert_eq!(
        dashboard.post("/api/hosts/web/faults", r#"{"action":"send_text","texts":["{"]}"#).await.0,
        202
    );
    assert_eq!(agent.frame().await, Some(Message::text("{")));
    dashboard.handle.send_binary("web", vec![0, 255]).unwrap();
    assert_eq!(agent.frame().await, Some(Message::binary(vec![0, 255])));
    let long = "x".repeat(10 * 1024 * 1024);
    dashboard.handle.send_raw("web", long.clone()).unwrap();
    assert!(agent.frame().await == Some(Message::text(long)), "10 MiB arrive whole");
    assert_eq!(dashboard.handle.send_raw("web", "x".repeat(17 * 1024 * 1024)), Err(SendError::TooLong));
    dashboard.stop().await;
}

#[tokio::test]
async fn a_command_can_be_sent_again_to_the_letter() {
    let dashboard = Running::start().await;
    let mut agent = dashboard.agent("web").await;
    assert_eq!(dashboard.handle.resend_command("web"), Err(SendError::NothingToResend));
    dashboard.handle.send_command("web", "pull", Some("once")).unwrap();
    assert_eq!(dashboard.post("/api/hosts/web/faults", r#"{"action":"resend"}"#).await.0, 202);
    assert_eq!(agent.command().await, agent.command().await);
    dashboard.stop().await;
}

#[tokio::test]
async fn pings_are_answered_with_their_payload_unless_pongs_are_off() {
    let dashboard = Running::start().await;
    let mut agent = dashboard.agent("web").await;
    let ping = Message::Ping(b"one".to_vec().into());
    agent.socket.send(ping).await.unwrap();
    assert_eq!(agent.frame().await, Some(Message::Pong(b"one".to_vec().into())));
    dashboard.handle.set_faults(Faults { never_pong: true, ..Faults::default() });
    // The task of the socket sees the switch before the ping, because it is woken first.
    agent.send(&beat(None)).await;
    dashboard.handle.wait_until("beat", LIMIT, |handle| (handle.next_index("web") == 3).then_some(())).await;
    agent.socket.send(Message::Ping(b"two".to_vec().into())).await.unwrap();
    // The command sent after the ping arrives, but the pong does not.
    agent.send(&beat(None)).await;
    dashboard.handle.wait_until("beat", LIMIT, |handle| (handle.next_index("web") == 4).then_some(())).await;
    dashboard.handle.send_command("web", "pull", None).unwrap();
    assert!(matches!(agent.frame().await, Some(Message::Text(_))));
    dashboard.handle.set_faults(Faults::default());
    agent.send(&beat(None)).await;
    dashboard.handle.wait_until("beat", LIMIT, |handle| (handle.next_index("web") == 5).then_some(())).await;
    agent.socket.send(Message::Ping(b"three".to_vec().into())).await.unwrap();
    assert_eq!(agent.frame().await, Some(Message::Pong(b"three".to_vec().into())));
    dashboard.stop().await;
}

#[tokio::test]
async fn a_dashboard_that_stops_reading_still_writes_and_catches_up_later() {
    let dashboard = Running::start().await;
    let mut agent = dashboard.agent("web").await;
    dashboard.handle.set_faults(Faults { stop_reading: true, ..Faults::default() });
    let before = dashboard.handle.next_index("web");
    tokio::task::yield_now().await;
    for _ in 0..3 {
        agent.send(&beat(None)).await;
    }
    dashboard.handle.send_command("web", "pull", None).unwrap();
    assert_eq!(agent.command().await.command, "pull");
    let read = dashboard
        .handle
        .wait_until("message", LIMIT, |handle| (handle.next_index("web") > before).then_some(()));
    assert!(timeout(QUIET, read).await.is_err(), "it read a message");
    dashboard.handle.set_faults(Faults::default());
    dashboard
        .handle
        .wait_until("the three beats", LIMIT, |handle| (handle.next_index("web") == before + 3).then_some(()))
        .await;
    dashboard.stop().await;
}

#[tokio::test]
async fn registered_can_be_withheld_or_come_without_capabilities() {
    let dashboard = Running::start().await;
    dashboard.handle.set_faults(Faults { no_capabilities: true, ..Faults::default() });
    let mut legacy = dashboard.silent_agent().await;
    legacy.register("old").await;
    let DashboardMessage::Registered(registered) = legacy.next().await else { panic!("registered") };
    assert_eq!(registered.capabilities, Vec::<String>::new());
    dashboard.handle.set_faults(Faults { no_registered: true, ..Faults::default() });
    let mut agent = dashboard.silent_agent().await;
    agent.register("web").await;
    dashboard.handle.wait_until("register", LIMIT, |handle| handle.host("web")).await;
    assert!(timeout(QUIET, agent.frame()).await.is_err(), "nothing is answered");
    dashboard.stop().await;
}

#[tokio::test]
#[should_panic(expected = "still no unicorn; the last state:\nHostView {")]
async fn a_wait_in_vain_shows_the_last_state() {
    let dashboard = Running::start().await;
    let _agent = dashboard.agent("web").await;
    dashboard.handle.wait_until("unicorn", Duration::from_millis(20), |_| None::<()>).await;
}
