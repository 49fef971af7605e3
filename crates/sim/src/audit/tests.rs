use std::time::Duration;

use tokio::time::Instant;

use super::{Evidence, sleeps};
use crate::faults::{Act, Event, Kind, What};

const SECOND: Duration = Duration::from_secs(1);

/// Something that is to happen 100 s after the begin.
fn event(what: What) -> [Event; 1] {
    [Event { at: 100 * SECOND, lasts: Duration::ZERO, what }]
}

fn evidence(begun: Instant, events: &[Event]) -> Evidence<'_> {
    Evidence {
        begun,
        events,
        notes: Vec::new(),
        ran: Vec::new(),
        interval: SECOND,
        limited: false,
        power_cuts: Vec::new(),
        attempts: Vec::new(),
        most_threads: 0,
        most_open: 0,
        deaths: Vec::new(),
        exits: Vec::new(),
    }
}

#[test]
fn an_agent_that_ended_before_forgets_nothing_of_what_came_later() {
    let begun = Instant::now();
    let at = |seconds: u32| begun + seconds * SECOND;
    for what in [What::StopAgent, What::Dashboard(Act::Restart)] {
        let events = event(what);
        let told = evidence(begun, &events);
        assert!(!told.agent_ended_after(at(90)), "it was told to end, and did not: {what:?}");
        let ended = Evidence { exits: vec![(at(110), Kind::Agent)], ..told };
        assert!(ended.agent_ended_after(at(90)) && ended.agent_ended_after(at(111)), "{what:?}");
        assert!(!ended.agent_ended_after(at(112)), "{what:?}");
        let untold = Evidence { exits: vec![(at(99), Kind::Agent)], ..evidence(begun, &events) };
        assert!(!untold.agent_ended_after(at(90)), "nobody had told it to end: {what:?}");
        let supervisor = Evidence { exits: vec![(at(110), Kind::Supervisor)], ..evidence(begun, &events) };
        assert!(!supervisor.agent_ended_after(at(90)), "{what:?}");
    }
}

#[test]
fn a_power_cut_forgets_nothing_of_what_came_later() {
    let begun = Instant::now();
    let cut = Evidence { power_cuts: vec![begun + 100 * SECOND], ..evidence(begun, &[]) };
    assert!(cut.lost_power() && cut.agent_ended_after(begun + 101 * SECOND));
    assert!(!cut.agent_ended_after(begun + 102 * SECOND));
    let killed = Evidence { deaths: vec![(begun + 100 * SECOND, Kind::Agent)], ..evidence(begun, &[]) };
    assert!(
        killed.agent_ended_after(begun + 101 * SECOND) && !killed.agent_ended_after(begun + 102 * SECOND)
    );
}

#[test]
fn a_host_that_slept_long_tries_at_once() {
    let begun = Instant::now();
    let at = |seconds: u32| begun + seconds * SECOND;
    let long = [Event { at: 100 * SECOND, lasts: 2 * SECOND, what: What::Suspend }];
    let tries = |attempts: &[u32], events: &[Event], killed: &[u32]| {
        let attempts = attempts.iter().map(|second| at(*second)).collect();
        let deaths = killed.iter().map(|second| (at(*second), Kind::Agent)).collect();
        let mut findings = Vec::new();
        sleeps::check(&Evidence { attempts, deaths, ..evidence(begun, events) }, &mut findings);
        findings.is_empty()
    };
    assert!(tries(&[101], &long, &[]));
    assert!(!tries(&[], &long, &[]) && !tries(&[99, 103], &long, &[]), "not at all, too early, too late");
    assert!(tries(&[], &long, &[90]) && !tries(&[], &long, &[50]), "it was not there");
    let short = [Event { at: 100 * SECOND, lasts: SECOND / 2, what: What::Suspend }];
    assert!(tries(&[], &short, &[]), "the connection may have survived");
    let hang = Event { at: 99 * SECOND, lasts: 3 * SECOND, what: What::Hang(Kind::Agent) };
    assert!(tries(&[], &[hang, long[0]], &[]), "its disk hangs");
}
