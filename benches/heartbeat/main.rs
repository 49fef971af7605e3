//! Benchmark of the agent: lateness of heartbeats, throughput of output, memory and processor time.
//!
//! The real binary runs against a mock dashboard in this process, over loopback without TLS, with one heartbeat a
//! second. `cargo bench` prints each value beside its limit ("must") and its goal ("aim").
//!
//! ```text
//! cargo bench                           takes about two minutes
//! cargo bench -- --seconds 5            shorter phases; also NIXFLEET_BENCH_SECONDS=5
//! cargo bench -- --strict               exit code 1 if a limit is missed
//! ```
//!
//! # How to read the values
//! The lateness of a heartbeat is its arrival at the dashboard minus its due time `t0 + n x 1 s`. `t0` is the
//! earliest heartbeat of the idle phase and is used for all phases, so that no phase can hide a constant delay.
//! Arrival times have a resolution of one millisecond. The dashboard, the command and the spinning processes share
//! the processor cores with the agent, so delays of the dashboard count as delays of the agent. A phase has about
//! twenty heartbeats, so its p99 is its maximum. On a noisy or virtual machine the values of two runs differ by a
//! factor of two or more: repeat the run before you draw conclusions.

use std::fs;
use std::process::ExitCode;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use nixfleet_mock_dashboard::Handle;
use nixfleet_protocol::AgentMessage;

use dashboard::{BenchDashboard, HOST, connected, lines, start, status, wait};
use helpers::{LINE_EVERY, print_lines, print_times, spin};
use lateness::{Beats, Grid, middle, percentile, timed, unix_ms};
use report::{Best, Report};
use stage::{AGENT, Process, Stage};

mod dashboard;
mod helpers;
mod lateness;
mod report;
mod stage;

/// Number of lines in the throughput phase.
const LINES: u64 = 500_000;

/// Number of starts that measure the time to the first heartbeat.
const STARTS: usize = 10;

