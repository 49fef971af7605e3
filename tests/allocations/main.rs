//! How often a heartbeat allocates memory, and how much.
//!
//! The agent and its session are the real ones, in virtual time over a socket in memory. The dashboard's end reads and
//! writes bytes in fixed buffers, so that everything that is counted is the agent's.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Cursor, Write as _};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::Message;

use host::Machine;
use nixfleet_agent::facts::Facts;
use nixfleet_protocol::AgentMessage;

#[path = "../soak/executor.rs"]
#[allow(dead_code, reason = "the soak test uses all of it")]
mod executor;
#[path = "../soak/host.rs"]
#[allow(dead_code, reason = "the soak test uses all of it")]
mod host;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const INTERVAL: Duration = Duration::from_secs(30);

/// Heartbeats that are counted.
const BEATS: u32 = 500;

/// Most allocations for one heartbeat of an idle host with its acknowledgement and two pings: what was measured (49,
/// and 10,650 bytes: its text is longer than 2 KiB, and buffers double), and a fifth more.
const ALLOCATIONS: u64 = 59;

/// Most bytes of these together.
const BYTES: u64 = 12_800;

/// The example heartbeat of the protocol with everything in it that a host without GPUs reports.
fn example() -> (Facts, Option<Box<nixfleet_protocol::DeviceVitals>>) {
    let read = |text: &str| match AgentMessage::decode(text).unwrap() {
        AgentMessage::Heartbeat(beat) => *beat,
        other => panic!("{other:?}"),
    };
    let beat = read(include_str!("../../crates/protocol/tests/wire/heartbeat-full.json"));
    let vitals = read(include_str!("../../crates/protocol/tests/wire/heartbeat-vitals.json")).vitals;
    let facts = Facts {
        generation: beat.generation,
        nixpkgs_version: beat.nixpkgs_version,
        source_commit: beat.source_commit,
        store_path: beat.store_path,
        binary_hash: beat.binary_hash,
        lock_hash: beat.lock_hash,
        update_status: *beat.update_status.unwrap(),
        system: *beat.system.unwrap(),
        ..Facts::default()
    };
    (facts, Some(vitals.unwrap()))
}

#[test]
fn a_heartbeat_allocates_little() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let (blocks, bytes) = runtime.unwrap().block_on(measure());
    let (blocks, bytes) = (blocks.div_ceil(BEATS.into()), bytes.div_ceil(BEATS.into()));
    println!("for each of {BEATS} heartbeats: {blocks} allocations, {bytes} bytes");
    assert!(blocks <= ALLOCATIONS, "{blocks} allocations for a heartbeat, {ALLOCATIONS} at most");
    assert!(bytes <= BYTES, "{bytes} bytes for a heartbeat, {BYTES} at most");
}

/// Allocations of all these heartbeats, and their bytes.
async fn measure() -> (u64, u64) {
    let (facts, vitals) = example();
    let mut machine = Machine::new(1, INTERVAL, facts, vitals);
    let mut socket = machine.connect().await;
    let registered = r#"{"type":"registered","payload":{"host_id":"soak","ack":true}}"#;
    socket.send(Message::text(registered)).await.unwrap();
    // Registration and first heartbeat.
    for _ in 0..2 {
        socket.next().await.unwrap().unwrap();
    }
    let mut socket = socket.into_inner();
    let begun = Instant::now();
    let mut buffer = [0; 16 * 1024];
    // Buffers of both ends have their size when the first few have passed.
    const WARM_UP: u32 = 10;
    let _profiler = dhat::Profiler::builder().testing().build();
    let mut before = (0, 0);
    for beat in 1.. {
        acknowledge(&mut socket, beat).await;
        // Two pings and the next heartbeat.
        let until = begun + INTERVAL * beat + INTERVAL / 4;
        while let Ok(length) = timeout_at(until, socket.read(&mut buffer)).await {
            assert!(length.unwrap() > 0, "the connection ended");
        }
        let stats = dhat::HeapStats::get();
        let now = (stats.total_blocks, stats.total_bytes);
        if beat == WARM_UP {
            before = now;
        } else if beat == WARM_UP + BEATS {
            assert_eq!(machine.report().await.stats.beats, u64::from(beat) + 1);
            machine.shut_down().await;
            return (now.0 - before.0, now.1 - before.1);
        }
    }
    unreachable!("the loop has no other end")
}

/// Writes the frame of an acknowledgement.
async fn acknowledge(socket: &mut tokio::io::DuplexStream, seq: u32) {
    let mut frame = [0; 4 + 125 * 2];
    let mut cursor = Cursor::new(&mut frame[4..]);
    write!(
        cursor,
        r#"{{"type":"heartbeat_ack","payload":{{"seq":{seq:>20},"server_status":{{"state":"healthy","#
    )
    .unwrap();
    write!(cursor, r#""reason":"","until":""}},"server_time":"2026-01-01T00:00:00Z"}}}}"#).unwrap();
    let length = u16::try_from(cursor.position()).unwrap();
    assert!(length > 125, "the header is that of a longer frame");
    frame[0] = 0x81;
    frame[1] = 126;
    frame[2..4].copy_from_slice(&length.to_be_bytes());
    socket.write_all(&frame[..4 + usize::from(length)]).await.unwrap();
}
