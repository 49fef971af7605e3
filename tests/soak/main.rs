//! The agent over a long time, in virtual time: does it grow, and does it drift?
//!
//! The agent, its session, its job table and its timers are the real ones. The socket is in memory, jobs are tasks,
//! and the clock jumps to the next thing that happens. `SOAK_FULL=1` runs the full length.
//!
//! ```text
//! main.rs       the tests
//! host.rs       an agent, and its session over a socket in memory
//! executor.rs   jobs that write lines at a pace of their own
//! dashboard.rs  the dashboard's end: acknowledgements, commands, nonsense; checks what comes
//! pace.rs       when heartbeats have to come
//! usage.rs      memory to the byte, threads, descriptors
//! ```
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;

use dashboard::{Connection, INTERVAL, Seen};
use executor::Plan;
use host::Machine;
use nixfleet_agent::facts::Facts;
use nixfleet_protocol::AgentMessage;
use usage::Usage;

mod dashboard;
mod executor;
mod host;
mod pace;
mod usage;

/// Heartbeats and connections of a run; a tenth of the full length takes some seconds.
const SHORT: (u64, u64) = (20_000, 100);
const FULL: (u64, u64) = (1_000_000, 1_000);

/// Bytes of heap by which a later sample may exceed an earlier one. Requests that were answered are kept, 256 of
/// them, and their texts differ in length; a hash table may have grown once more. A leak of one byte for each
/// heartbeat exceeds it in the full run, and a leak of one object for each connection or job in the short one.
const HEAP_MARGIN: usize = 32 * 1024;

/// Objects on the heap by which it may grow, for the same reasons.
const BLOCKS_MARGIN: usize = 50;

/// KiB of resident memory by which it may grow: pages that the allocator of this platform keeps, in pieces.
const RSS_MARGIN: u64 = 2048;

/// What is measured belongs to the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn run(test: impl Future<Output = ()>) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(test);
}

fn assert_flat(early: Usage, late: Usage) {
    let both = format!("from {early:?} to {late:?}");
    assert!(late.heap <= early.heap + HEAP_MARGIN, "the heap grew {both}");
    assert!(late.blocks <= early.blocks + BLOCKS_MARGIN, "objects on the heap {both}");
    assert!(late.rss <= early.rss + RSS_MARGIN, "resident memory grew {both}");
    assert!(late.threads <= early.threads, "threads {both}");
    assert!(late.descriptors <= early.descriptors, "descriptors {both}");
}

#[test]
fn beats_and_reconnects_without_end_need_no_more_memory_threads_or_descriptors() {
    let (beats, connections) = if std::env::var_os("SOAK_FULL").is_some() { FULL } else { SHORT };
    run(async move {
        let seed = 0x5eed;
        let (mut machine, mut seen) = (Machine::new(seed, INTERVAL, Facts::default(), None), Seen::default());
        let mut rng = fastrand::Rng::with_seed(seed);
        let (begun, real) = (Instant::now(), std::time::Instant::now());
        let mut samples = Vec::new();
        for n in 1..=connections {
            let sample = [connections / 10, connections / 2, connections].contains(&n);
            let mut connection = Connection::open(&mut machine, &mut rng, &mut seen).await;
            connection.beats(beats / connections).await;
            if sample {
                connection.rest().await;
            }
            connection.end().await;
            if sample {
                assert!(machine.agent().jobs.is_idle());
                samples.push(Usage::now());
            }
        }
        let stats = &machine.agent().stats;
        println!(
            "{beats} beats, {connections} connections, in {:?} of {:?}",
            real.elapsed(),
            begun.elapsed()
        );
        println!("{seen:?}");
        samples.iter().for_each(|sample| println!("{sample:?}"));
        assert_eq!(stats.registrations, connections);
        assert!(stats.beats - stats.beats_skipped - seen.beats <= 10 * connections, "{stats:?}");
        assert_eq!((stats.beats_late, stats.messages_dropped), (0, 0));
        assert_eq!(seen.jobs, machine.executor.work.lock().unwrap().launched, "each job has a status");
        assert!(seen.jobs * 20 > beats && seen.rejected > 0 && seen.lines > seen.jobs, "{seen:?}");
        assert_flat(samples[0], samples[1]);
        assert_flat(samples[0], samples[2]);
    });
}

/// A day without a disturbance. The clock of this test jumps by milliseconds, so nothing may be later than one.
#[test]
fn a_day_of_timers_does_not_drift() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    const PING: Duration = Duration::from_secs(15);
    const TICK: Duration = Duration::from_millis(1);
    const MINUTE: Duration = Duration::from_secs(60);
    run(async {
        let mut machine = Machine::new(1, INTERVAL, Facts::default(), None);
        machine.executor.work.lock().unwrap().next = Some(Plan { lines: 2000, gap: MINUTE });
        let mut socket = machine.connect().await;
        futures_util::SinkExt::send(&mut socket, Message::text(r#"{"type":"registered","payload":{}}"#))
            .await
            .unwrap();
        let command = Message::text(r#"{"type":"command","payload":{"command":"pull"}}"#);
        futures_util::SinkExt::send(&mut socket, command).await.unwrap();
        let start = Instant::now();
        let (mut beats, mut lines, mut pings) = (0_u32, Vec::<Instant>::new(), 0);
        let mut last_ping = start;
        while let Ok(message) = timeout(INTERVAL, socket.next()).await {
            let now = Instant::now();
            if now > start + DAY {
                break;
            }
            match message.unwrap().unwrap() {
                Message::Ping(_) => {
                    assert!(now - last_ping <= PING + TICK, "{:?}", now - last_ping);
                    (last_ping, pings) = (now, pings + 1);
                }
                Message::Text(text) => match AgentMessage::decode(&text).unwrap() {
                    AgentMessage::Heartbeat(_) => {
                        let due = start + INTERVAL * beats;
                        assert!(now >= due && now <= due + TICK, "beat {beats}: {:?}", now - start);
                        beats += 1;
                    }
                    AgentMessage::Output(_) => {
                        let first = *lines.first().unwrap_or(&now);
                        let due = first + MINUTE * u32::try_from(lines.len()).unwrap();
                        assert!(now >= due && now <= due + TICK, "line {}: {:?}", lines.len(), now - start);
                        if let Some(line) = lines.last() {
                            let saved = machine.executor.work.lock().unwrap().saved_at.unwrap();
                            let took = saved - *line;
                            assert!(took <= Duration::from_millis(250) + TICK, "saved after {took:?}");
                        }
                        lines.push(now);
                    }
                    AgentMessage::Register(_) => {}
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((beats, start.elapsed() >= DAY), (2881, true), "one at each end");
        assert!((1438..=1440).contains(&lines.len()), "{}", lines.len());
        // One every 15 s and one behind each line, from which the next 15 s are counted.
        assert!((5760..=5760 + 1440).contains(&pings), "{pings}");
    });
}
