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
const FAULTS: &[(&str, &str)] = &[
    ("forget-rewind", "what has no proof is not sent again on the next connection"),
    ("skip-a-line", "after a reconnect, output goes on one entry too late"),
    ("prove-early", "a status counts as read when it is queued"),
    ("drop-a-line", "one line of a batch of output is not sent"),
    ("drop-on-read-error", "entries that were read are lost with a read error behind them"),
    ("silent-hole", "missing lines are not announced"),
    ("prune-unproven", "the folder of a job is removed before its end was read"),
    ("no-sync-before-result", "the result is written before the log is durable"),
    ("a-signal-is-a-success", "a program that a signal killed counts as successful"),
    ("no-sync", "files are renamed before their content is durable"),
    ("no-sync-of-the-folder", "names of files are not made durable"),
    ("keep-the-record", "the record of a job is not removed when its end was read"),
    ("no-record", "a job is started without a record"),
    ("lose-the-answers", "the answered requests are forgotten with the agent"),
    ("skip-a-heartbeat", "every eighth heartbeat is not sent"),
    ("beat-before-registered", "a heartbeat goes before the registration"),
    ("look-after-reading", "the end of a job is looked for after its log was read"),
    ("lost-on-an-error", "a supervisor counts as dead when its lock cannot be tested"),
    ("run-a-repeat", "a request that is repeated while it runs is started again"),
    ("sleep-unnoticed", "a sleep of the host is taken for a step of its clock"),
    ("no-answer-while-busy", "a request is not answered while another command runs"),
];

/// The seed that found a fault, and the first thing that was said; none if no seed did.
type Found = Option<(u64, String)>;

pub(crate) fn run_all() -> ExitCode {
    let next = AtomicUsize::new(0);
    let rows: Mutex<Vec<(usize, Found)>> = Mutex::default();
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