/// Number of spinning processes for each core.
const SPINNERS: usize = 4;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    // Helper processes: the commands of the agent, and the load.
    match arguments.first().map(String::as_str) {
        Some("print-forever") => return print_lines(u64::MAX),
        Some("print-lines") => return print_lines(value("print-lines").unwrap_or(LINES)),
        Some("print-times") => return print_times(value("print-times").unwrap_or(20)),
        Some("spin") => return spin(),
        _ => {}
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test --benches` only checks that the program starts.
        println!("Nothing measured; run `cargo bench`.");
        return ExitCode::SUCCESS;
    }
    let from_environment = || std::env::var("NIXFLEET_BENCH_SECONDS").ok()?.parse().ok();
    let seconds = value("--seconds").or_else(from_environment).unwrap_or(20).max(2);
    let report = measure(Duration::from_secs(seconds));
    report.print();
    let strict = arguments.iter().any(|argument| argument == "--strict");
    if strict && report.misses() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn measure(phase: Duration) -> Report {
    let mut report = Report::default();
    let dashboard = BenchDashboard::start();
    let stage = Stage::build(dashboard.address, phase);

    eprintln!("starting the agent {STARTS} times ..");
    let mut starts: Vec<f64> = (0..STARTS).map(|_| first_beat(&dashboard.handle, &stage)).collect();
    report.row("exec to first heartbeat, p50", percentile(&mut starts, 50.0), "ms", 15.0, 5.0, Best::Low);
    report.row("exec to first heartbeat, max", percentile(&mut starts, 100.0), "ms", 15.0, 5.0, Best::Low);

    let from = dashboard.handle.next_index(HOST);
    let agent = stage.agent();
    wait(&dashboard.handle, "a heartbeat with the hash of the agent's program", |handle| {
        let messages = handle.messages_since(HOST, from);
        messages.iter().any(|m| is_hashed(&m.message)).then_some(())
    });
    if let Some(cpu) = agent.cpu() {
        let start = cpu.as_secs_f64() * 1000.0;
        report.row("CPU of the start, once", start, "ms", 30.0, 10.0, Best::Low);
    }
    let connections = dashboard.handle.connections(HOST);
    let beats = Beats::watch(dashboard.handle.clone());

    eprintln!("idle for {phase:?} ..");
    let (idle, cpu) = timed(|| {
        let before = agent.cpu();
        sleep(phase);
        Some((agent.cpu()? - before?).as_secs_f64() * 1000.0 / phase.as_secs_f64())
    });

    eprintln!("a command prints as fast as it can for {phase:?} ..");
    let (flood, _) = timed(|| {
        start(&dashboard.handle, "flood");
        sleep(phase);
        dashboard.handle.send_command(HOST, "stop", None).expect("the agent is connected");
        status(&dashboard.handle, "flood")
    });

    let spinners = thread::available_parallelism().map_or(2, usize::from) * SPINNERS;
    eprintln!("{spinners} spinning processes for {phase:?} ..");
    let load = {
        let _spinners: Vec<Process> = (0..spinners).map(|_| Process::helper("spin")).collect();
        timed(|| sleep(phase)).0
    };

    eprintln!("{LINES} lines ..");
    let before = lines(&dashboard.handle);
    let begun = Instant::now();
    start(&dashboard.handle, "lines");
    let ended = status(&dashboard.handle, "lines");
    let rate = LINES as f64 / begun.elapsed().as_secs_f64();
    let lost = LINES.saturating_sub(lines(&dashboard.handle) - before);

    eprintln!("a line each {LINE_EVERY:?} for {phase:?} ..");
    let mut latencies = line_latencies(&dashboard.handle);

    let memory = agent.memory();
    let beats = beats.finish();
    let idle_beats: Vec<i64> = beats.iter().copied().filter(|&beat| idle.contains(beat)).collect();
    let grid = Grid::fit(&idle_beats);
    for (name, window, must, aim) in [
        ("idle", &idle, 20.0, 5.0),
        ("while a command floods", &flood, 50.0, 5.0),
        ("at high CPU load", &load, 250.0, 50.0),
    ] {
        let mut lateness = grid.lateness(&beats, window);
        let missing = window.beats().saturating_sub(lateness.len());
        report.row(
            &format!("heartbeat lateness {name}, p50"),
            percentile(&mut lateness, 50.0),
            "ms",
            must,
            aim,
            Best::Low,
        );
        report.row(
            &format!("heartbeat lateness {name}, p99"),
            percentile(&mut lateness, 99.0),
            "ms",
            must,
            aim,
            Best::Low,
        );
        report.row(
            &format!("heartbeat lateness {name}, max"),
            percentile(&mut lateness, 100.0),
            "ms",
            must,
            aim,
            Best::Low,
        );
        report.row(&format!("beats missing {name}"), missing as f64, "", 0.0, 0.0, Best::Low);
    }
    let reconnects = dashboard.handle.connections(HOST) - connections;
    report.row("reconnects", reconnects as f64, "", 0.0, 0.0, Best::Low);
    report.row("lines from request to status", rate, "/s", 200_000.0, 1_000_000.0, Best::High);
    report.row("lines lost", lost as f64, "", 0.0, 0.0, Best::Low);
    if ended.status.dropped_lines != Some(0) {
        report.row(
            "lines cut out of the log",
            ended.status.dropped_lines.unwrap_or(0) as f64,
            "",
            0.0,
            0.0,
            Best::Low,
        );
    }
    report.row(
        "line written to line arrived, p50",
        percentile(&mut latencies, 50.0),
        "ms",
        100.0,
        20.0,
        Best::Low,
    );
    report.row(
        "line written to line arrived, p99",
        percentile(&mut latencies, 99.0),
        "ms",
        100.0,
        20.0,
        Best::Low,
    );
    if let Some(cpu) = cpu {
        report.row("CPU for a beat", cpu, "ms", 2.0, 0.5, Best::Low);
    }
    for (name, bytes, must, aim) in memory {
        report.row(name, bytes as f64 / 1e6, "MB", must, aim, Best::Low);
    }
    let binary = fs::metadata(AGENT).map_or(0, |meta| meta.len());
    report.row("binary of the agent", binary as f64 / 1e6, "MB", 6.0, 4.0, Best::Low);
    report
}

/// Whether the agent has hashed its own program. It does that once, beside its first heartbeat, and before it or after
/// it as the scheduler wants. That takes as long as several heartbeats, and is no part of one.
fn is_hashed(message: &AgentMessage) -> bool {
    matches!(message, AgentMessage::Heartbeat(beat) if !beat.binary_hash.is_empty())
}

/// Starts an agent and returns the milliseconds until its first heartbeat arrives.
fn first_beat(handle: &Handle, stage: &Stage) -> f64 {
    let from = handle.next_index(HOST);
    let begun = unix_ms();
    let agent = stage.agent();
    let arrived = wait(handle, "first heartbeat", |handle| {
        let messages = handle.messages_since(HOST, from);
        messages.iter().find(|m| matches!(m.message, AgentMessage::Heartbeat(_))).map(|m| m.at_ms)
    });
    agent.terminate();
    wait(handle, "end of the connection", |handle| (!connected(handle)).then_some(()));
    middle(arrived) - begun
}

/// Latencies of lines in milliseconds. The text of each line is the time at which it was written.
fn line_latencies(handle: &Handle) -> Vec<f64> {
    let from = handle.next_index(HOST);
    start(handle, "times");
    status(handle, "times");
    let mut latencies = Vec::new();
    for recorded in handle.messages_since(HOST, from) {
        let written: Vec<f64> = match &recorded.message {
            AgentMessage::Output(output) => output.line.parse().into_iter().collect(),
            AgentMessage::OutputBatch(batch) => {
                batch.lines.iter().filter_map(|line| line.line.parse().ok()).collect()
            }
            _ => Vec::new(),
        };
        latencies.extend(written.iter().map(|written| middle(recorded.at_ms) - written));
    }
    latencies
}
