//! Many lines at once: to a dashboard that takes batches, and to one that takes each line alone.

use std::time::Instant;

use crate::Bench;
use crate::agent::Candidate;
use crate::dashboard::BenchDashboard;
use crate::lines;
use crate::report::Report;

/// Number of lines.
const LINES: u64 = 400_000;

pub(crate) fn run(bench: &Bench, report: &mut Report) {
    for _ in 0..bench.pairs {
        for (agent, candidate) in bench.candidates.iter().enumerate() {
            if let Some((seconds, _, lost)) = once(candidate, &bench.dashboard) {
                report.add(lines::RATE, agent, LINES as f64 / seconds);
                report.add(lines::LOST, agent, lost);
            } else {
                report.failed(agent);
            }
        }
        for (agent, candidate) in bench.candidates.iter().enumerate() {
            if let Some((seconds, cpu, lost)) = once(candidate, &bench.existing) {
                report.add(lines::SINGLE, agent, seconds);
                report.add(lines::SINGLE_CPU, agent, cpu);
                report.add(lines::LOST, agent, lost);
            } else {
                report.failed(agent);
            }
        }
    }
}

/// Seconds from the request to the status, seconds of processor of the agent, and lines that did not arrive.
fn once(candidate: &Candidate, dashboard: &BenchDashboard) -> Option<(f64, f64, f64)> {
    let seat = candidate.seat(dashboard.address, 1, &format!("print-lines {LINES}"));
    let agent = seat.start();
    dashboard.first_beat(&seat.host, 0)?;
    let before = agent.counters();
    let begun = Instant::now();
    if !dashboard.command(&seat.host, &candidate.command) {
        return None;
    }
    dashboard.status(&seat.host, &candidate.command)?;
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = agent.counters().since(&before).cpu().as_secs_f64();
    Some((seconds, cpu, LINES.saturating_sub(dashboard.lines(&seat.host)) as f64))
}
