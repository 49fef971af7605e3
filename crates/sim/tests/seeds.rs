//! Many seeds, each with another mixture of faults.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use nixfleet_sim::{Schedule, kept, run, shrink};

/// Runs in the usual tests: what two cores do within a minute, with a margin.
const SEEDS: u64 = 1000;

/// Seeds whose runs are compared with themselves.
const COMPARED: u64 = 25;

fn check(schedule: &Schedule, name: &str) {
    let outcome = run(schedule, false);
    if !outcome.findings.is_empty() {
        let (shortest, seed) = (shrink(schedule), schedule.seed);
        panic!(
            "{name} (seed {seed}) fails:\n  {}\n {} of {} events are enough:\n{} again: cargo xtask sim 1 --seed {seed} --trace",
            outcome.findings.join("\n  "),
            shortest.len(),
            schedule.len(),
            shortest.describe()
        );
    }
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    for seed in 1..=COMPARED {
        let schedule = Schedule::of(seed);
        let (first, second) = (run(&schedule, true), run(&schedule, true));
        assert_eq!(first.digest, second.digest, "seed {seed}");
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert!(first.events > 50, "seed {seed}: something happened");
    }
}

#[test]
fn schedules_that_failed_once_hold() {
    for (name, schedule) in kept() {
        check(&schedule, name);
    }
}

#[test]
fn a_thousand_seeds_hold() {
    let next = AtomicU64::new(1);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > SEEDS {
                        return;
                    }
                    check(&Schedule::of(seed), "a new schedule");
                }
            });
        }
    });
}
