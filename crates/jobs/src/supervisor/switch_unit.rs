//! The activation that `nixos-rebuild` lets the service manager run: [`UNIT`] as a part of the running job.
//!
//! It is below PID 1, in a control group of its own. So it outlives its client, gets no signal of this supervisor, and
//! is found in no tree of processes. Every other part of a job ends with its supervisor; this one has to be asked for.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nixfleet_os::{Machine, subprocess};

use super::process_tree;
use crate::activation::{Activations, UNIT, clients};
use crate::journal::Writer;
use crate::remains::{ACTIVATION_TIMEOUT, KILL_TIMEOUT};

/// How often to look whether it has ended.
const TICK: Duration = Duration::from_millis(200);

/// How long a unit whose client has ended may take to leave its control group. Usually it is gone before.
const LEAVING: Duration = Duration::from_secs(1);

/// Most lines of the unit's journal in the log, the newest. `switch-to-configuration` and the service manager write
/// about ten.
const JOURNAL_LINES: &str = "--lines=200";

/// Time limit of `journalctl`, which may have to read a large journal from a slow disk.
const JOURNAL_TIMEOUT: Duration = Duration::from_secs(10);

/// What was found out about the unit that is active.
#[derive(Debug, Clone, Copy)]
struct Judged {
    /// Its first process.
    first: u32,
    /// The program of the step had ended by then.
    ended: bool,
    is_ours: bool,
}

/// The unit, while a step that may start it runs.
#[derive(Debug, Default)]
pub(super) struct SwitchUnit {
    /// None while no such step runs.
    step: Option<Rebuild>,
}

/// A step that may start the unit.
#[derive(Debug)]
struct Rebuild {
    activations: Activations,
    /// Seconds since 1970 at its begin.
    since: i64,
    /// The running system at its begin.
    before: Option<PathBuf>,
    judged: Option<Judged>,
    /// Since when the unit goes on without the program.
    waiting: Option<Instant>,
    /// The wait is in the log.
    told: bool,
    /// The unit goes on although nobody reads its output any more.
    unread: bool,
    /// When it was killed.
    killed: Option<Instant>,
}

impl SwitchUnit {
    /// A step begins. `activations` are given if it may start the unit, which is not active now.
    pub(super) fn begin(&mut self, activations: Option<Activations>, machine: &Machine) {
        self.step = activations.map(|activations| Rebuild {
            before: activations.running_system(),
            activations,
            since: machine.clock.now().as_second(),
            judged: None,
            waiting: None,
            told: false,
            unread: false,
            killed: None,
        });
    }

    /// Whether a rebuild that ended while the machine goes down may have been cut off. `ok`: with exit code 0. Then the
    /// running system tells, because `systemd-run` ends with 0 when its unit was ended by SIGTERM.
    pub(super) fn may_be_cut(&self, ok: bool) -> bool {
        self.step.as_ref().is_some_and(|step| !ok || step.activations.running_system() == step.before)
    }

    /// Whether the unit is active as a part of the job. `ended`: the program of the step has ended.
    pub(super) fn is_active(&mut self, ended: bool) -> bool {
        self.step.as_mut().is_some_and(|step| step.is_active(ended))
    }

    /// Whether the unit was killed.
    pub(super) fn was_killed(&self) -> bool {
        self.step.as_ref().is_some_and(|step| step.killed.is_some())
    }

    /// Kills the unit if it is a part of the job, and says so the first time.
    pub(super) fn kill(&mut self, now: Instant, log: &mut Writer) {
        let Some(step) = &mut self.step else { return };
        if !step.is_active(false) {
            return;
        }
        if step.killed.is_some() {
            // Again, for processes that were forked between the list and the signal.
            drop(step.activations.kill_unit());
            return;
        }
        step.killed = Some(now);
        let unit = step.activations.describe_unit();
        log.remark(&match step.activations.kill_unit() {
            Ok(()) => format!("SIGKILL also for {unit}: the activation is cut off half-way"),
            Err(err) => format!("cannot kill {unit}, the activation goes on: {err}"),
        });
    }

    /// Whether nothing is to be awaited when the program has ended. `read_all`: its outputs are closed.
    pub(super) fn has_ended(&mut self, read_all: bool, now: Instant, log: &mut Writer) -> bool {
        self.step.as_mut().is_none_or(|step| step.has_ended(read_all, now, log))
    }

    /// What the journal has of the unit since the step began, if its output was lost. Once.
    pub(super) fn lost_output(&mut self, log: &mut Writer) -> Option<String> {
        let step = self.step.as_mut().filter(|step| step.unread)?;
        step.unread = false;
        let since = format!("--since=@{}", step.since);
        let question = ["--unit", UNIT, "--output=cat", "--no-pager", "--quiet", JOURNAL_LINES, &since];
        match subprocess::output(Path::new("journalctl"), &question, JOURNAL_TIMEOUT) {
            Ok(lines) => {
                log.remark(&format!("nobody read the output of {UNIT}; its journal has:"));
                Some(String::from_utf8_lossy(&lines).into_owned())
            }
            Err(err) => {
                let err = nixfleet_os::error::chain(&err);
                log.remark(&format!(
                    "nobody read the output of {UNIT}, and its journal cannot be had: {err}"
                ));
                None
            }
        }
    }

    /// Whether the end of the unit was awaited when the program had ended.
    pub(super) fn was_awaited(&self) -> bool {
        self.step.as_ref().is_some_and(|step| step.told)
    }

    /// When to look again, while the unit is awaited.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        self.step.as_ref()?.waiting.map(|_| now + TICK)
    }
}

impl Rebuild {
    fn is_active(&mut self, ended: bool) -> bool {
        let Some(first) = self.activations.unit().first().copied() else {
            self.judged = None;
            return false;
        };
        if let Some(judged) = self.judged
            && judged.first == first
            && (judged.ended || !ended)
        {
            return judged.is_ours;
        }
        let is_ours = self.activations.is_simulated() || is_ours();
        self.judged = Some(Judged { first, ended, is_ours });
        is_ours
    }

    fn has_ended(&mut self, read_all: bool, now: Instant, log: &mut Writer) -> bool {
        if !self.is_active(true) {
            if self.told {
                log.remark(&format!("the activation in {UNIT} has ended"));
            }
            self.waiting = None;
            return true;
        }
        let waited = now.saturating_duration_since(*self.waiting.get_or_insert(now));
        if waited < LEAVING {
            return false;
        }
        self.unread |= read_all;
        if !std::mem::replace(&mut self.told, true) {
            log.remark(&format!(
                "the program has ended, but the activation goes on in {}; its end is awaited for {} minutes at most",
                self.activations.describe_unit(),
                ACTIVATION_TIMEOUT.as_secs() / 60
            ));
        }
        let given_up = match self.killed {
            Some(killed) => now.saturating_duration_since(killed) >= KILL_TIMEOUT,
            None => waited >= ACTIVATION_TIMEOUT,
        };
        if given_up {
            log.remark(&format!(
                "{} still goes on; the job ends without it",
                self.activations.describe_unit()
            ));
            self.waiting = None;
        }
        given_up
    }
}

/// Whether the unit belongs to this job: its client is below this supervisor, or was and is gone. The client of somebody
/// else is in another tree.
fn is_ours() -> bool {
    process_tree::has_any_or_all_ended(clients)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
