//! The agents that are measured: their settings, and their processes.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::counters::Counters;

/// The command of the agent of this repository that runs the work.
pub(crate) const OWN_COMMAND: &str = "bench";

/// Programs that another agent may start for a command. All do the work: `sudo` is given the rest as arguments.
const STAND_INS: [&str; 4] = ["work", "nixos-rebuild", "sudo", "git"];

/// Number of the next host: each has a name of its own, so that no record is of two.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// An agent that is measured.
pub(crate) struct Candidate {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    arguments: Vec<String>,
    /// The command that runs the work.
    pub(crate) command: String,
}

impl Candidate {
    pub(crate) fn new(name: &str, program: PathBuf, arguments: Vec<String>, command: String) -> Self {
        Self { name: name.to_owned(), program, arguments, command }
    }

    /// A folder with settings for this agent. `work` are the arguments of the helper that its command runs.
    pub(crate) fn seat(&self, dashboard: SocketAddr, interval: u64, work: &str) -> Seat<'_> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let host = format!("bench-{}", NEXT.fetch_add(1, Relaxed));
        let path = folder.path();
        let own = std::env::current_exe().expect("the path of this program");
        for name in ["bin", "repo", "state"] {
            fs::create_dir(path.join(name)).expect("a folder");
        }
        for name in STAND_INS {
            let script = match name {
                "sudo" => {
                    "#!/bin/sh\nwhile [ \"${1#-}\" != \"$1\" ]; do shift; done\nexec \"$@\"\n".to_owned()
                }
                // An agent asks it for a commit.
                "git" => "#!/bin/sh\necho 0123456789abcdef0123456789abcdef01234567\n".to_owned(),
                _ => format!("#!/bin/sh\nexec '{}' {work}\n", own.display()),
            };
            let program = path.join("bin").join(name);
            fs::write(&program, script).expect("a script");
            fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("a program");
        }
        fs::write(path.join("repo/flake.nix"), "{ outputs = _: { }; }\n").expect("a file");
        let settings = format!(
            "[jobs]\nlog_limit = 268435456\n\n[commands.{OWN_COMMAND}]\nrun = [\"{}/bin/work\"]\n",
            path.display()
        );
        fs::write(path.join("agent.toml"), settings).expect("settings");
        Seat { candidate: self, folder, host, dashboard, interval }
    }
}

/// A host with one of the agents. Its state stays between two starts.
pub(crate) struct Seat<'a> {
    candidate: &'a Candidate,
    folder: tempfile::TempDir,
    pub(crate) host: String,
    dashboard: SocketAddr,
    interval: u64,
}

impl Seat<'_> {
    /// Starts the agent. All settings are variables, which agents of another make know as well; the file has what
    /// only the agent of this repository knows.
    pub(crate) fn start(&self) -> Process {
        let path = self.folder.path();
        let mut command = Command::new(&self.candidate.program);
        // Without the settings of the developer who runs this.
        command.env_clear().args(&self.candidate.arguments).current_dir(path);
        let mut search = OsString::from(path.join("bin"));
        search.push(":");
        search.push(std::env::var_os("PATH").unwrap_or_default());
        command.env("PATH", search).env("HOME", path);
        command.env("NIXFLEET_CONFIG", path.join("agent.toml"));
        command.env("NIXFLEET_URL", format!("ws://{}/ws", self.dashboard));
        command.env("NIXFLEET_TOKEN", "bench").env("NIXFLEET_HOSTNAME", &self.host);
        command.env("NIXFLEET_INTERVAL", self.interval.to_string());
        command.env("NIXFLEET_STATE_DIR", path.join("state"));
        // Show errors: without them, an agent that cannot start would look like a hang.
        command.env("NIXFLEET_LOG_LEVEL", "error");
        if self.candidate.command != OWN_COMMAND {
            command.env("NIXFLEET_REPO_DIR", path.join("repo"));
        }
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

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(file)
    }

    /// The counters of all living threads.
    pub(crate) fn counters(&self) -> Counters {
        Counters::read(&self.proc("task"))
    }

    /// A figure of a file with lines such as `VmRSS:  123 kB`, in MB.
    pub(crate) fn memory(&self, file: &str, name: &str) -> f64 {
        let read = || {
            let text = fs::read_to_string(self.proc(file)).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()
        };
        read().map_or(f64::NAN, |kb| kb * 1024.0 / 1e6)
    }

    /// Ends the agent with SIGTERM, and tells how long that took.
    pub(crate) fn terminate(mut self) -> Duration {
        let begun = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::TERM).ok();
        self.child.wait().ok();
        begun.elapsed()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
