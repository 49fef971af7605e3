//! The processes of one host: the agent, which is started again as by a service manager, and all that it starts.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Resource, Signal, kill_process};

/// Variable by which every process of a schedule is found, whatever became of its parents.
const MARK: &str = "CHAOS_SCHEDULE";

/// How an agent is started.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) command: Command,
    pub(crate) folder: PathBuf,
    pub(crate) user: Option<u32>,
}

/// A process of the schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) argv: Vec<String>,
}

impl Process {
    pub(crate) fn is_supervisor(&self) -> bool {
        self.argv.iter().any(|argument| argument == "exec-job")
    }
}

/// The parent of a process; none if that has ended.
fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// What an agent needed at most.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Needs {
    pub(crate) threads: u64,
    pub(crate) files: u64,
    pub(crate) kib: u64,
}

/// The processes of one host.
#[derive(Debug)]
pub(crate) struct Machine {
    start: Start,
    agent: Option<Child>,
    /// Length of the log when the newest agent was started.
    log_before: u64,
    /// Agents that were started.
    pub(crate) starts: u64,
}

pub(crate) fn signal(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}

impl Machine {
    pub(crate) fn new(mut start: Start) -> Self {
        start.command.env(MARK, &start.folder).stdin(Stdio::null());
        if let Some(user) = start.user {
            start.command.uid(user).gid(user);
            for name in ["", "state", "side.log", "home"] {
                let path = start.folder.join(name);
                if path.exists() {
                    chown(path, Some(user), Some(user)).unwrap();
                }
            }
        }
        Self { start, agent: None, log_before: 0, starts: 0 }
    }

    pub(crate) fn start_agent(&mut self) {
        let log =
            fs::File::options().create(true).append(true).open(self.start.folder.join("agent.log")).unwrap();
        self.log_before = log.metadata().unwrap().len();
        self.start.command.stderr(log.try_clone().unwrap()).stdout(log);
        self.agent = Some(self.start.command.spawn().unwrap());
        self.starts += 1;
    }

    pub(crate) fn agent(&self) -> Option<u32> {
        self.agent.as_ref().map(Child::id)
    }

    /// The exit of an agent that has ended, as text.
    pub(crate) fn agent_ended(&mut self) -> Option<String> {
        let status = self.agent.as_mut()?.try_wait().unwrap()?;
        self.agent = None;
        Some(status.to_string())
    }

    /// Whether the newest agent has begun its work, by its log: it listens to signals before. On a busy machine that
    /// takes ten seconds.
    pub(crate) fn has_begun(&self) -> bool {
        let log = fs::read(self.start.folder.join("agent.log")).unwrap_or_default();
        let own = log.get(usize::try_from(self.log_before).unwrap()..).unwrap_or_default();
        String::from_utf8_lossy(own).contains("INFO Started.")
    }

    /// Ends the agent at once.
    pub(crate) fn kill_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
    }

    /// All live processes of the schedule.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let mark = format!("{MARK}={}", self.start.folder.display()).into_bytes();
        let mut found = Vec::new();
        for item in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = item.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process that ends meanwhile has no files, and a zombie has empty ones.
            let Ok(environment) = fs::read(item.path().join("environ")) else { continue };
            if environment.split(|&byte| byte == 0).any(|variable| variable == mark) {
                let argv = fs::read(item.path().join("cmdline")).unwrap_or_default();
                let argv = String::from_utf8_lossy(&argv);
                let argv = argv.trim_end_matches('\0').split('\0').map(str::to_owned).collect();
                found.push(Process { pid, argv });
            }
        }
        found
    }

    /// The newest supervisor. Its child looks like it from the fork to the exec, and is the command already.
    pub(crate) fn supervisor(&self) -> Option<Process> {
        let all: Vec<Process> = self.processes().into_iter().filter(Process::is_supervisor).collect();
        let is_child = |process: &Process| {
            // A process that is gone is none of them.
            parent(process.pid).is_none_or(|parent| all.iter().any(|other| other.pid == parent))
        };
        let newest = all.iter().rposition(|process| !is_child(process))?;
        all.into_iter().nth(newest)
    }

    /// What the agent needs now.
    pub(crate) fn needs(&self) -> Option<Needs> {
        let folder = format!("/proc/{}", self.agent()?);
        let status = fs::read_to_string(format!("{folder}/status")).ok()?;
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let files = fs::read_dir(format!("{folder}/fd")).ok()?.count() as u64;
        Some(Needs { threads: field("Threads:")?, files, kib: field("VmRSS:")? })
    }

    /// Threads of all processes of the schedule, which are those of its user.
    fn threads(&self) -> u64 {
        let count = |process: &Process| {
            fs::read_dir(format!("/proc/{}/task", process.pid)).map_or(0, |tasks| tasks.count() as u64)
        };
        self.processes().iter().map(count).sum()
    }

    /// Lets the agent have `more` than now of a resource. Returns the limit; none if there is no agent.
    pub(crate) fn limit(&self, resource: Resource, more: u64) -> Option<u64> {
        // An agent that has only begun to start would fail for want of what every program needs.
        let agent = self.agent().filter(|_| self.has_begun())?;
        let now = match resource {
            Resource::Nproc => self.threads(),
            _ => self.needs()?.files,
        };
        set_soft(self.start.user, agent, resource, Some(now + more)).then_some(now + more)
    }

    /// Takes the limits off again, also those that were inherited.
    pub(crate) fn unlimit(&self, resource: Resource) {
        for process in self.processes() {
            set_soft(self.start.user, process.pid, resource, None);
        }
    }

    /// Lets every process go on.
    pub(crate) fn wake_all(&self) {
        for process in self.processes() {
            signal(process.pid, Signal::CONT);
        }
    }
}

/// Sets a soft limit; with `None` to the hard limit. False if that failed, or if the process is gone. The program is
/// started as the user of the process: root may lack the capability for processes of others.
fn set_soft(user: Option<u32>, pid: u32, resource: Resource, to: Option<u64>) -> bool {
    let (title, option) = match resource {
        Resource::Nproc => ("Max processes", "--nproc"),
        _ => ("Max open files", "--nofile"),
    };
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/limits")) else { return false };
    let hard = text.lines().find_map(|line| line.strip_prefix(title)?.split_whitespace().nth(1));
    let Some(limit) = to.map(|to| to.to_string()).or(hard.map(str::to_owned)) else { return false };
    let mut command = Command::new("prlimit");
    command.args(["--pid", &pid.to_string(), &format!("{option}={limit}:")]);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill_agent();
        for process in self.processes() {
            signal(process.pid, Signal::KILL);
        }
    }
}
