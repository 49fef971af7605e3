//! What browsers get.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use nixfleet_protocol::{AgentMessage, Parts, Register, encode};

use super::client::{LIMIT, Running, beat, rejection};
use super::world::{World, line, link, register, status};
use crate::shared::{Shared, UPDATE_INTERVAL, send_updates};

/// A dashboard without sockets, and with hosts.
fn shared(hosts: &[&str]) -> Arc<Shared> {
    let shared = Arc::new(Shared::new("t", "c".to_owned(), None));
    for (session, host) in (1..).zip(hosts) {
        shared.apply(|hub, moment| {
            let facts =
                Register { hostname: (*host).to_owned(), heartbeat_interval: 1, ..Register::default() };
            hub.register(moment, &link(session), &register(&facts), facts, None)
        });
    }
    shared
}

fn say(shared: &Shared, host: &str, session: u64, message: AgentMessage) {
    shared.apply(|hub, moment| hub.receive(moment, host, session, &encode(&message), message));
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[tokio::test(start_paused = true)]
async fn many_beats_are_two_lists_in_a_second_with_each_host_once() {
    let hosts = ["a", "b", "c"];
    let shared = shared(&hosts);
    let (first, mut updates) = shared.subscribe();
    assert_eq!(read(&first)["payload"]["hosts"].as_array().map(Vec::len), Some(3));
    let task = tokio::spawn({
        let shared = Arc::clone(&shared);
        async move { send_updates(&shared).await }
    });
    for _ in 0..40 {
        for (session, host) in (1..).zip(hosts) {
            say(&shared, host, session, beat(Some("pull")));
        }
        sleep(Duration::from_millis(50)).await;
    }
    sleep(UPDATE_INTERVAL).await;
    let mut count = 0;
    while let Ok(update) = updates.try_recv() {
        let update = read(&update);
        assert_eq!(update["type"], "updates");
        let listed = update["payload"]["hosts"].as_array().expect("hosts");
        let ids: Vec<_> = listed.iter().map(|host| host["id"].as_str().expect("an id")).collect();
        assert_eq!(ids, hosts, "each once, sorted");
        assert_eq!(listed[0]["pending"], "pull");
        count += 1;
    }
    assert!((4..=6).contains(&count), "{count} lists in two seconds and a half");
    task.abort();
}

#[test]
fn nothing_is_put_together_for_browsers_that_are_not_there() {
    let mut world = World::new();
    let link = link(1);
    let _watcher = world.hub.watch("other");
    world.hub.set_has_browsers(false);
    world.register(0, &link, "h", 1);
    for message in [beat(None), line(1), status()] {
        world.message(1, &link, message);
    }
    assert_eq!(world.hub.take_news(), []);
    assert!(!world.hub.take_has_changed());
    let moment = world.at(2);
    assert_eq!(world.hub.changes(moment), None);
    world.hub.set_has_browsers(true);
    world.message(3, &link, beat(None));
    assert!(world.hub.take_has_changed());
    world.hub.set_has_browsers(false);
    assert_eq!(world.hub.changes(moment), None, "the last one has left");
    world.hub.set_has_browsers(true);
    world.message(4, &link, beat(None));
    assert!(world.hub.changes(moment).is_some(), "another one has come");
}

#[test]
fn the_host_that_is_watched_is_told_at_once_and_others_are_not() {
    let mut world = World::new();
    let (one, two) = (link(1), link(2));
    world.register(0, &one, "h", 1);
    world.register(0, &two, "other", 1);
    let watcher = world.hub.watch("h");
    world.hub.take_news();
    let moment = world.at(1);
    world.hub.receive(moment, "other", 2, &encode(&line(1)), line(1));
    world.hub.receive(moment, "other", 2, &encode(&beat(None)), beat(None));
    assert_eq!(world.hub.take_news(), []);
    let progress = AgentMessage::OperationProgress(nixfleet_protocol::OperationProgress::default());
    for message in [beat(Some("pull")), line(1), line(2), progress, status(), beat(None)] {
        world.message(1, &one, message);
    }
    let told: Vec<(Value, u64)> = world
        .hub
        .take_news()
        .iter()
        .map(|news| (serde_json::to_value(&news.message).expect("JSON"), news.next))
        .collect();
    let kinds: Vec<_> =
        told.iter().map(|(news, next)| (news["type"].as_str().unwrap_or("?"), *next)).collect();
    let wanted = [
        ("host", 0),
        ("output", 2),
        ("output", 3),
        ("operation_progress", 3),
        ("status", 4),
        ("host", 4),
        ("host", 4),
    ];
    assert_eq!(kinds, wanted);
    let (first, second) = (&told[1].0["payload"], &told[2].0["payload"]);
    assert_eq!((&first["head"], &first["lines"][0]["n"]), (&json!(0), &json!(1)), "a head in front of it");
    assert_eq!((&second["head"], &second["lines"][0]["n"]), (&json!(null), &json!(2)));
    assert_eq!(first["lines"][0]["at"], "2023-11-14T22:13:20.001Z");
    assert_eq!(told[4].0["payload"]["n"], 3);
    drop(watcher);
    world.message(2, &one, beat(None));
    assert_eq!(world.hub.take_news(), [], "nobody watches");
}

#[tokio::test]
async fn browsers_get_all_hosts_then_their_changes_and_the_log_of_the_one_they_watch() {
    let dashboard = Running::start().await;
    let mut agent = dashboard.agent("web").await;
    let mut other = dashboard.agent("db").await;
    for seq in [1, 1, 2] {
        agent.send(&line(seq)).await;
    }
    let mut browser = dashboard.browser().await;
    let first = browser.next().await;
    assert_eq!((&first["type"], &first["payload"]["hosts"][1]["id"]), (&json!("hosts"), &json!("web")));
    assert!(first["payload"]["now"].is_string() && first["payload"]["started"].is_string());
    browser.send(r#"{"type":"news"}"#).await;
    browser.send("{").await;
    browser.send(r#"{"type":"watch","payload":{"host":"web","after":null}}"#).await;
    assert_eq!(browser.next_of("host").await["connections"], 1);
    dashboard
        .handle
        .wait_until("lines", LIMIT, |handle| (handle.host("web")?.lines == 2).then_some(()))
        .await;
    agent.send(&status()).await;
    let ended = browser.next_of("status").await;
    assert_eq!((&ended["n"], &ended["command"]), (&json!(3), &json!("pull")));
    // Another host's lines do not come, its summary does.
    other.send(&line(1)).await;
    other.send(&beat(Some("switch"))).await;
    loop {
        let message = browser.next().await;
        assert!(message["type"] != "output", "{message}");
        if message["type"] == "updates" && message["payload"]["hosts"][0]["pending"] == "switch" {
            break;
        }
    }
    browser.send(r#"{"type":"watch","payload":{"host":"web","after":1}}"#).await;
    let backlog = browser.next_of("backlog").await;
    let numbers: Vec<_> = backlog["entries"].as_array().unwrap().iter().map(|entry| &entry["n"]).collect();
    assert_eq!(numbers, [2, 3]);
    assert_eq!(
        (&backlog["host_id"], &backlog["first"], &backlog["next"]),
        (&json!("web"), &json!(2), &json!(4))
    );
    assert_eq!((&backlog["older"], &backlog["under"]["command"]), (&json!(2), &json!("pull")));
    drop(agent);
    assert_eq!(browser.next_of("host").await["connected"], json!(false));
    browser.send(&format!("\"{}\"", "x".repeat(5000))).await;
    browser.ended().await;
    dashboard.stop().await;
}

#[test]
fn a_summary_has_what_a_list_shows_and_nothing_that_is_unknown() {
    let mut world = World::new();
    let link = link(1);
    world.register(0, &link, "h", 1);
    let listed = |world: &mut World, ms| {
        let moment = world.at(ms);
        let mut hosts = read(&world.hub.overview(moment));
        let Value::Object(host) = hosts["payload"]["hosts"][0].take() else { panic!("a host") };
        host.into_iter().collect::<BTreeMap<_, _>>()
    };
    let before = listed(&mut world, 0);
    let names: Vec<_> = before.keys().map(String::as_str).collect();
    assert_eq!(names, ["connected", "generation", "host_type", "id", "interval", "status", "version"]);
    world.message(1_000, &link, beat(Some("switch")));
    let part = nixfleet_protocol::Part {
        current: 1,
        total: 3,
        status: nixfleet_protocol::PartState::InProgress,
        phase: "build".to_owned(),
        detail: "3/41 derivations".to_owned(),
    };
    let progress = Parts { system: Some(part), ..Parts::default() };
    let progress = AgentMessage::OperationProgress(nixfleet_protocol::OperationProgress { progress });
    world.message(1_500, &link, progress);
    world.message(2_000, &link, beat(Some("switch")));
    let during = listed(&mut world, 2_000);
    assert_eq!((&during["pending"], &during["pid"]), (&json!("switch"), &json!(12345)));
    assert_eq!(during["started_at"], "2023-11-14T22:13:21.000Z");
    assert_eq!(during["last_seen"], "2023-11-14T22:13:22.000Z");
    let far = &during["progress"];
    assert_eq!(
        (&far["part"], &far["phase"], &far["current"]),
        (&json!("system"), &json!("build"), &json!(1))
    );
    world.message(3_000, &link, status());
    world.message(3_000, &link, beat(None));
    let after = listed(&mut world, 3_000);
    assert_eq!((after.get("progress"), after.get("pending"), after.get("started_at")), (None, None, None));
    assert_eq!((&after["outcome"], &after["exit_code"]), (&json!("ok"), &json!(0)));
    assert_eq!(after["ended_at"], "2023-11-14T22:13:23.000Z");
    // Nobody has said how the next one ended.
    for (ms, pending) in [(4_000, Some("pull")), (5_000, None), (6_000, Some("pull"))] {
        world.message(ms, &link, beat(pending));
    }
    assert_eq!(listed(&mut world, 6_000)["started_at"], "2023-11-14T22:13:26.000Z");
}

#[test]
fn a_host_with_long_texts_has_a_short_line_in_lists() {
    let mut world = World::new();
    let (link, long) = (link(1), || "ä".repeat(50_000));
    let facts = Register {
        hostname: "h".to_owned(),
        generation: long(),
        host_type: long(),
        location: long(),
        device_type: long(),
        theme_color: long(),
        agent_version: long(),
        ..Register::default()
    };
    let moment = world.at(0);
    world.hub.register(moment, &link, &register(&facts), facts, None);
    let AgentMessage::Status(ended) = status() else { unreachable!() };
    let ended = nixfleet_protocol::Status { command: long(), outcome: Some(long()), ..ended };
    world.message(1, &link, AgentMessage::Status(ended));
    let part = nixfleet_protocol::Part {
        current: 1,
        total: 3,
        status: nixfleet_protocol::PartState::InProgress,
        phase: long(),
        detail: long(),
    };
    let progress = Parts { system: Some(part), ..Parts::default() };
    world.message(
        2,
        &link,
        AgentMessage::OperationProgress(nixfleet_protocol::OperationProgress { progress }),
    );
    world.message(3, &link, beat(Some(&long())));
    let list = world.hub.overview(moment);
    assert!(list.contains("progress") && list.contains("ended_command"), "{list:.1000}");
    assert!(list.len() < 10_000, "{} bytes", list.len());
}

#[test]
fn a_command_that_is_asked_for_again_at_once_begins_anew() {
    let mut world = World::new();
    let link = link(1);
    world.register(0, &link, "h", 1);
    for (ms, message, started) in [
        (0, beat(Some("pull")), Some("2023-11-14T22:13:20.000Z")),
        (1_000, status(), None),
        (2_000, beat(Some("pull")), Some("2023-11-14T22:13:22.000Z")),
    ] {
        world.message(ms, &link, message);
        let view = world.hub.view("h").expect("known");
        assert_eq!(view.started_at.as_deref(), started, "after {ms} ms");
    }
}

#[tokio::test]
async fn a_rejection_reaches_the_one_who_watches_and_stays_in_the_log() {
    let dashboard = Running::start().await;
    let mut agent = dashboard.agent("web").await;
    let mut browser = dashboard.browser().await;
    browser.send(r#"{"type":"watch","payload":{"host":"web"}}"#).await;
    browser.next_of("backlog").await;
    let request = nixfleet_protocol::CommandRequest { command: "test".to_owned(), id: Some("j".to_owned()) };
    agent.send(&rejection(&request)).await;
    let told = browser.next_of("command_rejected").await;
    assert_eq!(
        (&told["n"], &told["command"], &told["current_pid"]),
        (&json!(0), &json!("test"), &json!(12345))
    );
    browser.send(r#"{"type":"watch","payload":{"host":"web","after":99}}"#).await;
    let backlog = browser.next_of("backlog").await;
    assert_eq!(backlog["entries"][0]["kind"], "rejected", "a number that is not reached yet is none");
    dashboard.stop().await;
}

#[test]
fn the_commands_of_a_host_are_those_that_it_registered() {
    let mut world = World::new();
    let link = link(1);
    world.register(0, &link, "h", 1);
    assert_eq!(world.hub.view("h").expect("known").commands, None, "an older agent does not say");
    let pull = nixfleet_protocol::OfferedCommand { name: "pull".to_owned(), ..Default::default() };
    let facts = Register { hostname: "h".to_owned(), commands: vec![pull.clone()], ..Register::default() };
    let moment = world.at(1);
    world.hub.register(moment, &link, &register(&facts), facts, None);
    let view = world.hub.view("h").expect("known");
    assert_eq!(view.commands, Some(vec![pull]));
    assert_eq!(
        (&*view.first_seen, view.connected_since.as_deref()),
        ("2023-11-14T22:13:20.000Z", Some(&*view.first_seen))
    );
    world.hub.disconnect("h", 1);
    assert_eq!(world.hub.view("h").expect("known").connected_since, None);
}
