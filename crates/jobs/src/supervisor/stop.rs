//! Stopping a command: on request, at a shutdown of the machine, or after a timeout.
//!
//! The agent orders a stop by SIGINT. A SIGTERM comes from the service manager or from a person on the host,
//! and may mean that the machine goes down. The service manager has to say which; the command is signalled
//! without waiting for that.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nixfleet_os::service_manager::{Shutdown, ShutdownQuery};
use nixfleet_os::{Machine, planted};
use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGCHLD, SIGTERM};

use super::process_tree;
use super::signals::Signals;
use super::switch_unit::SwitchUnit;
use crate::Urgency;
use crate::activation::{Activations, UNIT};
use crate::journal::Writer;
use crate::remains::KILL_TIMEOUT;
pub(super) use reason::Reason;

mod reason;

/// How often to check for remaining processes while a command is being stopped.
const STOP_TICK: Duration = Duration::from_millis(50);

/// How often to check again whether a command that must end is still activating a system.
const ACTIVATION_TICK: Duration = Duration::from_secs(1);

/// How long a program may take to end by itself behind its activation, before a shutdown ends it: `nixos-rebuild` then
/// has only its exit code to give. Otherwise a switch that succeeded could be told as stopped.
const AFTER_ACTIVATION: Duration = Duration::from_secs(2);

/// How far a stop has got. Without a reason here, the reason is what the SIGTERM meant.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Running,
    /// SIGTERM has been sent; SIGKILL follows at this time.
    Asked(Option<Reason>, Instant),
    /// SIGKILL has been sent; the job ends at this time, even if processes remain.
    Killed(Option<Reason>, Instant),
}

/// What is known about the newest SIGTERM.
#[derive(Debug)]
enum Sigterm {
    /// None has arrived.
    None,
    /// The service manager was asked what it means.
    Asking(ShutdownQuery),
    /// What the service manager said.
    Answered(Shutdown),
}

/// Requests to stop, from signals and from the timeout.
pub(super) struct Stop {
    signals: Signals,
    machine: Machine,
    grace: Duration,
    deadline: Option<Instant>,
    unstoppable: bool,
    sigterm: Sigterm,
    /// The agent ordered a stop of a command that SIGTERM was already ending.
    ordered: bool,
    /// The process group of the program that runs.
    group: Option<Pid>,
    /// The activation that the service manager runs for it.
    unit: SwitchUnit,
    /// When the command was last seen to activate a system.
    activated: Option<Instant>,
    phase: Phase,
}

impl Stop {
    pub(super) fn listen(grace: Duration, machine: Machine) -> io::Result<Self> {
        Ok(Self {
            signals: Signals::listen(&machine)?,
            machine,
            grace,
            deadline: None,
            unstoppable: false,
            sigterm: Sigterm::None,
            ordered: false,
            group: None,
            unit: SwitchUnit::default(),
            activated: None,
            phase: Phase::Running,
        })
    }

    /// Uses that machine from now on.
    #[cfg(test)]
    pub(super) fn set_machine(&mut self, machine: Machine) {
        self.machine = machine;
    }

    /// The time by the clock of the machine.
    pub(super) fn now(&self) -> Instant {
        self.machine.clock.instant()
    }

    /// Starts the timeout of a command.
    pub(super) fn begin(&mut self, timeout: Option<Duration>, unstoppable: bool) {
        self.deadline = timeout.map(|timeout| self.now() + timeout);
        self.unstoppable = unstoppable;
    }

    /// A step begins. `activations` are given if it may let the service manager activate a system.
    pub(super) fn begin_step(&mut self, activations: Option<Activations>) {
        self.unit.begin(activations, &self.machine);
        self.activated = None;
    }

    /// What the job has in the service manager.
    pub(super) fn unit(&mut self) -> &mut SwitchUnit {
        &mut self.unit
    }

    /// Sets the process group of the running program.
    pub(super) fn watch(&mut self, group: Pid) {
        self.group = Some(group);
    }

