//! Dashboards and a real NATS, where the test says what a gateway would.

#![allow(clippy::unwrap_used, reason = "a wrong step fails the test")]

use std::time::Duration;

use nixfleet_dashboard::{Handle, HostStatus};
use nixfleet_fleet::{Layout, Options, Sizes};
use nixfleet_testbed::{Cluster, Nats};
use serde_json::json;

use rig::{AT, Gateway, Guarded, LIMIT, LONG, Screen, example, lines, patient};

mod rig;

/// Waits until the host is so, with so many lines.
async fn is(screen: &Screen, what: &str, status: HostStatus, lines: u64) {
    let look = |handle: &Handle| {
        let view = handle.host("web-1")?;
        (view.status == status && view.lines == lines).then_some(())
    };
    screen.handle.wait_until(what, LIMIT, look).await;
}

#[tokio::test]
async fn two_dashboards_show_the_same_however_late_they_start() {
    let Some(nats) = Nats::start() else { return };
    let gateway = Gateway::start(&nats).await;
    let claim = gateway.registers("web-1").await;
    let connection = claim.owner.connection;
    gateway.beats("web-1", connection, "a", LONG).await;
    gateway.says("web-1", connection, &lines("j1", 1..4)).await;
    let first = Screen::start(&nats).await;
    is(&first, "the host as it was", HostStatus::Online, 3).await;
    // Lines that come live, some of them again; a rejection; an end.
    gateway.says("web-1", connection, &lines("j1", 2..6)).await;
    gateway.says("web-1", connection, &example("command_rejected")).await;
    gateway.says("web-1", connection, &example("status")).await;
    gateway.registers("web-2").await;
    let second = Screen::ready(&nats).await;
    is(&second, "the same lines", HostStatus::Online, 5).await;
    is(&first, "live lines", HostStatus::Online, 5).await;
    let ended = |handle: &Handle| {
        (handle.host("web-2").is_some() && handle.host("web-1")?.last_status.is_some()).then_some(())
    };
    first.handle.wait_until("the end", LIMIT, ended).await;
    let (one, two) = (first.content("web-1").await, second.content("web-1").await);
    assert_eq!(one, two);
    let kinds: Vec<_> =
        one.1.as_array().unwrap().iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["head", "line", "line", "line", "line", "line", "rejected", "end"]);
    assert_eq!(first.handle.host("web-1").unwrap().repeats, 2);

    // The host moves. Until its next heartbeat nobody sees a change, whenever a dashboard has started.
    let newer = gateway.registers("web-1").await.owner.connection;
    for screen in [&first, &second] {
        let newest = |handle: &Handle| (handle.connections("web-1") == newer).then_some(());
        screen.handle.wait_until("the newer connection", LIMIT, newest).await;
        is(screen, "a move", HostStatus::Online, 5).await;
    }
    let third = Screen::ready(&nats).await;
    is(&third, "a move that was missed", HostStatus::Online, 5).await;
    // What comes late over the older connection does not replace what is newer.
    gateway.beats("web-1", newer, "newer", LONG).await;
    let newest = |handle: &Handle| (handle.host("web-1")?.generation == "newer").then_some(());
    for screen in [&first, &second, &third] {
        // The bucket has one entry of a host, so the next one may take its place unseen.
        screen.handle.wait_until("the newer readings", LIMIT, newest).await;
    }
    gateway.beats("web-1", connection, "older", LONG).await;
    gateway.says("web-1", newer, &lines("j1", 4..9)).await;
    for screen in [&first, &second, &third] {
        is(screen, "lines behind it", HostStatus::Online, 8).await;
        screen.handle.wait_until("the newer readings still", LIMIT, newest).await;
    }
    // The marker of an expired heartbeat is the only thing that makes it offline.
    gateway.beats("web-1", newer, "newer", Duration::from_millis(300)).await;
    for screen in [&first, &second, &third] {
        is(screen, "an expired heartbeat", HostStatus::Offline, 8).await;
    }
}

#[tokio::test]
async fn the_end_of_a_connection_shows_and_is_not_the_end_of_a_host() {
    let Some(nats) = Nats::start() else { return };
    let gateway = Gateway::start(&nats).await;
    let claim = gateway.registers("web-1").await;
    gateway.beats("web-1", claim.owner.connection, "a", LONG).await;
    let screen = Screen::ready(&nats).await;
    assert!(screen.handle.host("web-1").unwrap().connected);
    gateway.leaves("web-1", claim).await;
    let left = |handle: &Handle| (!handle.host("web-1")?.connected).then_some(());
    screen.handle.wait_until("the end of the connection", LIMIT, left).await;
    assert_eq!(screen.handle.host("web-1").unwrap().status, HostStatus::Online);
    let late = Screen::ready(&nats).await;
    let host = late.handle.host("web-1").unwrap();
    assert_eq!((host.connected, host.status), (false, HostStatus::Online));
}

