//! Processes that are left of a job whose supervisor was killed.
//!
//! A supervisor that is killed cannot end its command, and its orphans are no longer below anything that belongs to
//! the job. So every process of a job carries the job's id in its environment, and is found by it. A process that
//! cleared its environment is found if a process that carries the id is above it, or is in the same session.
//!
//! With the `systemd` launcher the service manager ends these processes, by the cgroup of the unit.
//!
//! An activation that the service manager itself runs belongs to none of them: see [`await_unit`].

use std::time::{Duration, Instant};

use nixfleet_os::planted;
use rustix::process::{Pid, Signal, kill_process};

use crate::spec::Spec;
use crate::{JobDir, JobId, JobsDir, atomic_file, journal};

#[cfg(target_os = "linux")]
mod find;
mod unit;

#[cfg(target_os = "linux")]
use find::find;
pub use unit::{LeftUnit, await_unit};

/// The variable that holds the id of the job in each of its processes. It does not begin with `NIXFLEET_`, which
/// is the beginning of a setting's name.
pub const JOB_VARIABLE: &str = "_NIXFLEET_JOB_ID";

/// How long the processes may take to end after SIGTERM: the default of `jobs.stop_grace`.
const GRACE: Duration = Duration::from_secs(10);

/// How long to wait for processes that were killed. One in an uninterruptible sleep may never disappear.
pub(crate) const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait for the end of an activation, which must not be stopped half-way. Activations take seconds,
/// and some minutes if services are slow to stop.
pub(crate) const ACTIVATION_TIMEOUT: Duration = Duration::from_secs(600);

/// How long to try to list the processes of the machine.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// How often to look.
const TICK: Duration = Duration::from_millis(50);

/// What was done with the processes that were left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Remains {
    /// Most processes that were seen at once.
    pub found: usize,
    /// One of them activated a system, so that they were given time.
    pub activation: bool,
    /// Those that are still there.
    pub left: usize,
    /// Processes could not be looked at in the end, so that some may be left.
    pub unknown: bool,
}

impl Remains {
    /// What happened, as the end of a sentence; none if there were no processes.
    pub fn describe(self) -> Option<String> {
        let Self { found, activation, left, unknown } = self;
        if unknown {
            return Some("nobody knows whether processes of it are left, /proc cannot be read".to_owned());
        }
        let count = |n: usize| if n == 1 { "1 process".to_owned() } else { format!("{n} processes") };
        Some(match (found, activation, left) {
            (0, ..) => return None,
            (_, true, 0) => "the activation that it had begun was awaited".to_owned(),
            (1, false, 0) => "1 process of it went on without a supervisor, and was ended".to_owned(),
            (_, false, 0) => format!("{} of it went on without a supervisor, and were ended", count(found)),
            (_, true, left) => format!("an activation of it goes on without a supervisor ({})", count(left)),
            (_, false, left) => format!("{} of it could not be ended", count(left)),
        })
    }
}

/// Whether a job may have left processes behind: its supervisor is dead, it has no result, and the machine was not
/// booted since.
fn may_be_left(dir: &JobDir, boot_id: Option<&str>) -> bool {
    let disk = dir.disk();
    let dead = matches!(journal::supervisor_lives(dir), Ok(false));
    let spec = || atomic_file::load_on::<Spec>(disk, &dir.spec()).ok().flatten();
    let same_boot = || spec().and_then(|spec| spec.boot_id).is_none_or(|then| Some(then.as_str()) == boot_id);
    dead && disk.kind(&dir.result()).is_err() && same_boot()
}

/// The jobs in the folder that may have left processes behind, but `current`. The caller holds the lock of the
/// host.
pub(crate) fn jobs(jobs: &JobsDir, current: &JobId, boot_id: Option<&str>) -> Vec<JobId> {
    let names = jobs.disk().list(jobs.path()).unwrap_or_default();
    let ids = names.iter().filter_map(|name| name.to_str()?.parse::<JobId>().ok());
    ids.filter(|id| id != current && may_be_left(&jobs.job(id), boot_id)).collect()
}

