use nixfleet_fleet::{BeatAt, Left, Owner};
use nixfleet_protocol::{CommandActivity, Heartbeat, Register, UpdateStatus};

use super::*;

const NOW: i64 = 1_784_030_400_000;

fn host(commit: &str, running: Option<&str>) -> Host {
    let verdict = |status| Verdict { status, ..Verdict::default() };
    let lights = UpdateStatus {
        lock: verdict(UpdateState::Ok),
        system: verdict(UpdateState::Outdated),
        ..UpdateStatus::default()
    };
    let heartbeat = Heartbeat {
        generation: commit.to_owned(),
        nixpkgs_version: "26.05".to_owned(),
        pending_command: running.map(str::to_owned),
        command_activity: running
            .map(|_| Box::new(CommandActivity { phase: "build".to_owned(), ..CommandActivity::default() })),
        update_status: Some(Box::new(lights)),
        ..Heartbeat::default()
    };
    Host {
        owner: Some(Owner { gateway: "gw1-a".to_owned(), connection: 3, since_ms: NOW - 61_000, left: None }),
        facts: Some(Box::new(Register { agent_version: "0.1.0".to_owned(), ..Register::default() })),
        beat: Some((BeatAt { connection: 3, at_ms: NOW - 1000 }, Box::new(heartbeat))),
        expired_ms: None,
    }
}

fn gone(left: bool) -> Host {
    let mut host = Host { beat: None, ..host("", None) };
    if let Some(owner) = host.owner.as_mut().filter(|_| left) {
        owner.left = Some(Left { at_ms: NOW - 5000, why: "1001 \u{1b}[31mgone".to_owned() });
    }
    host
}

fn now() -> Timestamp {
    Timestamp::from_millisecond(NOW).unwrap()
}

#[test]
fn the_table_says_how_each_host_is() {
    let (one, two, three) = (host("0badf00", Some("switch")), gone(true), gone(false));
    let mut leaving = host("1d91f2b", None);
    leaving.owner = two.owner.clone();
    let rows = [("web-1", &one), ("web-2", &two), ("web-3", &three), ("web-4", &leaving)];
    let wanted = "\
HOST   STATE         SINCE      RUNNING        COMMIT   SYSTEM    LOCK  TESTS  NIXPKGS  AGENT  GATEWAY
web-1  online        1 min 1 s  switch, build  0badf00  outdated  ok    -      26.05    0.1.0  gw1-a
web-2  offline       5 s        -              -        -         -     -      -        0.1.0  gw1-a
web-3  offline       -          -              -        -         -     -      -        0.1.0  gw1-a
web-4  online, left  5 s        -              1d91f2b  outdated  ok    -      26.05    0.1.0  gw1-a
";
    assert_eq!(page(&rows, now(), None, false), wanted);
    let narrow = page(&rows, now(), Some(60), false);
    assert!(narrow.starts_with("HOST   STATE         SINCE      RUNNING        COMMIT\n"), "{narrow}");
}

#[test]
fn the_document_has_what_programs_need() {
    let (one, two) = (host("0badf00", Some("switch")), gone(true));
    let json = serde_json::to_value(document(&[("web-1", &one), ("web-2", &two)], now())).unwrap();
    assert_eq!(json["version"], 1);
    assert_eq!(json["at"], "2026-07-14T12:00:00.000Z");
    let [one, two] = json["hosts"].as_array().unwrap().as_slice() else { panic!("{json}") };
    assert_eq!(
        (&one["host"], &one["online"], &one["commit"]),
        (&"web-1".into(), &true.into(), &"0badf00".into())
    );
    assert_eq!(one["since"], "2026-07-14T11:58:59.000Z");
    assert_eq!(one["running"]["command"], "switch");
    assert_eq!(one["lights"]["system"]["status"], "outdated");
    assert_eq!((&two["online"], &two["connected"]), (&false.into(), &false.into()));
    assert_eq!(two["left_because"], "1001 \u{1b}[31mgone");
    assert!(two["lights"].is_null() && two["commit"].is_null() && two["heartbeat_at"].is_null());
}

#[test]
fn hosts_are_picked_and_sorted() {
    let mut fleet = Fleet::default();
    let mut left = host("1d91f2b", None);
    left.owner = gone(true).owner;
    for (name, host) in [
        ("web-10", host("0badf00", None)),
        ("web-2", host("1d91f2b", Some("pull"))),
        ("off", gone(true)),
        ("left", left),
    ] {
        fleet.hosts.insert(name.to_owned(), host);
    }
    let options = Hosts {
        hosts: vec![],
        offline: false,
        online: false,
        running: false,
        not_at: None,
        sort: Sort::Host,
        wide: false,
        json: false,
    };
    let names = |options: &Hosts| {
        let mut names =
            choose(&chosen::read(&["*".to_owned()]).unwrap(), &fleet, |host| is_wanted(host, options)).hosts;
        sort(&mut names, &fleet, options.sort);
        names.join(" ")
    };
    assert_eq!(names(&options), "left off web-2 web-10");
    assert_eq!(names(&Hosts { offline: true, ..copy(&options) }), "off");
    assert_eq!(names(&Hosts { online: true, ..copy(&options) }), "left web-2 web-10");
    assert_eq!(names(&Hosts { running: true, ..copy(&options) }), "web-2");
    let not_at = |commit: &str| Hosts { not_at: Some(commit.to_owned()), ..copy(&options) };
    assert_eq!(names(&not_at("1D91F2Bc0ffee")), "off web-10");
    assert_eq!(names(&not_at("0badf00")), "left off web-2");
    assert_eq!(names(&Hosts { sort: Sort::State, ..copy(&options) }), "off left web-2 web-10");
    assert_eq!(names(&Hosts { sort: Sort::Commit, ..copy(&options) }), "web-10 left web-2 off");
    assert_eq!(names(&Hosts { sort: Sort::Since, ..copy(&options) }), "left off web-2 web-10");
}

fn copy(options: &Hosts) -> Hosts {
    Hosts { hosts: vec![], not_at: options.not_at.clone(), ..*options }
}
