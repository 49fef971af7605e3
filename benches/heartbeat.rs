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

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};

use nixfleet_mock_dashboard::{Dashboard, Handle, LastStatus, Options};
use nixfleet_protocol::AgentMessage;

const HOST: &str = "bench-host";
const AGENT: &str = env!("CARGO_BIN_EXE_nixfleet-agent");

/// Interval between heartbeats, in milliseconds.
const INTERVAL_MS: i64 = 1000;

/// Number of lines in the throughput phase.
const LINES: u64 = 500_000;

/// Number of starts that measure the time to the first heartbeat.
const STARTS: usize = 10;

/// Time between two lines in the latency phase.
const LINE_EVERY: Duration = Duration::from_millis(20);

/// Number of spinning processes for each core.
const SPINNERS: usize = 4;

/// Time between two polls of the dashboard.
const POLL: Duration = Duration::from_millis(5);

/// Longest wait for a state. Only a hang takes this long.
const LIMIT: Duration = Duration::from_secs(60);

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

    let agent = stage.agent();
    wait(&dashboard.handle, "first heartbeat", |handle| {
        handle.host(HOST)?.last_seen.filter(|_| connected(handle))
    });
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

/// The mock dashboard, on a thread of its own.
struct BenchDashboard {
    address: SocketAddr,
    handle: Handle,
}

impl BenchDashboard {
    fn start() -> Self {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listen = SocketAddr::from(([127, 0, 0, 1], 0));
                let options = Options { listen, token: "bench".to_owned(), csrf_token: None, strict: None };
                let dashboard = Dashboard::bind(options).await.expect("a free port");
                sender.send((dashboard.address(), dashboard.handle())).expect("main waits for it");
                dashboard.serve(std::future::pending()).await;
            });
        });
        let (address, handle) = receiver.recv().expect("the dashboard starts");
        Self { address, handle }
    }
}

/// The folder with the agent's configuration and state.
struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    fn build(dashboard: SocketAddr, phase: Duration) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().display();
        let own = std::env::current_exe().expect("the path of this program");
        let own = own.display();
        let seconds = phase.as_secs();
        let config = format!(
            r#"url = "ws://{dashboard}/ws"
token_file = "{path}/token"
hostname = "{HOST}"
interval = 1
state_dir = "{path}/state"

[jobs]
log_limit = 268435456

[paths]
stasysmo = "{path}/stasysmo"

[commands.flood]
run = ["{own}", "print-forever"]

[commands.lines]
run = ["{own}", "print-lines", "{LINES}"]

[commands.times]
run = ["{own}", "print-times", "{seconds}"]
"#
        );
        fs::write(folder.path().join("agent.toml"), config).expect("a configuration");
        fs::write(folder.path().join("token"), "bench").expect("a token");
        Self { folder }
    }

    fn agent(&self) -> Process {
        let mut command = Command::new(AGENT);
        // Without the settings of the developer who runs this.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        // Show errors: without them, an agent that cannot start would look like a hang.
        command.env("NIXFLEET_LOG_LEVEL", "error");
        command.arg("--config").arg(self.folder.path().join("agent.toml")).arg("run");
        Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()))
    }
}

/// A process that ends with its owner.
struct Process {
    child: Child,
}

impl Process {
    fn start(command: &mut Command) -> Self {
        Self { child: command.spawn().expect("a process") }
    }

    /// This program as a helper process.
    fn helper(role: &str) -> Self {
        Self::start(Command::new(std::env::current_exe().expect("the path of this program")).arg(role))
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(file)
    }

    /// Processor time of all living threads; none if the kernel does not provide it.
    fn cpu(&self) -> Option<Duration> {
        let threads = fs::read_dir(self.proc("task")).ok()?;
        let on_cpu = |path: PathBuf| -> Option<u64> {
            fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
        };
        let nanoseconds = threads.flatten().filter_map(|thread| on_cpu(thread.path())).sum();
        Some(Duration::from_nanos(nanoseconds))
    }

