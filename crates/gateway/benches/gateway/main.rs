//! Benchmark of the gateway: what thousands of agents cost it, and NATS behind it.
//!
//! The real gateway runs in a process of its own, pinned to one core, and a real nats-server with the agents on the other
//! one. The agents are those of the benchmark of the dashboard. There is no TLS. At the end a gateway is killed, and
//! another one is asked to end, each with 5,000 agents.
//!
//! ```text
//! cargo bench --bench gateway                                             10,000 agents, 30 s: five minutes
//! cargo bench --bench gateway -- --hosts 2000 --interval 5 --moving 0     a quick look; no gateway ends
//! cargo bench --bench gateway -- --hosts 0                                only what happens when one ends
//! cargo bench --bench gateway -- --gateway FILE                           another build of the gateway, to compare
//! cargo bench --bench gateway -- --strict                                 exit code 1 if a limit is missed
//! ```
//!
//! It needs nats-server 2.11 or later on `PATH`, or in `NIXFLEET_NATS_SERVER`. How to read the values is said by the
//! benchmark of the dashboard.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use nixfleet_fleet::{Options, Reply, Request, ask};
use nixfleet_protocol::{CommandRequest, DashboardMessage};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use agent::Agents;
use process::{Cores, Process};
use programs::{Gateway, Server};
use report::{Report, percentile};

#[path = "../../../mock-dashboard/benches/scale/agent.rs"]
mod agent;
#[path = "../../../mock-dashboard/benches/scale/contents.rs"]
mod contents;
mod failover;
#[path = "../../../mock-dashboard/benches/scale/process.rs"]
mod process;
mod programs;
#[path = "../../../mock-dashboard/benches/scale/report.rs"]
mod report;

/// Token of the agents.
const TOKEN: &str = "bench";

/// Agents that connect at the same time.
const CONNECTING: usize = 128;

/// Commands that are timed.
const COMMANDS: usize = 500;

/// Distance between the agents of two commands: a prime number, so that all parts of the fleet have some.
const STEP: usize = 7919;

/// Longest wait for a state. Only a hang takes this long.
const LIMIT: Duration = Duration::from_secs(300);

/// Pause after the start of a gateway. It takes agents as soon as NATS has stored that it is there.
const SETTLED: Duration = Duration::from_secs(1);

/// What to measure, and how.
struct Plan {
    /// The program.
    gateway: PathBuf,
    hosts: usize,
    /// Hosts that lose their gateway.
    moving: usize,
    interval: Duration,
    cores: Cores,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    if !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test --benches` only checks that the program starts.
        println!("Nothing measured; run `cargo bench --bench gateway`.");
        return ExitCode::SUCCESS;
    }
    let count = |name: &str, default: u64| usize::try_from(number(name, default)).expect("a number of hosts");
    let program = arguments.iter().position(|argument| argument == "--gateway");
    let program = program.map(|at| arguments.get(at + 1).expect("--gateway names a program").as_str());
    let plan = Plan {
        gateway: program.unwrap_or(env!("CARGO_BIN_EXE_nixfleet-gateway")).into(),
        hosts: count("--hosts", 10_000),
        moving: count("--moving", 5000),
        interval: Duration::from_secs(number("--interval", 30).max(1)),
        cores: Cores::of_this_process(),
    };
    process::allow_files(plan.hosts.max(plan.moving));
    plan.cores.to_agents();
    let Some(nats) = Server::start() else { return ExitCode::FAILURE };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut report = Report::default();
    // All agents end with their runtime.
    if plan.hosts > 0 {
        runtime().block_on(costs(&nats, &plan, &mut report));
    }
    if plan.moving > 0 {
        runtime().block_on(failover::measure(&nats, &plan, &mut report));
    }
    report.print();
    let strict = arguments.iter().any(|argument| argument == "--strict");
    if strict && report.misses() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What connections, registrations, heartbeats and commands cost.
async fn costs(nats: &Server, plan: &Plan, report: &mut Report) {
    let Plan { hosts, interval, .. } = *plan;
    let gateway = Gateway::start(&plan.gateway, nats, plan.cores);
    let options = Options { servers: vec![nats.url()], name: "bench".to_owned(), ..Options::default() };
    let client = nixfleet_fleet::connect(&options).await.expect("NATS");
    let agents = Arc::new(Agents::new(gateway.address, hosts, interval));
    let each = |bytes: f64| bytes / hosts as f64 / 1024.0;
    let unlimited = f64::INFINITY;
    sleep(SETTLED).await;
    let both = [&gateway.process, &nats.process];
    let (memory, cpu, begun) = (both.map(Process::memory), both.map(Process::cpu), Instant::now());

    let growth = |at: usize| both[at].memory() as f64 - memory[at] as f64;

    eprintln!("{hosts} agents register ..");
    let connecting = Arc::new(Semaphore::new(CONNECTING));
    for number in 0..hosts {
        let permit = Arc::clone(&connecting).acquire_owned().await.expect("the semaphore stays open");
        tokio::spawn(agent::run(Arc::clone(&agents), number, permit));
    }
    agents.until("registrations and first beats", || agents.counts.acks.load(Relaxed) >= hosts as u64).await;
    let seconds = agents.registered_within(begun).as_secs_f64();
    let registering = |at: usize| (both[at].cpu() - cpu[at]).as_secs_f64() * 1e6 / hosts as f64;
    report.row("registrations in a second", hosts as f64 / seconds, "", unlimited, unlimited);
    report.row("processor for a registration and a beat", registering(0), "us", unlimited, unlimited);
    report.row("NATS: the same", registering(1), "us", unlimited, unlimited);
    report.row("memory of a connection", each(growth(0)), "KB", 40.0, 16.0);

    // Until each agent has its place in the interval.
    sleep(interval).await;
    eprintln!("beats and pings for {:?} ..", 2 * interval);
    let [ours, theirs] = agents.cost_of_a_beat(both, 2 * interval).await;
    report.row("processor for a beat and two pings", ours.micros, "us", 60.0, 25.0);
    report.row("of that outside the kernel", ours.outside, "us", unlimited, unlimited);
    report.row("NATS: processor for a beat", theirs.micros, "us", unlimited, unlimited);
    report.row("NATS: memory for a host", each(growth(1)), "KB", unlimited, unlimited);

    eprintln!("{COMMANDS} commands, while all beat ..");
    let mut times = Vec::with_capacity(COMMANDS);
    for number in 0..COMMANDS {
        let host = contents::hostname(number * STEP % agents.count());
        let request = CommandRequest { command: "pull".to_owned(), id: Some(format!("command-{number}")) };
        let asked = Instant::now();
        let reply = ask(&client, &host, &Request(DashboardMessage::Command(request))).await;
        assert!(matches!(reply, Ok(Reply::Accepted { .. })), "{reply:?}");
        times.push(asked.elapsed().as_secs_f64() * 1000.0);
    }
    for (name, percent) in [("p50", 50.0), ("p99", 99.0)] {
        let name = format!("command and its verdict, {name}");
        report.row(&name, percentile(&mut times, percent), "ms", unlimited, unlimited);
    }

    agents.stop_pings();
    sleep(interval / 2).await;
    eprintln!("beats without pings for {interval:?} ..");
    let [ours] = agents.cost_of_a_beat([&gateway.process], interval).await;
    report.row("processor for a beat alone", ours.micros, "us", 60.0, 25.0);
    report.row("memory of a connection, at the end", each(growth(0)), "KB", 40.0, 16.0);
    report.row("connections lost", agents.counts.lost.load(Relaxed) as f64, "", 0.0, 0.0);
}
