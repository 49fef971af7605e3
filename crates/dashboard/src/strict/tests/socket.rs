//! The strict mode over real sockets: the behaviour of an existing dashboard, and the places that show
//! violations.

use std::time::Duration;

use futures_util::SinkExt;
use tokio_tungstenite::tungstenite::Message;

use nixfleet_protocol::DashboardMessage;

use super::say;
use crate::tests::client::{LIMIT, Running, beat};
use crate::{Rule, Strict};

async fn strict() -> Running {
    Running::start_as(Some(Strict::default())).await
}

/// Registers and waits for the answer.
async fn agent(dashboard: &Running) -> crate::tests::client::Agent {
    let mut agent = dashboard.silent_agent().await;
    agent.send_text(say::register()).await;
    let DashboardMessage::Registered(registered) = agent.next().await else { panic!("registered") };
    assert_eq!((registered.capabilities.len(), registered.ack), (0, false), "nothing is announced");
    agent
}

/// Waits until a rule has been broken.
async fn broken(dashboard: &Running, rule: Rule) {
    let look = |handle: &crate::Handle| {
        handle.violations().violations.into_iter().find(|violation| violation.rule == rule)
    };
    dashboard.handle.wait_until(rule.name(), LIMIT, look).await;
}

#[tokio::test]
async fn violations_show_in_the_handle_the_api_and_the_view() {
    let dashboard = strict().await;
    let mut agent = agent(&dashboard).await;
    agent.send(&beat(None)).await;
    agent.send_text(say::status("switch", 0)).await;
    agent.send_text(say::status("switch", 0)).await;
    broken(&dashboard, Rule::RepeatedSuccess).await;
    let (_, answer) = dashboard.get("/api/violations").await;
    assert_eq!((&answer["strict"], &answer["counts"]["repeated_success"]), (&true.into(), &1.into()));
    assert_eq!(answer["violations"][0]["host"], "h");
    let (_, host) = dashboard.get("/api/hosts/h").await;
    assert_eq!(host["violations"], 1);
    let text = host["newest_violation"].as_str().unwrap();
    assert!(text.starts_with("h: repeated_success: `switch` succeeded twice"), "{text}");
    dashboard.stop().await;
}

#[tokio::test]
async fn without_the_strict_mode_nothing_is_judged() {
    let dashboard = Running::start().await;
    let mut agent = dashboard.agent("h").await;
    agent.send_text(say::status("switch", 0)).await;
    agent.send_text(say::status("switch", 0)).await;
    dashboard.handle.wait_until("status", LIMIT, |handle| handle.host("h")?.last_status).await;
    let (_, answer) = dashboard.get("/api/violations").await;
    assert_eq!((&answer["strict"], answer["violations"].as_array().map(Vec::len)), (&false.into(), Some(0)));
    dashboard.stop().await;
}

#[tokio::test]
async fn who_speaks_before_registered_goes_out_is_caught() {
    // Long enough that the answer cannot overtake the heartbeat on a slow machine.
    let times = Strict { registered_after: LIMIT * 10, ..Strict::default() };
    let dashboard = Running::start_as(Some(times)).await;
    let mut agent = dashboard.silent_agent().await;
    agent.send_text(say::register()).await;
    agent.send(&beat(None)).await;
    broken(&dashboard, Rule::BeforeRegistered).await;
    dashboard.stop().await;
}

#[tokio::test]
async fn a_message_with_a_float_for_an_integer_is_dropped_and_the_connection_stays() {
    let dashboard = strict().await;
    let mut agent = agent(&dashboard).await;
    agent.send_text(say::beat_with(serde_json::json!({"command_pid": 5.0}))).await;
    broken(&dashboard, Rule::Integer).await;
    agent.send(&beat(Some("pull"))).await;
    dashboard.handle.wait_until("the next beat", LIMIT, |handle| handle.host("h")?.pending_command).await;
    assert_eq!(dashboard.handle.messages("h").len(), 2, "the register and one beat");
    dashboard.stop().await;
}

#[tokio::test]
async fn a_message_above_512_kib_closes_with_1009() {
    let dashboard = strict().await;
    let mut agent = agent(&dashboard).await;
    // The peer may close the connection while this is being written.
    agent.socket.send(Message::text("x".repeat(600 * 1024))).await.ok();
    assert_eq!(agent.close_code().await, Some(1009));
    broken(&dashboard, Rule::Size).await;
    dashboard.stop().await;
}

#[tokio::test]
async fn a_second_agent_replaces_the_first_with_an_empty_close_frame() {
    let dashboard = strict().await;
    let mut first = agent(&dashboard).await;
    let _second = agent(&dashboard).await;
    let mut closes = Vec::new();
    while let Some(frame) = first.frame().await {
        if let Message::Close(frame) = frame {
            closes.push(frame);
        }
    }
    assert_eq!(closes, [None]);
    dashboard.stop().await;
}

#[tokio::test]
async fn it_pings_and_cuts_who_stays_silent() {
    let times = Strict {
        ping_interval: Duration::from_millis(20),
        // The register and the first ping must arrive within this time, even on a busy machine.
        silence_limit: Duration::from_secs(2),
        ..Strict::default()
    };
    let dashboard = Running::start_as(Some(times)).await;
    let mut agent = agent(&dashboard).await;
    assert!(matches!(agent.frame().await, Some(Message::Ping(_))));
    // From now on the agent reads nothing, so it answers no ping.
    dashboard
        .handle
        .wait_until("the cut", LIMIT, |handle| handle.host("h").filter(|host| !host.connected))
        .await;
    dashboard.stop().await;
}