/// Ends the processes that are left of these jobs, and waits until they are gone. An activation is awaited first.
/// `go_on` is asked while that takes long; if it returns false, the processes are left alone. `begun` is called once,
/// when there are any.
///
/// It takes 15 s at most after an activation, and 10 min for that; 5 s more if processes cannot be listed.
pub fn end(jobs: &[JobId], go_on: impl Fn() -> bool, begun: impl FnOnce()) -> Remains {
    let mut remains = Remains::default();
    if jobs.is_empty() || planted!("orphans-go-on") {
        return remains;
    }
    let mut wait = |limit: Duration, kill: bool, awaited: &dyn Fn(&[Found]) -> bool| {
        let since = Instant::now();
        loop {
            let seen = find(jobs);
            let is_known = seen.is_some();
            let found = seen.unwrap_or_default();
            remains.unknown = !is_known;
            if is_known {
                remains.found = remains.found.max(found.len());
                remains.activation |= found.iter().any(|process| process.activates);
                remains.left = found.len();
            }
            if (is_known && !awaited(&found)) || since.elapsed() >= limit || !go_on() {
                return found;
            }
            if kill {
                // Again, for processes that were forked between the listing and the signal.
                signal(&found, Signal::KILL);
            }
            std::thread::sleep(TICK);
        }
    };
    // A shortage of descriptors passes. Without /proc nothing is found, which holds up no command.
    if wait(LIST_TIMEOUT, false, &|_| false).is_empty() {
        return remains;
    }
    begun();
    let found = wait(ACTIVATION_TIMEOUT, false, &|found| found.iter().any(|process| process.activates));
    if found.iter().any(|process| process.activates) || !go_on() {
        return remains;
    }
    signal(&found, Signal::TERM);
    // A process that is suspended could not handle SIGTERM.
    signal(&found, Signal::CONT);
    wait(GRACE, false, &|found| !found.is_empty());
    wait(KILL_TIMEOUT, true, &|found| !found.is_empty());
    remains
}

/// A process that belongs to a job.
#[derive(Debug, Clone, Copy)]
struct Found {
    pid: Pid,
    /// It runs the activation program of NixOS.
    activates: bool,
}

/// The program of NixOS that must not be stopped half-way.
#[cfg(target_os = "linux")]
const ACTIVATION: &str = "switch-to-configuration";

/// Whether an argument names that program.
#[cfg(target_os = "linux")]
pub(crate) fn is_activation(argument: &str) -> bool {
    argument.rsplit('/').next() == Some(ACTIVATION)
}

fn signal(found: &[Found], signal: Signal) {
    for process in found {
        // An error means that the process has ended, or is a setuid program that may not be signalled.
        kill_process(process.pid, signal).ok();
    }
}

/// Unknown without /proc.
#[cfg(not(target_os = "linux"))]
fn find(_jobs: &[JobId]) -> Option<Vec<Found>> {
    Some(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn an_activation_is_known_by_its_program() {
        assert!(is_activation("/nix/store/x-nixos/bin/switch-to-configuration"));
        assert!(!is_activation("echo"));
        assert!(!is_activation("/tmp/switch-to-configuration.log"));
    }

    #[test]
    fn what_was_done_is_said() {
        for (found, activation, left, expected) in [
            (0, false, 0, None),
            (1, false, 0, Some("1 process of it went on without a supervisor, and was ended")),
            (3, false, 0, Some("3 processes of it went on without a supervisor, and were ended")),
            (3, false, 1, Some("1 process of it could not be ended")),
            (2, true, 0, Some("the activation that it had begun was awaited")),
            (2, true, 2, Some("an activation of it goes on without a supervisor (2 processes)")),
        ] {
            let said = Remains { found, activation, left, unknown: false }.describe();
            assert_eq!(said.as_deref(), expected);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_shortage_of_descriptors_hides_no_process() {
        crate::test_util::alone("remains::tests::with_few_descriptors");
    }

    #[cfg(target_os = "linux")]
    #[test]
    #[ignore = "runs in a process of its own"]
    fn with_few_descriptors() {
        use crate::test_util::limit_descriptors;

        let id = JobId::generate();
        let mut command = std::process::Command::new("sleep");
        let mut process = command.arg("61").env(JOB_VARIABLE, id.as_str()).spawn().unwrap();
        for descriptors in [0, 1] {
            // None to list /proc, and then one for the list and none for a process in it.
            limit_descriptors(Some(descriptors));
            assert!(find(std::slice::from_ref(&id)).is_none(), "{descriptors} descriptors");
            limit_descriptors(None);
        }
        limit_descriptors(Some(0));
        let passes = || {
            limit_descriptors(None);
            true
        };
        let remains = end(&[id], passes, || {});
        assert_eq!(remains, Remains { found: 1, ..Remains::default() });
        assert!(!process.wait().unwrap().success());
    }
}
