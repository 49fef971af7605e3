//! Chaos with real processes: the built agent, a TCP proxy that breaks connections, signals to everything that
//! runs, damaged files, full disks, few descriptors and processes, and clocks that jump.
//!
//! ```text
//! schedule (one seed) --> driver --> proxy, machine, disk, damage, clock; commands of a dashboard
//!                           |
//!                           v
//!                        evidence: what the dashboard received, the files, what the commands wrote
//!                           |                                             (and the list of faults)
//!                           v
//!                         audit --> findings
//! ```
//!
//! A schedule has some ten seconds of faults. Then the faults end, and everything must come to rest. The audit
//! shares no code with the agent but the types of messages. The page docs/reliability.md says what is checked.
//!
//! Variables: `CHAOS_SEEDS` is the number of schedules, `CHAOS_SEED` the first seed, `CHAOS_JOBS` how many run at a
//! time, `CHAOS_STOP` stops when a schedule has failed, `CHAOS_KEEP` keeps the folders of good schedules too,
//! `CHAOS_AGENT` is another program than the built one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

mod act;
mod audit;
mod clock;
mod commands;
mod damage;
mod disk;
mod driver;
mod evidence;
mod faults;
mod machine;
mod program;
mod proxy;
#[allow(dead_code, reason = "it is shared with the integration tests, which use all of it")]
#[path = "../it/rig.rs"]
mod rig;
mod schedule;
mod tally;

use program::Program;
use schedule::Schedule;
use tally::Tally;

/// Schedules of one run of the tests: with [`JOBS`] at a time they take less than three minutes on two busy cores.
const SEEDS: u64 = 40;

/// First seed, unless `CHAOS_SEED` says otherwise.
const FIRST: u64 = 1;

/// Schedules at a time. They mostly wait: 20 of them keep two cores half busy.
const JOBS: u64 = 20;

/// Time between the starts of two threads, so that not all schedules start an agent at the same moment.
const STAGGER: Duration = Duration::from_millis(300);

fn number(name: &str, default: u64) -> u64 {
    let Ok(text) = std::env::var(name) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not `{text}`"))
}

#[test]
fn nothing_is_lost_whatever_breaks() {
    let (first, count) = (number("CHAOS_SEED", FIRST), number("CHAOS_SEEDS", SEEDS));
    let jobs = number("CHAOS_JOBS", JOBS).clamp(1, count.max(1));
    let begun = Instant::now();
    let program = &Program::copy();
    let next = AtomicU64::new(first);
    let (tally, failed) = (Mutex::new(Tally::default()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for job in 0..jobs {
            let (next, tally, failed) = (&next, &tally, &failed);
            scope.spawn(move || {
                std::thread::sleep(STAGGER * u32::try_from(job).unwrap());
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let Err(report) = one(seed, program, tally) else { continue };
                    println!("{report}");
                    failed.lock().unwrap().push(seed);
                    if std::env::var_os("CHAOS_STOP").is_some() {
                        next.store(u64::MAX / 2, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort_unstable();
    println!("{}", tally.into_inner().unwrap());
    println!("{count} schedules from seed {first} in {:.0?}, {jobs} at a time.", begun.elapsed());
    assert!(failed.is_empty(), "these seeds failed, see above: {failed:?}");
}

/// Runs one schedule. The error is the report for people.
fn one(seed: u64, program: &Program, tally: &Mutex<Tally>) -> Result<(), String> {
    let schedule = Schedule::new(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let run = catch_unwind(AssertUnwindSafe(|| runtime.block_on(driver::run(&schedule, program))));
    let repeat = format!("repeat it with: cargo xtask chaos 1 --seed {seed}");
    let mut evidence = match run {
        Ok(evidence) => evidence,
        Err(_) => return Err(format!("seed {seed}: the test itself panicked, see above; {repeat}")),
    };
    let findings = audit::audit(&evidence);
    tally.lock().unwrap().add(&evidence);
    if findings.is_empty() {
        if std::env::var_os("CHAOS_KEEP").is_some() {
            println!("seed {seed} is good; its folder is {}", evidence.keep().display());
        }
        return Ok(());
    }
    let folder = evidence.keep();
    let report = format!(
        "seed {seed} FAILED\n{}\nwhat was done when:\n{}\nfolder: {} (agent.log, side.log, wire.log, state)\n{repeat}\n",
        findings.iter().map(|finding| format!("  * {finding}")).collect::<Vec<_>>().join("\n"),
        evidence.story(),
        folder.display()
    );
    evidence.write_wire();
    std::fs::write(folder.join("report.txt"), &report).unwrap();
    Err(report)
}
