//! The rules of the hub, without sockets.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, advance};

use crate::hub::Registration;
use crate::record::{Kept, MAX_BYTES, MAX_MESSAGES, Record};
use crate::view::BrowserMessage;
use crate::{HostStatus, Options};
use nixfleet_protocol::{AgentMessage, Heartbeat, Register, encode};
use nixfleet_sessions::Link;

use super::client::beat;
use super::world::{World, line, link, register, status};

#[test]
fn hostnames_are_checked_before_they_become_ids() {
    let mut world = World::new();
    let link = link(1);
    let long = "a".repeat(63);
    let cases = [
        ("web-1", true),
        ("A9", true),
        (&long, true),
        ("", false),
        (&format!("{long}a"), false),
        ("a.b", false),
        ("../x", false),
        ("ä", false),
        ("a b", false),
    ];
    for (hostname, accepted) in cases {
        let registration = world.register(0, &link, hostname, 1);
        assert_eq!(matches!(registration, Registration::Accepted { .. }), accepted, "{hostname:?}");
    }
}

#[test]
fn a_host_is_online_from_its_first_beat_until_three_of_its_own_intervals_after_the_newest() {
    for (interval, used) in [(1, 1), (30, 30), (0, 30), (u64::MAX, 86_400)] {
        let mut world = World::new();
        let link = link(1);
        world.register(0, &link, "h", interval);
        assert_eq!(world.status(), HostStatus::Offline, "registering is no beat");
        assert_eq!(world.hub.next_deadline(), None);
        world.message(500, &link, beat(None));
        assert_eq!(world.status(), HostStatus::Online);
        let limit = 500 + 3 * used * 1000;
        world.hub.expire(world.at(limit).now);
        assert_eq!(world.status(), HostStatus::Online, "exactly three intervals are not more than three");
        assert_eq!(world.hub.next_deadline(), Some(world.at(limit + 1).now));
        world.hub.expire(world.at(limit + 1).now);
        assert_eq!(world.status(), HostStatus::Offline);
        assert_eq!(world.hub.next_deadline(), None);
        world.message(limit + 5, &link, beat(None));
        assert_eq!(world.status(), HostStatus::Online, "it comes back with a beat");
    }
}

#[test]
fn a_lost_socket_leaves_the_status_alone_and_a_shorter_interval_moves_the_deadline() {
    let mut world = World::new();
    let first = link(1);
    world.register(0, &first, "h", 30);
    world.message(0, &first, beat(None));
    assert!(world.hub.take_deadline_moved());
    world.message(10, &first, beat(None));
    assert!(!world.hub.take_deadline_moved(), "a later beat only postpones");
    world.hub.disconnect("h", 1);
    let view = world.hub.view("h").expect("known");
    assert_eq!((view.status, view.connected), (HostStatus::Online, false));
    let second = link(2);
    world.register(20, &second, "h", 1);
    assert!(world.hub.take_deadline_moved());
    assert_eq!(world.hub.next_deadline(), Some(world.at(3011).now));
}

#[test]
fn a_second_agent_replaces_the_first_which_is_not_listened_to_any_more() {
    let mut world = World::new();
    let (first, second) = (link(1), link(2));
    world.register(0, &first, "h", 1);
    let Registration::Accepted { replaced: Some(old) } = world.register(1, &second, "h", 1) else {
        panic!("the first should have been replaced");
    };
    assert_eq!(old.session, 1);
    world.message(2, &first, beat(Some("ghost")));
    assert_eq!(world.hub.view("h").expect("known").pending_command, None);
    world.hub.disconnect("h", 1);
    let view = world.hub.view("h").expect("known");
    assert!(view.connected, "the end of the old socket is not the end of the new one");
    assert_eq!(view.connections, 2);
    let again = world.register(3, &second, "h", 1);
    assert!(matches!(again, Registration::Accepted { replaced: None }), "the same socket may register again");
    assert_eq!(world.hub.view("h").expect("known").connections, 2);
}

#[test]
fn repeats_are_recorded_but_told_and_counted_once() {
    let mut world = World::new();
    let link = link(1);
    world.register(0, &link, "h", 1);
    let _watcher = world.hub.watch("h");
    for message in [line(1), line(2), line(1), line(2), line(3), status(), status()] {
        world.message(1, &link, message);
    }
    let view = world.hub.view("h").expect("known");
    assert_eq!((view.lines, view.repeats), (3, 3));
    let news = world.hub.take_news();
    let told = |wanted: fn(&BrowserMessage) -> bool| news.iter().filter(|news| wanted(&news.message)).count();
    assert_eq!(told(|news| matches!(news, BrowserMessage::Output(_))), 3);
    assert_eq!(told(|news| matches!(news, BrowserMessage::Status { .. })), 1);
    let (recorded, next) = world.hub.messages("h", 0).expect("known");
    assert_eq!((recorded.count(), next), (8, 8));
}

