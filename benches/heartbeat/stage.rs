//! The agent's configuration, and processes of the benchmark.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::LINES;
use crate::dashboard::HOST;

/// Path of the agent's binary.
pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_nixfleet-agent");

/// The folder with the agent's configuration and state.
pub(crate) struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn build(dashboard: SocketAddr, phase: Duration) -> Self {
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

    pub(crate) fn agent(&self) -> Process {
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
pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self { child: command.spawn().expect("a process") }
    }

    /// This program as a helper process.
    pub(crate) fn helper(role: &str) -> Self {
        Self::start(Command::new(std::env::current_exe().expect("the path of this program")).arg(role))
    }

    pub(crate) fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(file)
    }

    /// Processor time of all living threads; none if the kernel does not provide it.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        let threads = fs::read_dir(self.proc("task")).ok()?;
        let on_cpu = |path: PathBuf| -> Option<u64> {
            fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
        };
        let nanoseconds = threads.flatten().filter_map(|thread| on_cpu(thread.path())).sum();
        Some(Duration::from_nanos(nanoseconds))
    }

    /// Resident, proportional and highest memory in bytes, each with its limit and goal in MB.
    pub(crate) fn memory(&self) -> Vec<(&'static str, u64, f64, f64)> {
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
    pub(crate) fn terminate(mut self) {
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
