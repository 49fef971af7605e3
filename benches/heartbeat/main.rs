//! Benchmark of the agent: every line of the table in docs/performance.md, alone or beside another agent.
//!
//! The real binary runs against a mock dashboard in this process, over loopback without TLS. `cargo bench` prints
//! each figure beside what it must be and what it should be.
//!
//! ```text
//! cargo bench --bench heartbeat                                all stages, three times each
//! cargo bench --bench heartbeat -- --short                     all stages once, in less than five minutes
//! cargo bench --bench heartbeat -- idle start                  these stages
//! cargo bench --bench heartbeat -- --other PATH                the agent at PATH beside this one
//! cargo bench --bench heartbeat -- --other PATH -- WORD ..     the same, with arguments of that agent
//! cargo bench --bench heartbeat -- --seconds 5 --pairs 5       shorter phases, and more pairs
//! cargo bench --bench heartbeat -- --strict                    exit code 1 if this agent misses a figure
//! ```
//!
//! The other agent is configured by the variables `NIXFLEET_*` of the protocol. An older build of this agent needs no
//! more. One of another make has no command of ours: `--other-command switch` names the one that it has, and
//! `nixos-rebuild`, `sudo` and `git` are stand-ins. `--agent PATH` measures that build instead of the one that cargo
//! has made.
//!
//! # How to read the values
//! Idle agents run at the same time; else the agents take turns. So what slows down the machine slows down both, and
//! the ratio is the median over pairs. The lateness of a heartbeat is its arrival at the dashboard minus its due time
//! `t0 + n x 1 s`. `t0` is the earliest heartbeat of the idle phase and is used for all phases, so that no phase can
//! hide a constant delay. Arrival times have a resolution of one millisecond. The dashboard, the command and the
//! spinning processes share the processor cores with the agent, so delays of the dashboard count as delays of the
//! agent. A phase has about twenty heartbeats, so its p99 is its maximum.

use std::process::ExitCode;
use std::time::Duration;

use agent::Candidate;
use dashboard::BenchDashboard;
use helpers::{print_lines, print_times, spin};
use options::Options;
use report::Report;

mod agent;
mod counters;
mod dashboard;
mod helpers;
mod lateness;
mod lines;
mod link;
mod options;
mod report;
mod stages;

/// Wrong usage (`EX_USAGE` of sysexits.h).
const USAGE: u8 = 64;

/// What the stages share.
pub(crate) struct Bench {
    /// It takes batches of lines.
    pub(crate) dashboard: BenchDashboard,
    /// It takes each line alone, as existing dashboards do.
    pub(crate) existing: BenchDashboard,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) phase: Duration,
    pub(crate) pairs: usize,
}

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |at: usize| arguments.get(at)?.parse::<u64>().ok();
    // Helper processes: the commands of the agents, and the load.
    match arguments.first().map(String::as_str) {
        Some("print-for") => return print_lines(u64::MAX, value(1).unwrap_or(1)),
        Some("print-lines") => return print_lines(value(1).unwrap_or(1), u64::MAX),
        Some("print-times") => return print_times(value(1).unwrap_or(1)),
        Some("spin") => return spin(),
        _ => {}
    }
    let all = arguments.len();
    // Cargo adds it, behind everything else.
    arguments.retain(|argument| argument != "--bench");
    if arguments.len() == all {
        // `cargo test --benches` only checks that the program starts.
        println!("Nothing measured; run `cargo bench --bench heartbeat`.");
        return ExitCode::SUCCESS;
    }
    let options = match Options::read(&arguments) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("heartbeat: {problem}");
            return ExitCode::from(USAGE);
        }
    };
    let Options { candidates, stages, seconds, pairs, strict } = options;
    let mut report = Report::new(candidates.iter().map(|candidate| candidate.name.clone()).collect());
    let bench = Bench {
        dashboard: BenchDashboard::start(true),
        existing: BenchDashboard::start(false),
        candidates,
        phase: Duration::from_secs(seconds),
        pairs,
    };
    for (name, run) in stages::ALL {
        if stages.is_empty() || stages.iter().any(|stage| stage == name) {
            eprintln!("{name} ..");
            run(&bench, &mut report);
        }
    }
    report.print();
    if strict && report.misses() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