    /// Resident, proportional and highest memory in bytes, each with its limit and goal in MB.
    fn memory(&self) -> Vec<(&'static str, u64, f64, f64)> {
        let field = |file: &str, name: &str| -> Option<u64> {
            let text = fs::read_to_string(self.proc(file)).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
        };
        let figures = [
            ("memory of the agent, resident (without TLS)", field("status", "VmRSS"), 8.0, 5.5),
            ("memory of the agent, proportional (Pss)", field("smaps_rollup", "Pss"), 8.0, 3.0),
            ("memory of the agent, highest (VmHWM)", field("status", "VmHWM"), f64::INFINITY, 8.0),
        ];
        figures.into_iter().filter_map(|(name, bytes, must, aim)| Some((name, bytes?, must, aim))).collect()
    }

    /// Ends the agent with SIGTERM.
    fn terminate(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).ok();
        self.child.wait().ok();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
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

fn connected(handle: &Handle) -> bool {
    handle.host(HOST).is_some_and(|host| host.connected)
}

fn lines(handle: &Handle) -> u64 {
    handle.host(HOST).map_or(0, |host| host.lines)
}

fn start(handle: &Handle, command: &str) {
    handle.send_command(HOST, command, None).expect("the agent is connected");
}

fn status(handle: &Handle, command: &str) -> LastStatus {
    wait(handle, "status", |handle| {
        handle.host(HOST)?.last_status.filter(|last| last.status.command == command)
    })
}

fn wait<T>(handle: &Handle, what: &str, mut look: impl FnMut(&Handle) -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look(handle) {
            return found;
        }
        assert!(begun.elapsed() < LIMIT, "no {what} within {LIMIT:?}: {:#?}", handle.host(HOST));
        sleep(POLL);
    }
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

/// Unix time in milliseconds, with a fraction.
fn unix_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

/// The most likely time of an arrival: the dashboard cuts off the fraction of the millisecond.
fn middle(at_ms: i64) -> f64 {
    at_ms as f64 + 0.5
}

/// A phase of the run, in Unix milliseconds.
struct Window {
    from: f64,
    to: f64,
}

impl Window {
    fn contains(&self, at_ms: i64) -> bool {
        (self.from..self.to).contains(&(at_ms as f64))
    }

    /// The number of heartbeats that are due in it.
    fn beats(&self) -> usize {
        ((self.to - self.from) / INTERVAL_MS as f64).floor() as usize
    }
}

fn timed<T>(run: impl FnOnce() -> T) -> (Window, T) {
    let from = unix_ms();
    let result = run();
    (Window { from, to: unix_ms() }, result)
}

/// Records the arrival times of heartbeats. It polls the state of the host, because a flood of output removes
/// heartbeats from the dashboard's record.
struct Beats {
    seen: Arc<Mutex<Vec<i64>>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Beats {
    fn watch(handle: Handle) -> Self {
        let seen: Arc<Mutex<Vec<i64>>> = Arc::default();
        let stop: Arc<AtomicBool> = Arc::default();
        let (sink, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut newest = None;
            while !stopped.load(Relaxed) {
                let last_seen = handle.host(HOST).and_then(|host| host.last_seen);
                if last_seen != newest {
                    let at = last_seen.as_deref().and_then(|at| at.parse::<jiff::Timestamp>().ok());
                    sink.lock().expect("no panic").extend(at.map(jiff::Timestamp::as_millisecond));
                    newest = last_seen;
                }
                sleep(POLL);
            }
        });
        Self { seen, stop, thread }
    }

    fn finish(self) -> Vec<i64> {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("no panic");
        std::mem::take(&mut *self.seen.lock().expect("no panic"))
    }
}

/// How much earlier than its due time a heartbeat may arrive, in milliseconds. The due times come from the
/// earliest heartbeat of the idle phase only.
const EARLY_MS: i64 = 5;

/// The due times of heartbeats: `t0 + n x interval`.
struct Grid {
    t0: i64,
}

impl Grid {
    /// Fits `t0` to heartbeats of a phase without commands, so that all of them are scheduled ones.
    fn fit(beats: &[i64]) -> Self {
        let first = beats.first().copied().unwrap_or(0);
        let offset = |&beat: &i64| {
            let number = (beat - first + INTERVAL_MS / 2).div_euclid(INTERVAL_MS);
            beat - number * INTERVAL_MS
        };
        Self { t0: beats.iter().map(offset).min().unwrap_or(first) }
    }

