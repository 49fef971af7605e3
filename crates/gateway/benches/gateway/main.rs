//! Benchmark of the gateway: what thousands of agents cost it, and NATS behind it.
//!
//! The real gateway runs in a process of its own, pinned to one core, and a real nats-server with the agents on the other
//! one. The agents are those of the benchmark of the dashboard. There is no TLS.
//!
//! ```text
//! cargo bench --bench gateway                                  10,000 agents, 30 s
//! cargo bench --bench gateway -- --hosts 2000 --interval 5     a quick look
//! cargo bench --bench gateway -- --strict                      exit code 1 if a limit is missed
//! ```
//!
//! It needs nats-server 2.11 or later on `PATH`, or in `NIXFLEET_NATS_SERVER`. How to read the values is said by the
//! benchmark of the dashboard.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use nixfleet_fleet::{Options, Reply, Request, ask};
use nixfleet_protocol::{CommandRequest, DashboardMessage};
use nixfleet_testbed::Nats;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use agent::Agents;
use process::{Cores, Process};
use report::{Report, percentile};

#[path = "../../../mock-dashboard/benches/scale/agent.rs"]
mod agent;
#[path = "../../../mock-dashboard/benches/scale/contents.rs"]
mod contents;
#[path = "../../../mock-dashboard/benches/scale/process.rs"]
mod process;
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

/// The gateway. It ends with its owner.
struct Gateway {
    process: Process,
    address: SocketAddr,
}

impl Gateway {
    /// Starts it on one core, and moves this process to the other one.
    fn start(nats: &Nats, cores: Cores) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let tokens = folder.path().join("tokens");
        let digest: [u8; 32] = Sha256::digest(TOKEN).into();
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(&tokens, format!("* {digest}")).expect("written");
        cores.to_measured();
        let mut command = Command::new(env!("CARGO_BIN_EXE_nixfleet-gateway"));
        let settings = [
            ("LISTEN", "[\"127.0.0.1:0\"]".to_owned()),
            ("HEALTH_LISTEN", "127.0.0.1:0".to_owned()),
            ("TOKENS_FILE", tokens.display().to_string()),
            ("NATS__SERVERS", format!("[\"{}\"]", nats.url())),
            ("STREAMS__LOG_MAX_BYTES", "1000000000".to_owned()),
        ];
        command.envs(settings.map(|(name, value)| (format!("NIXFLEET_GATEWAY_{name}"), value)));
        // The files of connections are counted against the limit that this process has raised.
        let mut child =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the gateway starts");
        cores.to_agents();
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
        let mut said = |part: &str| lines.find(|line| line.contains(part)).expect("the gateway runs");
        let address = said("agents: ");
        said("agents are taken");
        // It must never wait for somebody to read its log.
        std::thread::spawn(move || lines.for_each(drop));
        let address =
            address.rsplit("agents: ").next().and_then(|rest| rest.strip_suffix("/ws")?.parse().ok());
        Self { process: Process(child), address: address.expect("an address") }
    }
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
    let hosts = usize::try_from(number("--hosts", 10_000)).expect("a number of hosts").max(1);
    let interval = Duration::from_secs(number("--interval", 30).max(1));
    process::allow_files(hosts);
    let cores = Cores::of_this_process();
    cores.to_agents();
    let Some(nats) = Nats::start() else { return ExitCode::FAILURE };
    let gateway = Gateway::start(&nats, cores);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let report = runtime.block_on(measure(&nats, &gateway, hosts, interval));
    report.print();
    let strict = arguments.iter().any(|argument| argument == "--strict");
    if strict && report.misses() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn measure(nats: &Nats, gateway: &Gateway, hosts: usize, interval: Duration) -> Report {
    let mut report = Report::default();
    let options = Options { servers: vec![nats.url()], name: "bench".to_owned(), ..Options::default() };
    let client = nixfleet_fleet::connect(&options).await.expect("NATS");
    let agents = Arc::new(Agents::new(gateway.address, hosts, interval));
    let each = |bytes: u64| bytes as f64 / hosts as f64 / 1024.0;
    let unlimited = f64::INFINITY;
    // Its presence was stored by then, so it takes agents.
    sleep(Duration::from_secs(1)).await;
    let (memory, cpu, begun) = (gateway.process.memory(), gateway.process.cpu(), Instant::now());

    eprintln!("{hosts} agents register ..");
    let connecting = Arc::new(Semaphore::new(CONNECTING));
    for number in 0..hosts {
        let permit = Arc::clone(&connecting).acquire_owned().await.expect("the semaphore stays open");
        tokio::spawn(agent::run(Arc::clone(&agents), number, permit));
    }
    agents.until("registrations and first beats", || agents.counts.acks.load(Relaxed) >= hosts as u64).await;
    let seconds = agents.registered_within(begun).as_secs_f64();
    let registering = (gateway.process.cpu() - cpu).as_secs_f64() * 1e6 / hosts as f64;
    report.row("registrations in a second", hosts as f64 / seconds, "", unlimited, unlimited);
    report.row("processor for a registration and a beat", registering, "us", unlimited, unlimited);
    report.row("memory of a connection", each(gateway.process.memory() - memory), "KB", 40.0, 16.0);

    // Until each agent has its place in the interval.
    sleep(interval).await;
    eprintln!("beats and pings for {:?} ..", 2 * interval);
    let (beat, outside) = agents.cost_of_a_beat(&gateway.process, 2 * interval).await;
    report.row("processor for a beat and two pings", beat, "us", 60.0, 25.0);
    report.row("of that outside the kernel", outside, "us", unlimited, unlimited);

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
    let (beat, _) = agents.cost_of_a_beat(&gateway.process, interval).await;
    report.row("processor for a beat alone", beat, "us", 60.0, 25.0);
    report.row(
        "memory of a connection, at the end",
        each(gateway.process.memory() - memory),
        "KB",
        40.0,
        16.0,
    );
    report.row("connections lost", agents.counts.lost.load(Relaxed) as f64, "", 0.0, 0.0);
    report
}
