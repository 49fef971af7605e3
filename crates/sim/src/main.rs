//! `nixfleet-sim [N] [--seed S] [--trace]`: runs N seeds from S on, and shows what fails.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use std::{panic, thread};

use nixfleet_sim::{Schedule, run, shrink, storm};

#[cfg(feature = "planted-faults")]
mod planted;

const USAGE: &str = "\
nixfleet-sim [N] [--seed S] [--trace] [--planted]
nixfleet-sim storm [N]

N runs with the seeds from S on. A run that fails is shown with the events that are enough for it.
  --trace    shows everything that happens
  --planted  shows which planted faults are found (needs the feature planted-faults)
storm: how many of N agents (default: 10000) register in the busiest second after an outage.";

/// Wrong usage (`EX_USAGE` of sysexits.h).
const BAD_USAGE: u8 = 64;

/// What the command line asks for.
struct Options {
    count: u64,
    first: u64,
    trace: bool,
    planted: bool,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("storm") {
        let Some(agents) = arguments.next().map_or(Some(storm::AGENTS), |number| number.parse().ok()) else {
            eprintln!("{USAGE}");
            return ExitCode::from(BAD_USAGE);
        };
        print!("{}", storm::table(agents));
        return ExitCode::SUCCESS;
    }
    let Some(options) = options() else {
        eprintln!("{USAGE}");
        return ExitCode::from(BAD_USAGE);
    };
    // A panic of the simulated agent is a finding of its run.
    panic::set_hook(Box::new(|_| ()));
    if options.planted {
        return planted();
    }
    let begun = Instant::now();
    let failed = if options.trace { runs(&options, &AtomicU64::new(0)) } else { in_parallel(&options) };
    println!("{} seeds from {} on in {:.1?}: {failed} fail", options.count, options.first, begun.elapsed());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn options() -> Option<Options> {
    let mut options = Options { count: 1000, first: 1, trace: false, planted: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seed" => options.first = arguments.next()?.parse().ok()?,
            "--trace" => options.trace = true,
            "--planted" => options.planted = true,
            number => options.count = number.parse().ok()?,
        }
    }
    Some(options)
}

/// On all processors: each run has one thread.
fn in_parallel(options: &Options) -> u64 {
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        let count = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..count).map(|_| scope.spawn(|| runs(options, &next))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or(1)).sum()
    })
}

/// Runs seeds until none is left; returns how many failed.
fn runs(options: &Options, next: &AtomicU64) -> u64 {
    let mut failed = 0;
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= options.count {
            return failed;
        }
        let seed = options.first + index;
        let schedule = Schedule::of(seed);
        let outcome = run(&schedule, options.trace);
        outcome.trace.iter().for_each(|line| println!("{line}"));
        if options.trace {
            println!("seed {seed}: digest {:016x}, {} events", outcome.digest, outcome.events);
        }
        if !outcome.findings.is_empty() {
            failed += 1;
            let shortest = shrink(&schedule);
            println!(
                "seed {seed} fails:\n  {}\n {} of {} events are enough:\n{} again: cargo xtask sim 1 --seed {seed} --trace\n",
                outcome.findings.join("\n  "),
                shortest.len(),
                schedule.len(),
                shortest.describe()
            );
        }
    }
}

#[cfg(feature = "planted-faults")]
fn planted() -> ExitCode {
    planted::run_all()
}

#[cfg(not(feature = "planted-faults"))]
fn planted() -> ExitCode {
    eprintln!("this program was built without the feature `planted-faults`; use `cargo xtask sim --planted`");
    ExitCode::from(BAD_USAGE)
}
