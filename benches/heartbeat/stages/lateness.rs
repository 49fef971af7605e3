//! How late heartbeats are: idle, on a busy machine, and while a command floods.

use std::thread::{available_parallelism, sleep};

use crate::Bench;
use crate::agent::{Candidate, Process};
use crate::lateness::{Beats, Grid, percentile, timed};
use crate::lines;
use crate::report::Report;

/// Busy processes for each core.
const SPINNERS: usize = 4;

pub(crate) fn run(bench: &Bench, report: &mut Report) {
    for _ in 0..bench.pairs {
        for (agent, candidate) in bench.candidates.iter().enumerate() {
            once(bench, candidate, agent, report);
        }
    }
}

fn once(bench: &Bench, candidate: &Candidate, agent: usize, report: &mut Report) {
    let dashboard = &bench.dashboard;
    let seat = candidate.seat(dashboard.address, 1, &format!("print-for {}", bench.phase.as_secs()));
    let _process = seat.start();
    if dashboard.first_beat(&seat.host, 0).is_none() {
        return;
    }
    let beats = Beats::watch(dashboard.handle.clone(), &seat.host);
    let (idle, ()) = timed(|| sleep(bench.phase));
    let spinners = available_parallelism().map_or(2, usize::from) * SPINNERS;
    let busy = {
        let _spinners: Vec<Process> = (0..spinners).map(|_| Process::helper("spin")).collect();
        timed(|| sleep(bench.phase)).0
    };
    let (flood, floods) = timed(|| {
        let floods = dashboard.command(&seat.host, &candidate.command);
        sleep(bench.phase);
        floods
    });
    let beats = beats.finish();
    let idle_beats: Vec<i64> = beats.iter().copied().filter(|&beat| idle.contains(beat)).collect();
    let grid = Grid::fit(&idle_beats);
    let mut missing = 0;
    for (line, window) in [(lines::LATE_IDLE, &idle), (lines::LATE_BUSY, &busy), (lines::LATE_FLOOD, &flood)]
    {
        let mut lateness = grid.lateness(&beats, window);
        missing += window.beats().saturating_sub(lateness.len());
        if line.name != lines::LATE_FLOOD.name || floods {
            report.add(line, agent, percentile(&mut lateness, 99.0));
        }
    }
    report.add(lines::MISSING, agent, missing as f64);
}