    /// Lateness in milliseconds of the heartbeat for each due time in the window. If there are two for one due time,
    /// the later one follows a status and is ignored.
    fn lateness(&self, beats: &[i64], window: &Window) -> Vec<f64> {
        let mut at: BTreeMap<i64, i64> = BTreeMap::new();
        for beat in beats {
            let number = (beat - self.t0 + EARLY_MS).div_euclid(INTERVAL_MS);
            let late = beat - self.t0 - number * INTERVAL_MS;
            let least = at.entry(number).or_insert(late);
            *least = (*least).min(late);
        }
        let inside = |number: &i64| window.contains(self.t0 + number * INTERVAL_MS);
        at.into_iter().filter(|(number, _)| inside(number)).map(|(_, late)| late as f64).collect()
    }
}

fn percentile(values: &mut [f64], percent: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1).min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

#[derive(Clone, Copy, PartialEq)]
enum Best {
    Low,
    High,
}

struct Row {
    name: String,
    figure: f64,
    unit: &'static str,
    must: f64,
    aim: f64,
    best: Best,
}

impl Row {
    fn verdict(&self) -> &'static str {
        // NaN, which means no samples, reaches no bound.
        let reaches = |bound: f64| match self.best {
            Best::Low => self.figure <= bound,
            Best::High => self.figure >= bound,
        };
        if reaches(self.aim) {
            "aim"
        } else if reaches(self.must) {
            "must"
        } else {
            "MISSED"
        }
    }
}

#[derive(Default)]
struct Report {
    rows: Vec<Row>,
}

impl Report {
    fn row(&mut self, name: &str, figure: f64, unit: &'static str, must: f64, aim: f64, best: Best) {
        self.rows.push(Row { name: name.to_owned(), figure, unit, must, aim, best });
    }

    fn misses(&self) -> bool {
        self.rows.iter().any(|row| row.verdict() == "MISSED")
    }

    fn print(&self) {
        println!("{:<50} {:>12}    {:>10} {:>10}  reached", "", "measured", "must", "aim");
        for row in &self.rows {
            let number = |figure: f64| match figure {
                figure if figure.is_infinite() => "-".to_owned(),
                figure if figure.fract() == 0.0 || figure.abs() >= 1000.0 => format!("{figure:.0}"),
                figure => format!("{figure:.2}"),
            };
            println!(
                "{:<50} {:>12} {:<2} {:>10} {:>10}  {}",
                row.name,
                number(row.figure),
                row.unit,
                number(row.must),
                number(row.aim),
                row.verdict()
            );
        }
    }
}

/// Prints lines as fast as they are read.
fn print_lines(count: u64) -> ExitCode {
    let mut out = BufWriter::with_capacity(8 * 1024, io::stdout().lock());
    for n in 1..=count {
        if writeln!(out, "{n}").is_err() {
            break;
        }
    }
    out.flush().ok();
    ExitCode::SUCCESS
}

/// Prints the current time at a fixed pace.
fn print_times(seconds: u64) -> ExitCode {
    let begun = Instant::now();
    while begun.elapsed().as_secs() < seconds {
        // One write for each line: standard output is flushed at its end.
        println!("{:.3}", unix_ms());
        sleep(LINE_EVERY);
    }
    ExitCode::SUCCESS
}

/// Uses one core until it or its parent is killed.
fn spin() -> ExitCode {
    let parent = parent_id();
    let mut value = 1_u64;
    while parent_id() == parent {
        for _ in 0..10_000_000 {
            value = std::hint::black_box(value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }
    ExitCode::SUCCESS
}