#[tokio::test]
async fn a_fleet_without_a_gateway_says_so_and_one_that_lost_its_heartbeats_is_offline_until_the_next_ones() {
    let Some(mut nats) = Nats::start() else { return };
    let screen = Screen::start(&nats).await;
    screen.wait_ready("No gateway has made the fleet's store in NATS").await;
    assert_eq!(screen.get("/healthz").await, (200, "ok\n".to_owned()));
    let gateway = Gateway::start(&nats).await;
    screen.wait_ready("ready\n").await;
    let connection = gateway.registers("web-1").await.owner.connection;
    gateway.beats("web-1", connection, "a", LONG).await;
    gateway.says("web-1", connection, &lines("j1", 1..4)).await;
    gateway.says("web-1", connection, &example("command_rejected")).await;
    is(&screen, "a host", HostStatus::Online, 3).await;
    // Its facts, the heartbeat, the lines and the rejection.
    let told = 4;
    patient(async || if screen.handle.next_index("web-1") == told { Ok(()) } else { Err("less") }).await;

    nats.kill();
    let away = screen.wait_ready("The fleet's store is away since 20").await;
    is(&screen, "what was true", HostStatus::Online, 3).await;
    assert_eq!(screen.wait_ready("away").await, away, "it is the same time however often NATS is tried");
    nats.start_again();
    nats.wait();
    // Its memory is lost, and a dashboard makes nothing.
    screen.wait_ready("The fleet's store is without heartbeats since 20").await;
    is(&screen, "no heartbeats", HostStatus::Offline, 3).await;
    patient(async || Layout::ensure(&gateway.jetstream, &Sizes::default()).await).await;
    screen.wait_ready("ready\n").await;
    is(&screen, "still no heartbeats", HostStatus::Offline, 3).await;
    gateway.beats("web-1", connection, "a", LONG).await;
    gateway.says("web-1", connection, &lines("j1", 2..6)).await;
    is(&screen, "heartbeats again", HostStatus::Online, 5).await;
    // One heartbeat and one message since: nothing was told twice.
    assert_eq!(screen.handle.next_index("web-1"), told + 2);
    let late = Screen::ready(&nats).await;
    is(&late, "the same for a new dashboard", HostStatus::Online, 5).await;
    let (one, two) = (screen.content("web-1").await, late.content("web-1").await);
    assert_eq!(one, two);
}

#[tokio::test]
async fn the_answer_to_a_command_says_what_is_known_of_it_and_no_more() {
    let Some(nats) = Nats::start() else { return };
    let gateway = Gateway::start(&nats).await;
    for host in ["web-1", "web-2"] {
        let connection = gateway.registers(host).await.owner.connection;
        gateway.beats(host, connection, "a", LONG).await;
    }
    gateway.answers("web-1").await;
    let screen = Screen::ready(&nats).await;
    let rejected = json!({ "error": "command already running", "current_command": "pull", "current_pid": 7 });
    let asked = [
        ("web-1", "accepted", 202, json!({ "status": "accepted", "confirmed_by": "output" })),
        ("web-1", "silent", 202, json!({ "status": "sent", "confirmed_by": null })),
        ("web-1", "stop", 202, json!({ "status": "sent" })),
        ("web-1", "rejected", 409, rejected),
        ("web-1", "refused", 503, json!({ "error": "the host registers" })),
        ("web-1", "unknown", 504, json!({ "status": "unclear", "error": "the connection ended" })),
        ("web-2", "accepted", 409, json!({ "error": "web-2 is not connected" })),
        ("web-3", "accepted", 404, json!({ "error": "unknown host" })),
    ];
    for (host, command, status, expected) in asked {
        let body = json!({ "command": command });
        let (got, answer) = screen.post(&format!("/api/hosts/{host}/command"), &body).await;
        assert_eq!(got, status, "{command}: {answer}");
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&answer[name], value, "{command}: {answer}");
        }
    }
    let (status, answer) = screen.post("/api/hosts/web-1/kill", &json!({ "signal": "SIGTERM" })).await;
    assert_eq!((status, &answer["status"]), (202, &json!("sent")));
    let (status, answer) = screen.post("/api/hosts/web-2/kill", &json!({})).await;
    assert_eq!((status, &answer["error"]), (409, &json!("web-2 is not connected")));
    // A gateway that does not answer, beside one that does not exist.
    let all = json!({ "command": "late", "hosts": ["web-1", "web-2", "web-3"] });
    let (status, answer) = screen.post("/api/commands", &all).await;
    let results: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|one| one["status"].clone()).collect();
    assert_eq!((status, results), (200, vec![json!("unclear"), json!("offline"), json!("unknown")]));
    let why = answer["results"][0]["error"].as_str().unwrap();
    assert!(why.contains("did not reply within 5 s"), "{why}");
}

