//! The processes below a supervisor.
//!
//! The supervisor is a subreaper: orphaned processes of its commands become its own children. So all of them
//! can be found here, even if they have left the process group or the session.

use nixfleet_os::Processes;
use rustix::process::{Pid, Signal};

#[cfg(target_os = "linux")]
use crate::remains::is_activation;

/// Sends a signal to every process below this one but `except`. Where these cannot be listed, only the process group of
/// the command can be signalled.
pub(super) fn signal_all(processes: &Processes, group: Pid, except: Option<Pid>, signal: Signal) {
    match processes.simulation() {
        Some(programs) => programs.signal_all(signal.as_raw()),
        None => signal_real(group, except, signal),
    }
}

/// Whether no process but `except` is left below this one.
pub(super) fn is_gone(processes: &Processes, group: Pid, except: Option<Pid>) -> bool {
    processes.simulation().map_or_else(|| is_really_gone(group, except), |programs| programs.is_gone())
}

/// Whether one of the processes below this one activates a system. Unknown without /proc.
pub(super) fn activates(processes: &Processes) -> bool {
    processes.simulation().map_or_else(really_activates, |programs| programs.activates())
}

/// A process below the supervisor.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Descendant {
    pid: Pid,
    /// It runs the activation program of NixOS.
    activates: bool,
}

/// Every live process below this one, parents before children. Zombies are left out, and so is the process
/// `except` with those below it. None if they cannot be listed, for example because no further file can be opened.
#[cfg(target_os = "linux")]
fn descendants(except: Option<Pid>) -> Option<Vec<Descendant>> {
    use std::collections::HashMap;

    use procfs::ProcError;

    let mut children: HashMap<i32, Vec<(i32, bool)>> = HashMap::new();
    for process in procfs::process::all_processes().ok()? {
        let stat = match process.and_then(|process| Ok((process.stat()?, process))) {
            Ok(found) => found,
            // A process may end while its files are read. It then needs no signal.
            Err(ProcError::NotFound(_) | ProcError::PermissionDenied(_)) => continue,
            Err(_) => return None,
        };
        let (stat, process) = stat;
        if stat.state != 'Z' {
            let activates = process.cmdline().is_ok_and(|argv| argv.iter().any(|arg| is_activation(arg)));
            children.entry(stat.ppid).or_default().push((stat.pid, activates));
        }
    }
    let mut found = Vec::new();
    let mut parents = vec![std::process::id().cast_signed()];
    while let Some(parent) = parents.pop() {
        for (raw, activates) in children.remove(&parent).unwrap_or_default() {
            let pid = Pid::from_raw(raw).filter(|pid| Some(*pid) != except);
            parents.extend(pid.map(|_| raw));
            found.extend(pid.map(|pid| Descendant { pid, activates }));
        }
    }
    Some(found)
}

#[cfg(target_os = "linux")]
fn signal_real(group: Pid, except: Option<Pid>, signal: Signal) {
    let Some(all) = descendants(except) else { return signal_group(group, signal) };
    for process in all {
        // An error means that the process has ended, or is a setuid program that may not be signalled.
        rustix::process::kill_process(process.pid, signal).ok();
    }
}

#[cfg(target_os = "linux")]
fn is_really_gone(group: Pid, except: Option<Pid>) -> bool {
    descendants(except).map_or_else(|| is_group_gone(group), |all| all.is_empty())
}

#[cfg(target_os = "linux")]
fn really_activates() -> bool {
    descendants(None).is_some_and(|all| all.iter().any(|process| process.activates))
}

#[cfg(not(target_os = "linux"))]
fn signal_real(group: Pid, _except: Option<Pid>, signal: Signal) {
    signal_group(group, signal);
}

#[cfg(not(target_os = "linux"))]
fn is_really_gone(group: Pid, _except: Option<Pid>) -> bool {
    is_group_gone(group)
}

#[cfg(not(target_os = "linux"))]
fn really_activates() -> bool {
    false
}

/// Signals what has not left the process group of the command.
fn signal_group(group: Pid, signal: Signal) {
    rustix::process::kill_process_group(group, signal).ok();
}

fn is_group_gone(group: Pid) -> bool {
    rustix::process::test_kill_process_group(group).is_err()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn children_and_grandchildren_are_found() {
        let mut child =
            Command::new("sh").args(["-c", "sleep 61 & sleep 61 & wait"]).process_group(0).spawn().unwrap();
        let group = Pid::from_child(&child);
        let in_group = |except| {
            let all = descendants(except).unwrap();
            all.iter().filter(|p| rustix::process::getpgid(Some(p.pid)) == Ok(group)).count()
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while in_group(None) < 3 && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(in_group(None), 3);
        assert_eq!(in_group(Some(group)), 0, "an exception includes what is below it");
        rustix::process::kill_process_group(group, Signal::KILL).unwrap();
        child.wait().unwrap();
    }
}
