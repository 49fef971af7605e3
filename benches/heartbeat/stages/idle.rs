//! An agent that has nothing to do: processor time, wake-ups, threads, memory.

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Bench;
use crate::agent::{Process, Seat};
use crate::lines;
use crate::report::Report;

/// Time after the first heartbeat that is not measured: the agent hashes its program and looks at the system once.
const WARM_UP: Duration = Duration::from_secs(8);

/// The shortest time that is measured. A shorter one has too few beats, and misses what happens twice a minute.
const SHORTEST: Duration = Duration::from_secs(30);

pub(crate) fn every_second(bench: &Bench, report: &mut Report) {
    for _ in 0..bench.pairs {
        let measured = measure(bench, 1);
        for (agent, idle) in measured.into_iter().enumerate() {
            let Some(Idle { seconds, grown, beats, process }) = idle else {
                report.failed(agent);
                continue;
            };
            let program =
                fs::metadata(&bench.candidates[agent].program).map_or(f64::NAN, |meta| meta.len() as f64);
            let cpu = grown.cpu().as_secs_f64();
            report.add(lines::CPU, agent, cpu / beats as f64 * 1000.0);
            report.add(lines::SWITCHES, agent, grown.switches() as f64 / seconds);
            report.add(lines::WAKES, agent, grown.wakes() as f64 / seconds);
            report.add(lines::THREADS, agent, grown.threads.len() as f64);
            report.add(lines::RSS, agent, process.memory("status", "VmRSS"));
            report.add(lines::PSS, agent, process.memory("smaps_rollup", "Pss"));
            report.add(lines::ANON, agent, process.memory("smaps_rollup", "Pss_Anon"));
            report.add(lines::BINARY, agent, program / 1e6);
            let mut by_name: BTreeMap<&str, f64> = BTreeMap::new();
            for thread in grown.threads.values() {
                *by_name.entry(&thread.name).or_default() += thread.cpu.as_secs_f64() * 1e6 / beats as f64;
            }
            for (name, microseconds) in by_name {
                report.thread(agent, name, microseconds);
            }
        }
    }
}

pub(crate) fn every_half_minute(bench: &Bench, report: &mut Report) {
    for _ in 0..bench.pairs {
        for (agent, idle) in measure(bench, 30).into_iter().enumerate() {
            let Some(Idle { seconds, grown, .. }) = idle else {
                report.failed(agent);
                continue;
            };
            report.add(lines::SLOW_SWITCHES, agent, grown.switches() as f64 / seconds);
            report.add(lines::SLOW_WAKES, agent, grown.wakes() as f64 / seconds);
        }
    }
}

struct Idle {
    seconds: f64,
    grown: crate::counters::Counters,
    beats: usize,
    process: Process,
}

/// All agents at the same time: they hardly disturb each other, and the machine disturbs all of them.
fn measure(bench: &Bench, interval: u64) -> Vec<Option<Idle>> {
    let dashboard = &bench.dashboard;
    let seats: Vec<Seat<'_>> = bench
        .candidates
        .iter()
        .map(|candidate| candidate.seat(dashboard.address, interval, "print-lines 1"))
        .collect();
    let agents: Vec<Process> = seats.iter().map(Seat::start).collect();
    let arrived: Vec<bool> = seats.iter().map(|seat| dashboard.first_beat(&seat.host, 0).is_some()).collect();
    sleep(WARM_UP);
    let before: Vec<_> = agents.iter().map(Process::counters).collect();
    let from: Vec<u64> = seats.iter().map(|seat| dashboard.handle.next_index(&seat.host)).collect();
    let begun = Instant::now();
    sleep(bench.phase.max(SHORTEST));
    let seconds = begun.elapsed().as_secs_f64();
    let after: Vec<_> = agents.iter().map(Process::counters).collect();
    let measured = agents.into_iter().enumerate().map(|(agent, process)| {
        let beats = dashboard.beats(&seats[agent].host, from[agent]);
        let grown = after[agent].since(&before[agent]);
        arrived[agent].then_some(Idle { seconds, grown, beats, process })
    });
    measured.collect()
}
