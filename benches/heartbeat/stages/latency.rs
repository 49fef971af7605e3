//! From the moment in which a command writes a line to its arrival at the dashboard.

use nixfleet_protocol::AgentMessage;

use crate::Bench;
use crate::agent::Candidate;
use crate::lateness::{middle, percentile};
use crate::lines;
use crate::report::Report;

pub(crate) fn run(bench: &Bench, report: &mut Report) {
    for _ in 0..bench.pairs {
        for (agent, candidate) in bench.candidates.iter().enumerate() {
            if let Some(mut latencies) = once(bench, candidate) {
                report.add(lines::LATENCY_50, agent, percentile(&mut latencies, 50.0));
                report.add(lines::LATENCY_99, agent, percentile(&mut latencies, 99.0));
            } else {
                report.failed(agent);
            }
        }
    }
}

/// Milliseconds of each line. Its text is the time at which it was written.
fn once(bench: &Bench, candidate: &Candidate) -> Option<Vec<f64>> {
    let dashboard = &bench.dashboard;
    let seat = candidate.seat(dashboard.address, 1, &format!("print-times {}", bench.phase.as_secs()));
    let _agent = seat.start();
    dashboard.first_beat(&seat.host, 0)?;
    let from = dashboard.handle.next_index(&seat.host);
    dashboard.command(&seat.host, &candidate.command);
    dashboard.status(&seat.host, &candidate.command)?;
    let mut latencies = Vec::new();
    for recorded in dashboard.handle.messages_since(&seat.host, from) {
        let written: Vec<f64> = match &recorded.message {
            AgentMessage::Output(output) => output.line.parse().into_iter().collect(),
            AgentMessage::OutputBatch(batch) => {
                batch.lines.iter().filter_map(|line| line.line.parse().ok()).collect()
            }
            _ => Vec::new(),
        };
        latencies.extend(written.iter().map(|written| middle(recorded.at_ms) - written));
    }
    Some(latencies)
}
