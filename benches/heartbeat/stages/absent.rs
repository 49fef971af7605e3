//! The dashboard is away, and output waits for it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Bench;
use crate::agent::Candidate;
use crate::lines;
use crate::link::Link;
use crate::report::Report;

/// Seconds that the command prints.
const PRINTS: u64 = 3;

/// Time in which it has ended, and the agent has noticed that the dashboard is away.
const SETTLED: Duration = Duration::from_secs(PRINTS + 3);

pub(crate) fn run(bench: &Bench, report: &mut Report) {
    for _ in 0..bench.pairs {
        for (agent, candidate) in bench.candidates.iter().enumerate() {
            if let Some((wakes, share)) = once(bench, candidate) {
                report.add(lines::ABSENT, agent, wakes);
                report.add(lines::ABSENT_CPU, agent, share);
            } else {
                report.failed(agent);
            }
        }
    }
}

/// Wake-ups a second, and percent of a core.
fn once(bench: &Bench, candidate: &Candidate) -> Option<(f64, f64)> {
    let dashboard = &bench.dashboard;
    let mut link = Link::start(dashboard.address, None);
    let seat = candidate.seat(link.address, 1, &format!("print-for {PRINTS}"));
    let agent = seat.start();
    dashboard.first_beat(&seat.host, 0)?;
    if !dashboard.command(&seat.host, &candidate.command) {
        return None;
    }
    // Some of the output has arrived, so the command runs.
    crate::dashboard::wait("output", || (dashboard.lines(&seat.host) > 0).then_some(()))?;
    link.cut();
    sleep(SETTLED);
    let before = agent.counters();
    let begun = Instant::now();
    sleep(bench.phase);
    let seconds = begun.elapsed().as_secs_f64();
    let grown = agent.counters().since(&before);
    Some((grown.wakes() as f64 / seconds, grown.cpu().as_secs_f64() / seconds * 100.0))
}
