//! A dashboard whose hosts are told by another program.

use std::io;
use std::sync::{Arc, Mutex};

use axum::Extension;
use futures_util::FutureExt;
use nixfleet_protocol::{CommandRejected, DashboardMessage, encode};
use serde_json::json;
use tokio::time::timeout;

use super::client::{LIMIT, Running, beat};
use crate::view::HostStatus;
use crate::{Answer, Asked, Outage, Person};

const REGISTER: &str = r#"{"type":"register","payload":{"hostname":"web-1",
    "host_type":"nixos","agent_version":"1","os_version":"1","nixpkgs_version":"1","generation":"a","heartbeat_interval":1}}"#;

#[tokio::test]
async fn a_fed_host_is_online_until_it_is_said_to_be_offline_and_connected_until_it_leaves() {
    let (dashboard, feed, _asked) = Running::start_fed().await;
    let handle = &dashboard.handle;
    let beat = encode(&beat(None));
    assert!(feed.says("web-1", 5, &beat).is_err(), "it has not registered");
    assert!(feed.connects("web-2", 1, 5, REGISTER).is_err(), "another host's name");
    feed.connects("web-1", 7, 5, REGISTER).unwrap();
    // Long ago by its interval of a second: only the marker counts.
    feed.says("web-1", 5, &beat).unwrap();
    let host = handle.host("web-1").unwrap();
    assert_eq!((host.status, host.connected, host.connections), (HostStatus::Online, true, 7));
    feed.leaves("web-1", 6);
    assert!(handle.host("web-1").unwrap().connected, "an older connection has ended");
    feed.leaves("web-1", 7);
    let host = handle.host("web-1").unwrap();
    assert_eq!((host.status, host.connected), (HostStatus::Online, false));
    feed.expires("web-1");
    assert_eq!(handle.host("web-1").unwrap().status, HostStatus::Offline);
    dashboard.stop().await;
}

#[tokio::test]
async fn the_answer_of_another_program_reaches_whoever_asked_and_silence_is_no_acceptance() {
    let (dashboard, feed, mut asked) = Running::start_fed().await;
    feed.connects("web-1", 1, 5, REGISTER).unwrap();
    for (answer, status, word) in [
        (Some(Answer::Accepted("output".to_owned())), 202, "\"confirmed_by\":\"output\""),
        (Some(Answer::Sent), 202, "\"status\":\"sent\""),
        (Some(Answer::Offline("web-1 is not connected".to_owned())), 409, "web-1 is not connected"),
        (Some(Answer::Refused("the gateway drains".to_owned())), 503, "the gateway drains"),
        (Some(Answer::Unknown("the connection ended".to_owned())), 504, "the connection ended"),
        (None, 504, "\"status\":\"unclear\""),
    ] {
        let answering = async {
            let Asked { host, message, reply } = asked.recv().await.unwrap();
            assert_eq!(host, "web-1");
            assert!(matches!(message, DashboardMessage::Command(request) if request.command == "pull"));
            match answer {
                Some(answer) => reply.send(answer).unwrap(),
                None => drop(reply),
            }
        };
        let body = json!({ "command": "pull" }).to_string();
        let asking = dashboard.post("/api/hosts/web-1/command", &body);
        let ((), (got, text)) = tokio::join!(answering, asking);
        assert_eq!(got, status, "{text}");
        let text = text.to_string();
        assert!(text.contains(word), "{text}");
    }
    let (got, _) = dashboard.post("/api/hosts/nobody/command", r#"{"command":"pull"}"#).await;
    assert_eq!(got, 404);
    dashboard.stop().await;
}

#[tokio::test]
async fn a_heartbeat_of_an_older_connection_keeps_a_host_online_and_shows_no_older_readings() {
    let (dashboard, feed, _asked) = Running::start_fed().await;
    let host = || dashboard.handle.host("web-1").unwrap();
    let beat = |generation: &str| {
        let mut beat = serde_json::to_value(beat(None)).unwrap();
        beat["payload"]["generation"] = generation.into();
        beat.to_string()
    };
    assert!(feed.said_before("web-1", 5, &beat("old")).is_err(), "it has not registered");
    feed.connects("web-1", 7, 5, REGISTER).unwrap();
    // A host that has moved, and has not sent a heartbeat since.
    feed.said_before("web-1", 5, &beat("old")).unwrap();
    assert_eq!((host().status, host().generation.as_str()), (HostStatus::Online, "a"));
    assert!(host().metrics.is_some() || host().last_seen.is_some(), "better than nothing");
    feed.says("web-1", 6, &beat("new")).unwrap();
    feed.said_before("web-1", 7, &beat("old")).unwrap();
    assert_eq!((host().status, host().generation.as_str()), (HostStatus::Online, "new"));
    feed.expires("web-1");
    feed.said_before("web-1", 8, &beat("old")).unwrap();
    assert_eq!((host().status, host().generation.as_str()), (HostStatus::Online, "new"));
    dashboard.stop().await;
}

/// What was written to a log.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_says_who_has_asked_what_of_which_host() {
    let written = Written::default();
    let log = written.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let login = |routes: axum::Router| routes.layer(Extension(Person("an\u{1b}[31mna\nb".to_owned())));
    let (dashboard, feed, mut asked) = Running::start_fed_behind(login).await;
    feed.connects("web-1", 1, 5, REGISTER).unwrap();
    let rejection: CommandRejected = serde_json::from_str(r#"{"reason":"pull runs"}"#).unwrap();
    for (path, body, answer, line) in [
        (
            "hosts/web-1/command",
            r#"{"command":"switch"}"#,
            Answer::Accepted(String::new()),
            "switch asked by anna b: accepted",
        ),
        (
            "hosts/web-1/command",
            r#"{"command":"a\nb"}"#,
            Answer::Rejected(rejection),
            "a b asked by anna b: rejected, pull runs",
        ),
        ("hosts/web-1/kill", r#"{"signal":"SIGTERM"}"#, Answer::Sent, "signal SIGTERM asked by anna b: sent"),
        (
            "commands",
            r#"{"command":"pull","hosts":["web-1"]}"#,
            Answer::Unknown("it is gone".to_owned()),
            "pull asked by anna b: unclear, it is gone",
        ),
    ] {
        let answering = async { asked.recv().await.unwrap().reply.send(answer).unwrap() };
        let answering = timeout(LIMIT, answering).map(|answered| answered.expect("a request"));
        let path = format!("/api/{path}");
        let ((), (status, text)) = tokio::join!(answering, dashboard.post(&path, body));
        let log = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(log.contains(&format!("web-1: {line}\n")), "{status} {text}: {log}");
    }
    dashboard.stop().await;
}

#[tokio::test]
async fn browsers_are_told_why_not_all_is_heard_and_when_it_is_again() {
    let (dashboard, feed, _asked) = Running::start_fed().await;
    let mut before = dashboard.browser().await;
    assert!(before.next_of("hosts").await.get("away").is_none());
    let outage = Outage { since_ms: 1_000, what: "The store is away", hint: "It is old." };
    feed.away(Some(outage));
    let expected =
        json!({ "since": "1970-01-01T00:00:01.000Z", "what": "The store is away", "hint": "It is old." });
    assert_eq!(before.next_of("away").await, expected);
    let mut after = dashboard.browser().await;
    assert_eq!(after.next_of("hosts").await["away"], expected);
    feed.away(None);
    assert!(before.next_of("away").await.is_null());
    assert!(after.next_of("away").await.is_null());
    dashboard.stop().await;
}
