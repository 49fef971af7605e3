//! The agent over a long time, in virtual time: does it grow, and does it drift?
//!
//! The agent's loop, its sessions, its job table and its timers are the real ones. Connections are in memory, jobs are
//! tasks, and the clock jumps to the next thing that happens. `cargo xtask soak` runs the full length.
//!
//! ```text
//! main.rs       growth
//! day.rs        drift
//! restarts.rs   the delay after restarts in a row
//! first_minute.rs  an agent that starts without a network
//! host.rs       an agent, and connections in memory
//! executor.rs   jobs that write lines at a pace of their own
//! dashboard.rs  the dashboard's end: acknowledgements, commands, nonsense; checks what comes
//! pace.rs       when heartbeats have to come
//! usage.rs      memory to the byte, threads, descriptors
//! ```
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::ErrorKind;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use dashboard::{Connection, INTERVAL, Seen, WARM};
use host::{Attempt, Machine};
use nixfleet_agent::facts::Facts;
use usage::Usage;

mod dashboard;
mod day;
mod executor;
mod first_minute;
mod host;
mod pace;
mod restarts;
mod usage;

/// Heartbeats and connections of a run, unless `SOAK_BEATS` and `SOAK_CONNECTIONS` say otherwise.
const BEATS: u64 = 10_000;
const CONNECTIONS: u64 = 200;

/// Bytes of heap by which a later sample may exceed an earlier one. Requests that were answered are kept, 256 of
/// them, and their texts differ in length; a hash table may have grown once more. A leak of one byte for each
/// heartbeat exceeds it in the full run; a leak of one pointer for each of them, or of one object for each
/// connection or job, in the short one.
const HEAP_MARGIN: usize = 8 * 1024;

/// Objects on the heap by which it may grow, for the same reasons.
const BLOCKS_MARGIN: usize = 20;

/// KiB of resident memory by which it may grow: pages that the allocator of this platform keeps, in pieces.
const RSS_MARGIN: usize = 2048;

/// What is measured belongs to the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn run(test: impl Future<Output = ()>) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // The agent listens to the kernel while this host has no network.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap().block_on(test);
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// What grew. Each sample is compared with all earlier ones.
fn growth(place: &str, samples: &[Usage]) -> Vec<String> {
    let mut found = Vec::new();
    for (n, late) in samples.iter().enumerate() {
        println!("{place}: {late:?}");
        for early in &samples[..n] {
            let mut flat = |what, early: usize, late: usize, margin| {
                if late > early + margin {
                    found.push(format!("{place}: {what} grew from {early} to {late}"));
                }
            };
            flat("the heap", early.heap, late.heap, HEAP_MARGIN);
            flat("the number of objects on the heap", early.blocks, late.blocks, BLOCKS_MARGIN);
            flat("resident memory in KiB", early.rss, late.rss, RSS_MARGIN);
            flat("the number of threads", early.threads, late.threads, 0);
            flat("the number of descriptors", early.descriptors, late.descriptors, 0);
        }
    }
    found
}

/// The next attempt to connect that may succeed: some are refused, on the way or within this host.
async fn next_attempt(machine: &mut Machine, rng: &mut fastrand::Rng) -> Attempt {
    loop {
        let attempt = machine.attempt().await;
        match rng.u8(0..8) {
            0 => attempt.refuse(ErrorKind::ConnectionRefused),
            1 => attempt.refuse(ErrorKind::NetworkUnreachable),
            _ => return attempt,
        }
    }
}

/// Half of the heartbeats are on short connections and half on a long one, so that what a session keeps shows as well
/// as what is left of it. Samples are taken after 10, 50 and 100 % of both.
#[test]
fn beats_and_reconnects_without_end_need_no_more_memory_threads_or_descriptors() {
    let (beats, connections) = (setting("SOAK_BEATS", BEATS), setting("SOAK_CONNECTIONS", CONNECTIONS));
    run(async move {
        let seed = 0x5eed;
        let (mut machine, mut seen) = (Machine::new(seed, INTERVAL, Facts::default(), None), Seen::default());
        let mut rng = fastrand::Rng::with_seed(seed);
        let attempt = machine.attempt().await;
        let mut connection = Connection::open(attempt, &machine, &mut rng, &mut seen).await;
        connection.warm_up().await;
        drop(connection);
        let (begun, real) = (Instant::now(), std::time::Instant::now());
        let (warm_up, mut short) = (seen.beats, Vec::new());
        let mut attempt = next_attempt(&mut machine, &mut rng).await;
        for n in 1..=connections {
            let mut connection = Connection::open(attempt, &machine, &mut rng, &mut seen).await;
            connection.beats(beats / 2 / connections).await;
            let sample = [connections / 10, connections / 2, connections].contains(&n);
            if sample {
                connection.rest().await;
            }
            let held = connection.end().await;
            attempt =
                if sample { machine.attempt().await } else { next_attempt(&mut machine, &mut rng).await };
            drop(held);
            if sample {
                // The session is gone, and the next one waits for its connection.
                assert_eq!(machine.report().await.running, None);
                short.push(Usage::now());
            }
        }
        let (short_beats, mut long) = (seen.beats - warm_up, Vec::new());
        let mut connection = Connection::open(attempt, &machine, &mut rng, &mut seen).await;
        for share in [10, 40, 50] {
            connection.beats(beats / 2 * share / 100).await;
            connection.rest().await;
            long.push(Usage::now());
        }
        let stats = machine.report().await.stats;
        println!(
            "{short_beats} beats on {connections} connections and {} on one, in {:?} of {:?}",
            seen.beats - short_beats - warm_up,
            real.elapsed(),
            begun.elapsed()
        );
        println!("{seen:?}");
        println!("{:?}", stats.reconnects);
        assert_eq!(stats.registrations, connections + 2);
        let lost: u64 = ["broken", "closed", "silent", "unacknowledged"]
            .map(|cause| stats.reconnects[cause])
            .iter()
            .sum();
        assert_eq!(lost, connections + 1, "{stats:?}");
        assert!(stats.reconnects["unreachable"] > connections / 10, "{stats:?}");
        assert!(stats.beats - stats.beats_skipped - seen.beats <= 10 * connections, "{stats:?}");
        assert_eq!((stats.beats_late, stats.messages_dropped), (0, 0));
        assert_eq!(seen.jobs, machine.executor.work.lock().unwrap().launched, "each job has a status");
        assert!((seen.jobs - WARM) * 20 > beats && seen.rejected > 0 && seen.lines > seen.jobs, "{seen:?}");
        let mut grown = growth("short connections", &short);
        grown.extend(growth("a long connection", &long));
        assert!(grown.is_empty(), "{grown:#?}");
    });
}
