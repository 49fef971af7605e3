//! Sleeps of the machine: the agent connects anew at once, and not when a timer that does not count sleep says so.

use std::time::Duration;

use super::Evidence;
use crate::faults::{Act, Kind, SLEEP_FACTOR, What};

/// No connection survives a longer sleep: the dashboard has closed it.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// Until then the agent has to try: the delay of its first attempt is below 1 s.
const AT_ONCE: Duration = Duration::from_secs(2);

/// How long what has ended an agent, or holds it up, may show: it leaves within this time, and its successor has started
/// and read its records.
const UPHEAVAL: Duration = Duration::from_secs(15);

/// An agent that has just slept may have tried anew already, and does not do so more often than that.
const APART: Duration = Duration::from_secs(30);

pub(super) fn check(evidence: &Evidence<'_>, findings: &mut Vec<String>) {
    for sleep in evidence.events.iter().filter(|event| event.what == What::Suspend) {
        let (slept, woke) = (sleep.lasts * SLEEP_FACTOR, evidence.begun + sleep.at);
        let is_upset = |at| at + UPHEAVAL >= woke && at <= woke + AT_ONCE;
        let ends = evidence.deaths.iter().chain(&evidence.exits);
        let ended = ends.filter(|(_, kind)| *kind == Kind::Agent).map(|(at, _)| *at);
        let excused = ended.chain(evidence.power_cuts.iter().copied()).any(is_upset)
            || evidence.events.iter().any(|event| match event.what {
                What::StopAgent | What::Dashboard(Act::Restart) => is_upset(evidence.begun + event.at),
                What::Hang(Kind::Agent) => {
                    event.at <= sleep.at + AT_ONCE && event.at + event.lasts + UPHEAVAL >= sleep.at
                }
                What::Suspend => event.at < sleep.at && event.at + APART >= sleep.at,
                _ => false,
            });
        let tried = evidence.attempts.iter().any(|at| *at >= woke && *at <= woke + AT_ONCE);
        if slept >= FORGOTTEN && !excused && !tried {
            findings.push(format!("no attempt to connect within {AT_ONCE:?} after a sleep of {slept:?}"));
        }
    }
}