#[tokio::test]
async fn a_bucket_that_is_made_anew_is_read_from_its_beginning() {
    let Some(nats) = Nats::start() else { return };
    let gateway = Gateway::start(&nats).await;
    let connection = gateway.registers("web-1").await.owner.connection;
    for generation in ["a", "b", "c"] {
        gateway.beats("web-1", connection, generation, LONG).await;
    }
    let screen = Screen::ready(&nats).await;
    // Nobody loses a connection by it, and there are fewer entries than before.
    gateway.jetstream.delete_key_value(nixfleet_fleet::names::BEATS).await.unwrap();
    Layout::ensure(&gateway.jetstream, &Sizes::default()).await.unwrap();
    gateway.beats("web-1", connection, "d", LONG).await;
    let newest = |handle: &Handle| (handle.host("web-1")?.generation == "d").then_some(());
    screen.handle.wait_until("the new heartbeat", LIMIT, newest).await;
    assert_eq!(screen.handle.host("web-1").unwrap().status, HostStatus::Online);
}

#[tokio::test]
async fn an_end_that_the_log_has_lost_before_it_was_read_is_shown_and_no_other_one_twice() {
    let Some(nats) = Nats::start() else { return };
    let gateway = Gateway::start(&nats).await;
    let connection = gateway.registers("web-1").await.owner.connection;
    gateway.beats("web-1", connection, "a", LONG).await;
    gateway.ends("web-1", connection, AT + 1, "first").await;
    let screen = Screen::ready(&nats).await;
    gateway.ends("web-1", connection, AT + 2, "second").await;
    let ended = |message: &'static str| {
        let look = move |handle: &Handle| {
            (handle.host("web-1")?.last_status?.status.message == message).then_some(())
        };
        screen.handle.wait_until(message, LIMIT, look)
    };
    ended("second").await;
    // Without heartbeats, nothing is read.
    gateway.jetstream.delete_key_value(nixfleet_fleet::names::BEATS).await.unwrap();
    screen.wait_ready("without heartbeats").await;
    gateway.ends("web-1", connection, AT + 3, "third").await;
    gateway.jetstream.get_stream(nixfleet_fleet::names::LOG).await.unwrap().purge().await.unwrap();
    Layout::ensure(&gateway.jetstream, &Sizes::default()).await.unwrap();
    ended("third").await;
    let log = screen.content("web-1").await.1;
    let ends = log.as_array().unwrap().iter().filter(|entry| entry["kind"] == "end").count();
    assert_eq!(ends, 3, "{log}");
}

#[tokio::test]
async fn the_login_of_a_dashboard_may_do_all_that_it_does() {
    let Some(mut guarded) = Guarded::start() else { return };
    let gateway = Gateway::start_as(&guarded.login("gateway")).await;
    let connection = gateway.registers("web-1").await.owner.connection;
    gateway.beats("web-1", connection, "a", LONG).await;
    gateway.says("web-1", connection, &example("status")).await;
    gateway.says("web-1", connection, &lines("j1", 1..4)).await;
    gateway.answers("web-1").await;
    let screen = Screen::start_as(guarded.login("dashboard")).await;
    screen.wait_ready("ready\n").await;
    is(&screen, "what was there", HostStatus::Online, 3).await;
    gateway.says("web-1", connection, &lines("j1", 4..6)).await;
    is(&screen, "live lines", HostStatus::Online, 5).await;
    let (status, answer) = screen.post("/api/hosts/web-1/command", &json!({ "command": "accepted" })).await;
    assert_eq!(status, 202, "{answer}");
    guarded.nats.kill();
    screen.wait_ready("away").await;
    guarded.nats.start_again();
    screen.wait_ready("without heartbeats").await;
    patient(async || Layout::ensure(&gateway.jetstream, &Sizes::default()).await).await;
    gateway.beats("web-1", connection, "b", LONG).await;
    screen.wait_ready("ready\n").await;
    is(&screen, "all of it again", HostStatus::Online, 5).await;
    guarded.assert_no_violations();
}

#[tokio::test]
async fn a_server_of_three_that_dies_hides_nothing_for_long() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    let options = Options { servers: cluster.urls(), name: "test".to_owned(), ..Options::default() };
    let gateway = Gateway::start_with(&options, 3).await;
    let connection = gateway.registers("web-1").await.owner.connection;
    patient(async || gateway.beat("web-1", connection, "a", LONG).await).await;
    // Of several dashboards, some have a consumer on the server that dies.
    let mut screens = Vec::new();
    for _ in 0..2 {
        screens.push(Screen::start_as(options.clone()).await);
    }
    for screen in &screens {
        screen.wait_ready("ready\n").await;
    }
    cluster.kill((cluster.wait_leader() + 1) % 3);
    patient(async || gateway.beat("web-1", connection, "b", LONG).await).await;
    for screen in &screens {
        let newest = |handle: &Handle| (handle.host("web-1")?.generation == "b").then_some(());
        // The servers themselves need seconds for new leaders.
        screen.handle.wait_until("the newest heartbeat", 2 * LIMIT, newest).await;
    }
}
