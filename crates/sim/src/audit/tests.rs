use std::time::Duration;

use tokio::time::Instant;

use super::Evidence;
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
