//! Runs each planted fault until it is found, and prints the table.

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use nixfleet_os::planted::activate;
use nixfleet_sim::{Schedule, run};

/// Seeds within which each fault has to be found.
const SEEDS: u64 = 2000;

/// The planted faults: the name in the code, and what is wrong with it.
const FAULTS: &[(&str, &str)] = &[];

pub(crate) fn run_all() -> ExitCode {
    let next = AtomicUsize::new(0);
    let rows: Mutex<Vec<(usize, Option<(u64, String)>)>> = Mutex::default();
    let worker = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((name, _)) = FAULTS.get(index) else { return };
            activate(name);
            let found = (1..=SEEDS).find_map(|seed| {
                let outcome = run(&Schedule::of(seed), false);
                outcome.findings.into_iter().next().map(|finding| (seed, finding))
            });
            activate("");
            rows.lock().unwrap_or_else(PoisonError::into_inner).push((index, found));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(worker);
        }
    });
    let mut rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    rows.sort();
    println!("| fault | seeds | what the auditor said |\n| --- | --- | --- |");
    let mut missed = 0;
    for (index, found) in rows {
        let (name, what) = FAULTS[index];
        match found {
            Some((seeds, said)) => println!("| `{name}`: {what} | {seeds} | {} |", short(&said)),
            None => {
                missed += 1;
                println!("| `{name}`: {what} | none of {SEEDS} | |");
            }
        }
    }
    println!("{} planted faults, {missed} not found", FAULTS.len());
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn short(said: &str) -> String {
    let text: String = said.chars().take(160).collect();
    text.replace('|', "/")
}
