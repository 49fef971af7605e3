//! What stands in for systemd on the hosts of the demo: a process that keeps the agents running. A new system's agent
//! takes the place of the one before, and nothing is left when the demo ends, however it ends.
//!
//! ```text
//! demo ---- a line, which the kernel closes when either ends ---- manager
//!  '- dashboard, network, readings                                  '- agents - supervisors - commands
//! ```

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as Line;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::time::{Instant, sleep_until, timeout};

use nixfleet_os::bounded_read;

use super::ending::{adopt_orphans, end_descendants, end_jobs};
use super::files::replace;
use super::fleet::{HOSTS, Home, Host};
use super::say;
use super::scene::{PATH, hold};

/// Time before an agent is started again that did not end in order, as with a service manager.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// Longest wait for agents that were told to end. They take a moment, and everything is killed then.
const AGENT_LIMIT: Duration = Duration::from_secs(3);

/// Longest time for killing what is left.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Longest version of an agent, in bytes.
const MAX_VERSION: u64 = 128;

/// Variables of a service manager. The agents of the demo have another one.
const SERVICE: [&str; 3] = ["INVOCATION_ID", "NOTIFY_SOCKET", "JOURNAL_STREAM"];

/// The manager, as the demo sees it.
#[derive(Debug)]
pub(super) struct Manager {
    line: UnixStream,
    process: Child,
}

impl Manager {
    /// Starts it, in a process group of its own: Ctrl-C goes to the demo only.
    pub(super) fn start(folder: &Path) -> Result<Self, String> {
        let started = || {
            let (own, other) = Line::pair()?;
            own.set_nonblocking(true)?;
            let program = std::env::current_exe()?;
            let mut command = Command::new(program);
            command.arg("demo").arg("--manage").arg(folder).process_group(0);
            let process = command.stdin(Stdio::from(OwnedFd::from(other))).spawn()?;
            Ok(Self { line: UnixStream::from_std(own)?, process })
        };
        started().map_err(|err: io::Error| format!("cannot start the process that keeps the agents: {err}"))
    }

    /// Resolves when it has ended.
    pub(super) async fn ended(&mut self) {
        until_closed(&mut self.line).await;
    }

    /// Tells it to end everything, and waits until it has. What it could not end is ended here.
    pub(super) async fn end(mut self) {
        // Only this half of the line: the other one tells when it has ended.
        let told = shutdown(&self.line, Shutdown::Write);
        let limit = AGENT_LIMIT + KILL_LIMIT * 2;
        if told.is_err() || timeout(limit, self.ended()).await.is_err() {
            drop(self.process.kill());
        }
        drop(self.process.wait());
        end_descendants(KILL_LIMIT);
    }
}

/// Resolves when the other side has closed its half of the line. Nothing is ever sent.
async fn until_closed(line: &mut UnixStream) {
    while line.read(&mut [0]).await.is_ok_and(|count| count > 0) {}
}

/// Keeps the agents of a demo until that ends, then ends everything and removes the folder.
pub(super) async fn run(folder: &Path) -> Result<(), String> {
    let mut line = line().map_err(|err| format!("--manage is for the demo itself: {err}"))?;
    let lock = hold(folder)?;
    let listen = |kind| signal(kind).map_err(|err| format!("cannot listen for signals: {err}"));
    // The demo decides about the end. A signal to all processes of a name reaches it as well.
    let _ignored: Vec<Signals> = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .into_iter()
        .map(listen)
        .collect::<Result<_, _>>()?;
    let mut children = listen(SignalKind::child())?;
    adopt_orphans();
    let mut agents: Vec<Agent> = HOSTS.iter().map(|host| Agent::new(folder, host)).collect();
    loop {
        let next = agents.iter_mut().filter_map(Agent::start_if_due).min();
        tokio::select! {
            () = until_closed(&mut line) => break,
            _ = children.recv() => {}
            () = until(next) => {}
        }
        reap(&mut agents);
    }
    agents.iter().filter_map(|agent| agent.process).for_each(|pid| {
        // An error means that it has ended.
        kill_process(pid, Signal::TERM).ok();
    });
    let ended = async {
        while agents.iter().any(|agent| agent.process.is_some()) {
            children.recv().await;
            reap(&mut agents);
        }
    };
    // Those that do not end in time are killed below.
    drop(timeout(AGENT_LIMIT, ended).await);
    agents.iter().for_each(|agent| end_jobs(&agent.home.jobs()));
    end_descendants(KILL_LIMIT);
    drop(lock);
    drop(fs::remove_dir_all(folder));
    Ok(())
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The line to the demo, which is the standard input.
fn line() -> io::Result<UnixStream> {
    let line = Line::from(io::stdin().as_fd().try_clone_to_owned()?);
    // An error means that it is no such line.
    line.peer_addr()?;
    line.set_nonblocking(true)?;
    UnixStream::from_std(line)
}

/// Notes which agents have ended. Orphans have no other parent that could.
fn reap(agents: &mut [Agent]) {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if let Some(agent) = agents.iter_mut().find(|agent| agent.process == Some(pid)) {
            agent.ended(status);
        }
    }
}

