//! Benchmark of the dashboard: what thousands of agents cost it.
//!
//! The real program runs in a process of its own, pinned to one core. This process is the agents: one task for each,
//! with a socket of its own, which registers, beats, pings, reads acknowledgements and answers commands as
//! nixfleet-agent does. It is pinned to another core. There is no TLS: the dashboard has none.
//!
//! ```text
//! cargo bench --bench scale                                  10,000 agents, 30 s: takes about three minutes
//! cargo bench --bench scale -- --hosts 2000 --interval 5     a quick look
//! cargo bench --bench scale -- --rounds 10                   ten intervals of each kind, not two
//! cargo bench --bench scale -- --strict                      exit code 1 if a limit is missed
//! cargo bench --bench scale -- --dashboard FILE              another build of the dashboard, to compare
//! ```
//!
//! # How to read the values
//! Memory is the growth of the process from the first answer on, divided by the connections: what the process holds
//! for one, without the buffers of the kernel. Processor time is that of all its threads in the kernel and outside,
//! divided by the beats that arrived. It is counted twice: with the two pings that an agent sends between two beats, and
//! with beats alone. Meanwhile the agents look around once in a millisecond: the kernel counts it as work of the sender
//! to wake the receiver of an answer, and agents are on other machines. Other programs on the core of the dashboard take
//! its caches, so a busy machine shows more: compare two dashboards in two runs that follow each other. Times and
//! latencies contain what this process needs itself, and whatever else runs on the two cores.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::sleep;

use agent::{Agents, Cost};
use commands::latencies;
use dashboard::Dashboard;
use process::Cores;
use report::{Report, percentile};

mod agent;
mod commands;
mod contents;
mod dashboard;
mod process;
mod report;

/// Agents that connect at the same time. The queue of the listener takes more, so that none of them waits for a second
/// until its lost SYN is repeated.
const CONNECTING: usize = 128;

/// Token of the agents.
const TOKEN: &str = "bench";

/// Commands that are timed.
const COMMANDS: usize = 500;

/// Longest wait for a state. Only a hang takes this long.
const LIMIT: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    let number = |name: &str, default: u64| text(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    if !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test --benches` only checks that the program starts.
        println!("Nothing measured; run `cargo bench --bench scale`.");
        return ExitCode::SUCCESS;
    }
    let hosts = usize::try_from(number("--hosts", 10_000)).expect("a number of hosts").max(1);
    let interval = Duration::from_secs(number("--interval", 30).max(1));
    let rounds = u32::try_from(number("--rounds", 2)).unwrap_or(u32::MAX).max(1);
    process::allow_files(hosts);
    let cores = Cores::of_this_process();
    let program = text("--dashboard").map_or(env!("CARGO_BIN_EXE_nixfleet-mock-dashboard"), String::as_str);
    let dashboard = Dashboard::start(program, cores);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let report = runtime.block_on(measure(&dashboard, hosts, interval, rounds));
    report.print();
    let strict = arguments.iter().any(|argument| argument == "--strict");
    if strict && report.misses() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn measure(dashboard: &Dashboard, hosts: usize, interval: Duration, rounds: u32) -> Report {
    let mut report = Report::default();
    let agents = Arc::new(Agents::new(dashboard.address, hosts, interval));
    let each = |bytes: u64| bytes as f64 / hosts as f64 / 1024.0;

    // The first answer allocates what one connection needs as well as thousands do.
    commands::page(dashboard.address).await;
    let (memory, cpu, begun) = (dashboard.process().memory(), dashboard.process().cpu(), Instant::now());

    eprintln!("{hosts} agents register ..");
    let connecting = Arc::new(Semaphore::new(CONNECTING));
    for number in 0..hosts {
        let permit = Arc::clone(&connecting).acquire_owned().await.expect("the semaphore stays open");
        tokio::spawn(agent::run(Arc::clone(&agents), number, permit));
    }
    agents.until("registrations and first beats", || agents.counts.acks.load(Relaxed) >= hosts as u64).await;
    let seconds = agents.registered_within(begun).as_secs_f64();
    let registering = (dashboard.process().cpu() - cpu).as_secs_f64() * 1e6 / hosts as f64;
    let first = dashboard.process().memory() - memory;
    report.row("all registered after", seconds, "s", f64::INFINITY, f64::INFINITY);
    report.row("registrations in a second", hosts as f64 / seconds, "", f64::INFINITY, f64::INFINITY);
    report.row("processor for a registration and a beat", registering, "us", f64::INFINITY, f64::INFINITY);
    report.row("memory of a connection, after its first beat", each(first), "KB", 40.0, 16.0);

    // Until each agent has its place in the interval.
    sleep(interval).await;
    eprintln!("beats and pings for {:?} ..", interval * rounds);
    let [Cost { micros, outside }] = agents.cost_of_a_beat([dashboard.process()], interval * rounds).await;
    report.row("processor for a beat and two pings", micros, "us", 50.0, 15.0);
    report.row("of that outside the kernel", outside, "us", f64::INFINITY, f64::INFINITY);

    eprintln!("{COMMANDS} commands, while all beat ..");
    let mut times = latencies(dashboard, &agents, COMMANDS).await;
    for (name, percent) in [("p50", 50.0), ("p99", 99.0)] {
        let name = format!("command to its agent, {name}");
        report.row(&name, percentile(&mut times, percent), "ms", f64::INFINITY, f64::INFINITY);
    }

    eprintln!("beats without pings for {interval:?} ..");
    agents.stop_pings();
    sleep(interval / 2).await;
    let [Cost { micros, outside }] = agents.cost_of_a_beat([dashboard.process()], interval * rounds).await;
    report.row("processor for a beat alone", micros, "us", 50.0, 15.0);
    report.row("of that outside the kernel", outside, "us", f64::INFINITY, f64::INFINITY);

    let last = dashboard.process().memory() - memory;
    let beats = agents.counts.acks.load(Relaxed) as f64 / hosts as f64;
    let name = format!("memory of a connection, after {beats:.1} beats");
    report.row(&name, each(last), "KB", 40.0, 16.0);
    report.row("connections lost", agents.counts.lost.load(Relaxed) as f64, "", 0.0, 0.0);
    let beats = agents.counts.beats.load(Relaxed);
    let missing = beats.saturating_sub(agents.counts.acks.load(Relaxed));
    // Some are on their way.
    report.row("beats without acknowledgement", missing as f64, "", 16.0, 16.0);
    report
}
