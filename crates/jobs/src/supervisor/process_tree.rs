//! The processes below a supervisor.
//!
//! The supervisor is a subreaper: orphaned processes of its commands become its own children. So all of them
//! can be found here, even if they have left the process group or the session.

#[cfg(target_os = "linux")]
use std::collections::HashMap;

use nixfleet_os::Processes;
use rustix::process::{Pid, Signal};

#[cfg(target_os = "linux")]
use crate::remains::is_activation;

/// Sends a signal to every process below this one but `except`. If processes cannot be listed (no /proc, no
/// descriptors), only the process group of the command can be signalled.
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

/// Whether one of the processes below this one activates a system. Unknown, and false, if they cannot be listed.
pub(super) fn activates(processes: &Processes) -> bool {
    processes.simulation().map_or_else(really_activates, |programs| programs.activates())
}

/// How often to look at processes that come and go until there is an answer. A look has none only if a process of the
/// line ends while the lists are read.
const LOOKS: usize = 10;

/// Whether one of these processes is below this one, or all have ended. `list` names them, anew for each look: what it
/// says and the list of all processes are not of one moment. Unknown is true.
#[cfg(target_os = "linux")]
pub(super) fn has_any_or_all_ended(list: impl Fn() -> Option<Vec<i32>>) -> bool {
    let own = std::process::id().cast_signed();
    let look = |process: &procfs::process::Process| {
        let stat = process.stat()?;
        Ok((stat.state != 'Z').then_some((stat.pid, stat.ppid)))
    };
    for _ in 0..LOOKS {
        let Some(pids) = list() else { return true };
        let Some(parents) = crate::process_list::each(look) else { return true };
        if let Some(answer) = is_any_below(own, &pids, &parents.into_iter().collect()) {
            return answer;
        }
    }
    true
}

/// Unknown without /proc.
#[cfg(not(target_os = "linux"))]
pub(super) fn has_any_or_all_ended(_list: impl Fn() -> Option<Vec<i32>>) -> bool {
    true
}

/// Whether one of `pids` is below `own`, or there is none. None if these parents do not tell: a process that is not
/// among them has ended meanwhile, and its children have another parent by now.
#[cfg(target_os = "linux")]
fn is_any_below(own: i32, pids: &[i32], parents: &HashMap<i32, i32>) -> Option<bool> {
    let is_below = |pid: i32| {
        let mut process = pid;
        // No line is longer than the list, unless a number was given twice meanwhile.
        for _ in 0..=parents.len() {
            match *parents.get(&process)? {
                parent if parent == own => return Some(true),
                0 => return Some(false),
                parent => process = parent,
            }
        }
        None
    };
    let answers: Vec<_> = pids.iter().map(|pid| is_below(*pid)).collect();
    if answers.is_empty() || answers.contains(&Some(true)) {
        return Some(true);
    }
    if answers.contains(&None) { None } else { Some(false) }
}

/// A process below the supervisor.
#[derive(Debug)]
struct Descendant {
    pid: Pid,
    /// It runs the activation program of NixOS.
    activates: bool,
}

/// Every live process below this one, parents before children. Zombies are left out, and so is the process
/// `except` with those below it. None if they cannot be listed now.
#[cfg(target_os = "linux")]
fn descendants(except: Option<Pid>) -> Option<Vec<Descendant>> {
    use crate::process_list::{each, optional};

    let all = each(|process| {
        let stat = process.stat()?;
        let argv = optional(process.cmdline())?;
        let activates = argv.is_some_and(|argv| argv.iter().any(|arg| is_activation(arg)));
        Ok((stat.state != 'Z').then_some((stat.ppid, (stat.pid, activates))))
    })?;
    let mut children: HashMap<i32, Vec<(i32, bool)>> = HashMap::new();
    for (parent, process) in all {
        children.entry(parent).or_default().push(process);
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

/// Unknown without /proc.
#[cfg(not(target_os = "linux"))]
fn descendants(_except: Option<Pid>) -> Option<Vec<Descendant>> {
    None
}

fn signal_real(group: Pid, except: Option<Pid>, signal: Signal) {
    let Some(all) = descendants(except) else {
        // An error means that nobody is left in it.
        rustix::process::kill_process_group(group, signal).ok();
        return;
    };
    for process in all {
        // An error means that the process has ended, or is a setuid program that may not be signalled.
        rustix::process::kill_process(process.pid, signal).ok();
    }
}

fn is_really_gone(group: Pid, except: Option<Pid>) -> bool {
    let group_is_gone = || rustix::process::test_kill_process_group(group).is_err();
    descendants(except).map_or_else(group_is_gone, |all| all.is_empty())
}

fn really_activates() -> bool {
    descendants(None).is_some_and(|all| all.iter().any(|process| process.activates))
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

    #[test]
    fn a_process_whose_line_of_parents_is_broken_tells_nothing() {
        const OWN: i32 = 50;
        // 60 is below this process, and 70 is not.
        let all = [(1, 0), (20, 1), (OWN, 20), (55, OWN), (60, 55), (70, 1)];
        let without = |gone: &[i32]| all.into_iter().filter(|(pid, _)| !gone.contains(pid)).collect();
        let below = |pids: &[i32], gone: &[i32]| is_any_below(OWN, pids, &without(gone));
        assert_eq!(below(&[60], &[]), Some(true));
        assert_eq!(below(&[70, 60], &[]), Some(true));
        assert_eq!(below(&[70], &[]), Some(false));
        assert_eq!(below(&[], &[]), Some(true), "all have ended");
        assert_eq!(below(&[60], &[60]), None, "it ended after the first list was made");
        assert_eq!(below(&[60], &[55]), None, "its parent ended before it was reached");
        assert_eq!(below(&[70, 60], &[60]), None, "the other one may have been below");
        let in_a_circle = [(60, 61), (61, 60)].into_iter().collect();
        assert_eq!(is_any_below(OWN, &[60], &in_a_circle), None);
    }

    #[test]
    fn a_process_that_ends_between_two_lists_is_not_taken_for_one_of_somebody_else() {
        let looks = std::cell::Cell::new(0);
        let ending = || {
            looks.set(looks.get() + 1);
            // No process has this number: it is above the largest that a kernel gives.
            Some(if looks.get() == 1 { vec![i32::MAX] } else { Vec::new() })
        };
        assert!(has_any_or_all_ended(ending));
        assert_eq!(looks.get(), 2);
        assert!(!has_any_or_all_ended(|| Some(vec![1])));
    }

    #[test]
    fn without_descriptors_the_process_group_is_signalled_and_awaited() {
        crate::test_util::alone("supervisor::process_tree::tests::without_descriptors");
    }

    #[test]
    #[ignore = "runs in a process of its own"]
    fn without_descriptors() {
        let mut child = Command::new("sleep").arg("61").process_group(0).spawn().unwrap();
        let group = Pid::from_child(&child);
        crate::test_util::limit_descriptors(Some(0));
        assert!(!is_really_gone(group, None));
        signal_real(group, None, Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(10);
        while child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the signal did not arrive");
            std::thread::yield_now();
        }
        assert!(is_really_gone(group, None));
    }
}