/// An agent of the demo.
#[derive(Debug)]
struct Agent {
    host: &'static Host,
    home: Home,
    /// Where its commands look for programs.
    path: OsString,
    process: Option<Pid>,
    /// When it is started, while there is no process.
    due: Instant,
}

impl Agent {
    fn new(folder: &Path, host: &'static Host) -> Self {
        let mut path = folder.join(PATH).into_os_string();
        if let Some(usual) = std::env::var_os("PATH") {
            path.push(":");
            path.push(usual);
        }
        Self { host, home: Home::new(folder, host), path, process: None, due: Instant::now() }
    }

    /// Starts it if its time has come; otherwise, when that is.
    fn start_if_due(&mut self) -> Option<Instant> {
        if self.process.is_some() {
            return None;
        }
        if self.due > Instant::now() {
            return Some(self.due);
        }
        match self.start() {
            Ok(pid) => {
                self.process = Some(pid);
                // For the activation of a system, which restarts the agent.
                drop(replace(&self.home.agent_pid(), &pid.as_raw_pid().to_string()));
                None
            }
            Err(err) => {
                let name = self.host.name;
                say(&format!("{name}: the agent cannot be started, trying again: {err}"));
                self.due = Instant::now() + RESTART_DELAY;
                Some(self.due)
            }
        }
    }

    /// Starts the agent of the system that runs.
    fn start(&self) -> io::Result<Pid> {
        let system = fs::canonicalize(self.home.current_system())?;
        let mut command = Command::new(system.join("sw/bin/nixfleet-agent"));
        for (name, _) in std::env::vars_os() {
            // Settings of another agent must not influence the demo.
            if name.to_string_lossy().starts_with("NIXFLEET_") || SERVICE.iter().any(|other| name == *other) {
                command.env_remove(name);
            }
        }
        command.env("NIXFLEET_REPORTED_VERSION", version(&system)?).env("PATH", &self.path);
        let log = OpenOptions::new().create(true).append(true).open(self.home.join("agent.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.arg("--config").arg(self.home.config()).arg("run").process_group(0);
        // `reap` waits for all children.
        Ok(Pid::from_child(&command.spawn()?))
    }

    fn ended(&mut self, status: WaitStatus) {
        self.process = None;
        drop(fs::remove_file(self.home.agent_pid()));
        let (name, now) = (self.host.name, Instant::now());
        let text = if status.exit_status() == Some(0) {
            self.due = now;
            let version = fs::canonicalize(self.home.current_system()).and_then(|system| version(&system));
            format!(
                "{name}: the agent ended; {} starts.",
                version.unwrap_or_else(|_| "the next one".to_owned())
            )
        } else {
            self.due = now + RESTART_DELAY;
            format!("{name}: the agent was ended; another one starts in a second.")
        };
        say(&text);
    }
}

/// The version of a system's agent.
fn version(system: &Path) -> io::Result<String> {
    let path: PathBuf = system.join("agent-version");
    let text = bounded_read::read(&path, MAX_VERSION)?;
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}