    /// Where to wait for an event: the pipes of the signals, and the answer of the service manager.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let query = match &self.sigterm {
            Sigterm::Asking(query) => query.fd(),
            Sigterm::None | Sigterm::Answered(_) => None,
        };
        self.signals.fds().chain(query)
    }

    /// Whether a process has ended since the last call.
    pub(super) fn child_ended(&mut self) -> bool {
        self.signals.take(SIGCHLD)
    }

    /// The supervisor has reaped this process.
    pub(super) fn reaped(&mut self, pid: Pid) {
        if self.query_pid() == Some(pid)
            && let Sigterm::Asking(query) = &mut self.sigterm
        {
            query.was_reaped();
        }
    }

    /// The process that asks the service manager. It is not part of the command.
    fn query_pid(&self) -> Option<Pid> {
        let Sigterm::Asking(query) = &self.sigterm else { return None };
        query.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()))
    }

    /// Whether a stop of the command has begun.
    pub(super) fn has_begun(&self) -> bool {
        !matches!(self.phase, Phase::Running)
    }

    /// Whether a signal to end the command has arrived that no program was there for.
    pub(super) fn is_requested(&self) -> bool {
        self.signals.any_to_end()
    }

    /// Why the command was stopped, if it was.
    pub(super) fn reason(&self) -> Option<Reason> {
        match self.phase {
            Phase::Running => None,
            Phase::Asked(reason, _) | Phase::Killed(reason, _) => reason.or_else(|| self.meaning()),
        }
    }

    /// What the SIGTERM meant, if one has arrived.
    fn meaning(&self) -> Option<Reason> {
        match self.sigterm {
            Sigterm::None => None,
            Sigterm::Asking(_) => Some(Reason::of_sigterm(Shutdown::Unknown, self.ordered)),
            Sigterm::Answered(shutdown) => Some(Reason::of_sigterm(shutdown, self.ordered)),
        }
    }

    /// Why no further program may be started, if that is so: the machine goes down, or may do so. The signal
    /// is sent only once, so it is remembered until an activation ends.
    pub(super) fn is_final(&self) -> Option<Reason> {
        let going_down = matches!(self.sigterm, Sigterm::Answered(Shutdown::Begun | Shutdown::Unknown));
        self.meaning().filter(|_| going_down)
    }

    /// Handles signals and deadlines, and signals the processes. `activation`: the program activates a
    /// system. `ended`: the program has ended by itself.
    pub(super) fn step(&mut self, activation: bool, ended: bool, log: &mut Writer) {
        if self.signals.take(Urgency::Stop.signal().as_raw()) {
            self.ordered(activation, ended, log);
        }
        if self.signals.take(SIGTERM) {
            self.terminated(activation, ended);
        }
        self.take_answer(activation, ended, log);
        let running = matches!(self.phase, Phase::Running);
        if running && !ended && self.is_final().is_some() && !self.has_just_activated(activation) {
            self.ask(None);
        }
        let now = self.now();
        if matches!(self.phase, Phase::Running) && self.deadline.is_some_and(|at| at <= now) {
            if self.activates(activation, ended) {
                self.deadline = Some(now + ACTIVATION_TICK);
            } else {
                self.ask(Some(Reason::Timeout));
            }
        }
        if self.signals.take(Urgency::Kill.signal().as_raw()) {
            self.ordered = true;
            // Before its client is killed, by which it is known.
            self.unit.kill(now, log);
            self.kill(Some(Reason::Request));
        }
        match self.phase {
            Phase::Asked(reason, at) if at <= now && !planted!("no-kill-after-grace") => self.kill(reason),
            // Again, for processes that were forked between the listing and the signal.
            Phase::Killed(..) => {
                self.signal(Signal::KILL);
                if self.unit.was_killed() {
                    self.unit.kill(now, log);
                }
            }
            _ => {}
        }
    }

    /// The agent orders a stop.
    fn ordered(&mut self, activation: bool, ended: bool, log: &mut Writer) {
        let running = matches!(self.phase, Phase::Running);
        if !running || self.is_final().is_some() {
            self.ordered = true;
        } else if let Some(why) = self.protection(activation, ended) {
            log.remark(&why);
        } else {
            self.ask(Some(Reason::Request));
        }
    }

    /// A SIGTERM has arrived. The command ends whatever it means, unless it is protected: then its meaning
    /// decides.
    fn terminated(&mut self, activation: bool, ended: bool) {
        let known = matches!(self.sigterm, Sigterm::None | Sigterm::Answered(Shutdown::NotBegun));
        if !known || !matches!(self.phase, Phase::Running) {
            return;
        }
        let ends = !ended && self.protection(activation, ended).is_none();
        self.sigterm = Sigterm::Asking(match self.machine.processes.simulation() {
            Some(programs) => ShutdownQuery::known(programs.going_down()),
            None => ShutdownQuery::ask(),
        });
        if ends {
            self.ask(None);
        }
    }

    /// Takes the service manager's answer, if it has come.
    fn take_answer(&mut self, activation: bool, ended: bool, log: &mut Writer) {
        let Sigterm::Asking(query) = &mut self.sigterm else { return };
        let Some(answer) = query.answer() else { return };
        self.sigterm = Sigterm::Answered(answer);
        match answer {
            Shutdown::Begun => log.remark("the machine goes down"),
            Shutdown::Unknown => {
                log.remark("systemd does not say whether the machine goes down; it is taken for a shutdown");
            }
            Shutdown::NotBegun if !matches!(self.phase, Phase::Running) => {}
            Shutdown::NotBegun => match self.protection(activation, ended) {
                Some(why) => log.remark(&why),
                None => self.ask(None),
            },
        }
    }

    /// Why the command is not stopped on request, if that is so.
    fn protection(&mut self, activation: bool, ended: bool) -> Option<String> {
        if self.unstoppable {
            return Some("stop refused: this command is configured as not killable".to_owned());
        }
        if self.unit.is_active(ended) {
            return Some(format!(
                "stop refused: the system is being activated, by {UNIT}; SIGKILL would force it"
            ));
        }
        self.activates(activation, ended)
            .then(|| "stop refused: the system is being activated; SIGKILL would force it".to_owned())
    }

    /// Whether the command activates a system. `activation`: its program is known to do so.
    fn activates(&mut self, activation: bool, ended: bool) -> bool {
        activation || self.unit.is_active(ended) || process_tree::activates(&self.machine.processes)
    }

    /// Whether the running program activates a system, or did so a moment ago.
    fn has_just_activated(&mut self, activation: bool) -> bool {
        if self.activates(activation, false) {
            self.activated = Some(self.now());
        }
        self.activated.is_some_and(|at| self.now().saturating_duration_since(at) < AFTER_ACTIVATION)
    }

    fn ask(&mut self, reason: Option<Reason>) {
        self.signal(Signal::TERM);
        // A process that is suspended could not handle SIGTERM.
        self.signal(Signal::CONT);
        self.phase = Phase::Asked(reason, self.now() + self.grace);
    }

    fn kill(&mut self, reason: Option<Reason>) {
        let reason = match self.phase {
            Phase::Running => reason,
            Phase::Asked(reason, _) | Phase::Killed(reason, _) => reason,
        };
        self.signal(Signal::KILL);
        self.phase = Phase::Killed(reason, self.now() + KILL_TIMEOUT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            process_tree::signal_all(&self.machine.processes, group, self.query_pid(), signal);
        }
    }

    /// Whether the job can end: no stop is in progress, or no process is left to stop; and it is known what a
    /// SIGTERM meant.
    pub(super) fn settled(&self) -> bool {
        let gone = || {
            self.group
                .is_none_or(|group| process_tree::is_gone(&self.machine.processes, group, self.query_pid()))
        };
        let stopped = match self.phase {
            Phase::Running => true,
            Phase::Asked(..) => gone(),
            Phase::Killed(_, give_up) => give_up <= self.now() || gone(),
        };
        stopped && !matches!(self.sigterm, Sigterm::Asking(_))
    }

    /// Whether the wait for killed processes has timed out.
    pub(super) fn timed_out(&self) -> bool {
        matches!(self.phase, Phase::Killed(_, give_up) if give_up <= self.now())
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        let answer = match &self.sigterm {
            Sigterm::Asking(query) => query.deadline(),
            Sigterm::None | Sigterm::Answered(_) => None,
        };
        let own = match self.phase {
            Phase::Running if self.is_final().is_some() => Some(self.now() + ACTIVATION_TICK),
            Phase::Running => self.deadline,
            Phase::Asked(..) | Phase::Killed(..) => Some(self.now() + STOP_TICK),
        };
        own.into_iter().chain(answer).chain(self.unit.wake_at(self.now())).min()
    }
}
