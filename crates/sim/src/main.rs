//! `nixfleet-sim [N] [--seed S] [--trace]`: runs N seeds from S on, and shows what fails.

use std::process::ExitCode;
use std::time::Instant;

use nixfleet_sim::{Schedule, run, shrink};

const USAGE: &str = "nixfleet-sim [N] [--seed S] [--trace]";

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|_| ()));
    let (mut count, mut first, mut trace) = (1000_u64, 1_u64, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seed" => {
                let Some(seed) = arguments.next().and_then(|seed| seed.parse().ok()) else { return usage() };
                first = seed;
            }
            "--trace" => trace = true,
            number => {
                let Ok(number) = number.parse() else { return usage() };
                count = number;
            }
        }
    }
    let begun = Instant::now();
    let mut failed = 0_u64;
    for seed in first..first + count {
        let schedule = Schedule::of(seed);
        let outcome = run(&schedule, trace);
        outcome.trace.iter().for_each(|line| println!("{line}"));
        if !outcome.findings.is_empty() {
            failed += 1;
            let shortest = shrink(&schedule);
            println!("seed {seed} fails: {}", outcome.findings.join("\n  "));
            println!(" {} of {} events are enough:\n{}", shortest.len(), schedule.len(), shortest.describe());
            println!(" again: cargo xtask sim 1 --seed {seed} --trace");
        }
        if trace {
            println!("seed {seed}: digest {:016x}, {} events", outcome.digest, outcome.events);
        }
    }
    println!("{count} seeds from {first} on in {:?}: {failed} fail", begun.elapsed());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(64)
}
