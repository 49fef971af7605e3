//! Heartbeats over a slow link while a command floods.

use std::thread::sleep;
use std::time::Duration;

use crate::Bench;
use crate::agent::Candidate;
use crate::lateness::{Beats, longest_silence, timed};
use crate::lines;
use crate::link::Link;
use crate::report::Report;

/// Bytes a second from the agent.
const RATE: u32 = 20_000;

/// Time without output before it: the first heartbeats have passed.
const IDLE: Duration = Duration::from_secs(5);

/// Time after the command for heartbeats that are late.
const AFTER: Duration = Duration::from_secs(5);

pub(crate) fn run(bench: &Bench, report: &mut Report) {
    for _ in 0..bench.pairs {
        for (agent, candidate) in bench.candidates.iter().enumerate() {
            if let Some(worst) = once(bench, candidate) {
                report.add(lines::LINK, agent, worst);
            } else {
                report.failed(agent);
            }
        }
    }
}

/// The longest silence beyond an interval, in seconds.
fn once(bench: &Bench, candidate: &Candidate) -> Option<f64> {
    let dashboard = &bench.dashboard;
    let link = Link::start(dashboard.address, Some(RATE));
    let seconds = bench.phase.as_secs();
    let seat = candidate.seat(link.address, 1, &format!("print-for {seconds}"));
    let _agent = seat.start();
    dashboard.first_beat(&seat.host, 0)?;
    let beats = Beats::watch(dashboard.handle.clone(), &seat.host);
    sleep(IDLE);
    let (flood, floods) = timed(|| {
        let floods = dashboard.command(&seat.host, &candidate.command);
        sleep(bench.phase + AFTER);
        floods
    });
    let beats = beats.finish();
    if !floods {
        return None;
    }
    Some(longest_silence(&beats, &flood) / 1000.0)
}
