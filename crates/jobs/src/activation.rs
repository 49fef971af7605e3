//! Who activates a system on this machine now, by files alone: no process is started for a look.
//!
//! `nixos-rebuild` lets the service manager run the activation, as the unit [`UNIT`]. Such an activation is in no
//! process tree and no control group of a job; what is known of it is in its own control group. NixOS holds a lock
//! while it activates a system, however that was started. The lock is looked up in `/proc/locks` and never tried: a
//! lock that is held for the time of a trial would make somebody else's activation fail.
//!
//! All of it is Linux with control groups of version 2; elsewhere nobody activates anything.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use nixfleet_os::text::one_line;
use nixfleet_os::{Processes, bounded_read, short};
use rustix::process::{Pid, Signal, kill_process};

use crate::Settings;
use crate::settings::SystemPaths;

mod locks;

/// The unit in which `nixos-rebuild` runs the activation.
pub const UNIT: &str = "nixos-rebuild-switch-to-configuration.service";

/// The variable that makes `nixos-rebuild` run the activation as its child. Releases up to 25.05 do not know it.
pub const NO_UNIT_VARIABLE: &str = "NIXOS_REBUILD_NO_SYSTEMD_RUN";

/// The argument by which a `systemd-run` that waits for [`UNIT`] is known.
const CLIENT_ARGUMENT: &str = "--unit=nixos-rebuild-switch-to-configuration";

/// Bytes of a list of processes that are read. An activation has some tens of processes, of 8 bytes each.
const MAX_LIST: u64 = 64 * 1024;

/// Bytes of a command line that are read. A store path and an action need 120.
const MAX_COMMAND_LINE: u64 = 1024;

/// Most characters of a command line in a message.
const MAX_SHOWN: usize = 160;

/// A process that activates a system.
#[derive(Debug)]
struct Holder {
    /// None if it is not in this namespace of processes.
    pid: Option<u32>,
    /// Its command line, for people. None if it cannot be read.
    command: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, &self.command) {
            (None, _) => f.write_str("a process that cannot be seen from here"),
            (Some(pid), None) => write!(f, "process {pid}"),
            (Some(pid), Some(command)) => write!(f, "process {pid}, `{command}`"),
        }
    }
}

/// Where the activations of this machine can be seen.
#[derive(Debug, Clone)]
pub struct Activations {
    proc: PathBuf,
    paths: SystemPaths,
    processes: Processes,
}

impl Activations {
    /// Those of the machine with these settings.
    pub fn new(settings: &Settings, processes: &Processes) -> Self {
        Self::of(settings.proc.clone(), settings.system.clone(), processes.clone())
    }

    pub(crate) fn of(proc: PathBuf, paths: SystemPaths, processes: Processes) -> Self {
        Self { proc, paths, processes }
    }

    /// The processes of [`UNIT`], in most cases the oldest first: 0 stands for one of another namespace. It is active
    /// if there are any.
    pub fn unit(&self) -> Vec<u32> {
        if let Some(programs) = self.processes.simulation() {
            return programs.activation_unit();
        }
        if cfg!(not(target_os = "linux")) {
            return Vec::new();
        }
        let list = read(&self.group().join("cgroup.procs"), MAX_LIST).unwrap_or_default();
        let mut pids: Vec<u32> = list.lines().filter_map(|line| line.trim().parse().ok()).collect();
        // The kernel gives no order.
        let rank = |pid: &u32| pid.checked_sub(1).unwrap_or(u32::MAX);
        short::sort_by(&mut pids, |one, other| rank(one).cmp(&rank(other)));
        pids
    }

    /// Whether a simulated machine stands in for this one.
    pub(crate) fn is_simulated(&self) -> bool {
        self.processes.simulation().is_some()
    }

    /// Whether [`UNIT`] is active.
    pub fn unit_is_active(&self) -> bool {
        !self.unit().is_empty()
    }

    fn group(&self) -> PathBuf {
        self.paths.cgroups.join("system.slice").join(UNIT)
    }

    /// [`UNIT`] with its first process, for people.
    pub fn describe_unit(&self) -> String {
        match self.unit().first() {
            Some(pid) => format!("{UNIT} ({})", self.holder(Some(*pid))),
            None => UNIT.to_owned(),
        }
    }

    /// Who activates a system, as a part of a sentence. None if nobody does.
    pub fn who(&self) -> Option<String> {
        if self.unit_is_active() {
            return Some(format!("the unit {} is active", self.describe_unit()));
        }
        let holder = self.lock_holder()?;
        Some(format!("the lock {} is held by {holder}", self.paths.lock.display()))
    }

    /// Who holds the lock of NixOS. None if nobody does.
    fn lock_holder(&self) -> Option<Holder> {
        if self.is_simulated() || cfg!(not(target_os = "linux")) {
            return None;
        }
        let file = locks::Identity::of(&self.paths.lock)?;
        let table = read(&self.proc.join("locks"), locks::MAX_TABLE).ok()?;
        locks::holder(&table, file).map(|pid| self.holder(pid))
    }

    fn holder(&self, pid: Option<u32>) -> Holder {
        let pid = pid.filter(|pid| *pid > 0);
        let command = pid.and_then(|pid| {
            let text = read(&self.proc.join(pid.to_string()).join("cmdline"), MAX_COMMAND_LINE).ok()?;
            let words = one_line(&text.replace('\0', " "), MAX_SHOWN);
            (!words.is_empty()).then_some(words)
        });
        Holder { pid, command }
    }

    /// Kills all processes of [`UNIT`].
    ///
    /// # Errors
    /// Some could not be signalled; usually the caller is not root.
    pub fn kill_unit(&self) -> io::Result<()> {
        if self.is_simulated() {
            return Ok(());
        }
        // The kernel kills the group as a whole, those included that are forked meanwhile.
        let whole = OpenOptions::new().write(true).open(self.group().join("cgroup.kill"));
        if whole.and_then(|mut file| file.write_all(b"1")).is_ok() {
            return Ok(());
        }
        let mut result = Ok(());
        for pid in self.unit() {
            // 0 would be the group of this process.
            let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { continue };
            match kill_process(pid, Signal::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(err) => result = Err(err.into()),
            }
        }
        result
    }

    /// The store path of the running system.
    pub fn running_system(&self) -> Option<PathBuf> {
        std::fs::read_link(&self.paths.running).ok()
    }
}

/// Whether the argument is that of a `systemd-run` that waits for [`UNIT`].
pub(crate) fn is_client(argument: &str) -> bool {
    argument.strip_prefix(CLIENT_ARGUMENT).is_some_and(|rest| matches!(rest, "" | ".service"))
}

/// The processes that wait for [`UNIT`] as its clients. None if that cannot be known.
#[cfg(target_os = "linux")]
pub(crate) fn clients() -> Option<Vec<i32>> {
    use crate::process_list::{each, optional};

    each(|process| {
        let argv = optional(process.cmdline())?;
        let waits = argv.is_some_and(|argv| argv.iter().any(|arg| is_client(arg)));
        Ok((waits && process.stat()?.state != 'Z').then_some(process.pid))
    })
}

/// Unknown without /proc.
#[cfg(not(target_os = "linux"))]
pub(crate) fn clients() -> Option<Vec<i32>> {
    None
}

/// The beginning of a small file, as text.
fn read(path: &Path, limit: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    bounded_read::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