#[test]
fn a_full_queue_is_an_error_and_counted() {
    let mut world = World::new();
    let link = link(1);
    world.register(0, &link, "h", 1);
    let sent = (0..10).filter(|_| world.hub.send_command("h", "pull", None).is_ok()).count();
    assert_eq!((sent, link.waiting()), (4, 4));
    assert_eq!(world.hub.view("h").expect("known").dropped_outgoing, 10 - sent as u64);
}

#[test]
fn the_record_keeps_the_newest_within_its_bounds() {
    let heartbeat = |bytes| Kept::Message(Box::new(AgentMessage::Heartbeat(Box::default())), bytes);
    let mut record = Record::default();
    for _ in 0..MAX_MESSAGES + 5 {
        record.push(1, 0, heartbeat(1));
        record.trim(MAX_BYTES);
    }
    assert_eq!((record.dropped(), record.since(0).count()), (5, MAX_MESSAGES));
    assert_eq!(record.since(0).next().map(|first| first.index), Some(5));
    assert_eq!(record.since(record.next() - 2).count(), 2);
    assert_eq!(record.since(u64::MAX).count(), 0);
    record.push(1, 0, heartbeat(MAX_BYTES));
    record.trim(MAX_BYTES);
    assert_eq!(record.since(0).count(), 1, "one message may fill it alone");
}

#[test]
fn the_records_of_all_hosts_share_what_one_host_may_have_alone() {
    let mut world = World::new();
    let link = link(1);
    world.register(0, &link, "h", 1);
    let line = "x".repeat(1024 * 1024);
    let long =
        || AgentMessage::Heartbeat(Box::new(Heartbeat { store_path: line.clone(), ..Heartbeat::default() }));
    for ms in 0..40 {
        world.message(ms, &link, long());
    }
    let kept = |world: &World| world.hub.messages("h", 0).expect("known").0.count();
    assert_eq!(kept(&world), 41, "the registration, and all heartbeats");
    for number in 0..3 {
        world.register(50, &Link::new(10 + number), &format!("other-{number}"), 1);
    }
    assert_eq!(kept(&world), 41, "until the host says something");
    world.message(60, &link, long());
    let after = kept(&world) * line.len();
    assert!((MAX_BYTES / 8..MAX_BYTES / 4).contains(&after), "{after} bytes of {MAX_BYTES} for four hosts");
    let (entries, next) = world.hub.messages("h", 0).expect("known");
    let (first, dropped) = (entries.map(|entry| entry.index).next(), next - kept(&world) as u64);
    assert_eq!((next, first), (42, Some(dropped)), "the oldest are dropped, and counted");
    assert_eq!(world.hub.view("h").expect("known").dropped_records, dropped);
}

#[test]
fn only_the_host_that_is_late_first_moves_the_time_of_the_sweep() {
    let mut world = World::new();
    let (first, second) = (link(1), link(2));
    world.register(0, &first, "h", 30);
    assert!(!world.hub.take_deadline_moved(), "a host without a heartbeat is offline already");
    world.message(0, &first, beat(None));
    assert!(world.hub.take_deadline_moved());
    assert!(world.hub.next_deadline().is_some());
    world.message(30_000, &first, beat(None));
    world.register(30_000, &second, "late", 30);
    let moment = world.at(30_000);
    world.hub.receive(moment, "late", 2, &encode(&beat(None)), beat(None));
    assert!(!world.hub.take_deadline_moved(), "ten thousand hosts do not wake it with each heartbeat");
    world.register(30_001, &second, "late", 1);
    assert!(world.hub.take_deadline_moved(), "its interval is shorter now");
}

#[test]
fn options_do_not_show_their_token() {
    let options = Options {
        listen: ([127, 0, 0, 1], 0).into(),
        token: "hush".to_owned(),
        csrf_token: None,
        strict: None,
    };
    assert!(!format!("{options:?}").contains("hush"));
}

#[tokio::test(start_paused = true)]
async fn the_status_flips_on_time_without_anybody_asking() {
    let shared = Arc::new(crate::Shared::new("t", "c".to_owned(), None));
    let link = link(1);
    let sweep = tokio::spawn({
        let shared = Arc::clone(&shared);
        async move { tokio::join!(crate::shared::sweep(&shared), crate::shared::send_updates(&shared)) }
    });
    shared.apply(|hub, moment| {
        let facts = Register { hostname: "h".to_owned(), heartbeat_interval: 2, ..Register::default() };
        hub.register(moment, &link, &register(&facts), facts, None)
    });
    let beats = || shared.apply(|hub, moment| hub.receive(moment, "h", 1, &encode(&beat(None)), beat(None)));
    beats();
    let start = Instant::now();
    advance(Duration::from_secs(4)).await;
    beats();
    // Subscribed after the heartbeats, so it only gets the change of the status.
    let mut browser = shared.browsers.subscribe();
    let update = browser.recv().await.expect("the dashboard lives");
    assert!(update.contains(r#""status":"offline""#), "{update}");
    let took = start.elapsed();
    assert!((10_000..10_010).contains(&took.as_millis()), "4 s and three intervals, not {took:?}");
    sweep.abort();
}
