//! Stopping a command: on request, at a shutdown of the machine, or after a timeout.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};

use super::process_tree;
use crate::Urgency;
use crate::journal::Writer;

/// How often to check for remaining processes while a command is being stopped.
const STOP_TICK: Duration = Duration::from_millis(50);

/// How long to wait for killed processes before the job ends without them. A process in an uninterruptible
/// sleep may never disappear.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// How often to check again whether a command that must end is still activating a system.
const ACTIVATION_TICK: Duration = Duration::from_secs(1);

/// Why a command was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// A request to stop.
    Request,
    /// The machine is shutting down.
    Shutdown,
    /// The timeout of the command.
    Timeout,
}

/// How far a stop has got.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Running,
    /// SIGTERM has been sent; SIGKILL follows at this time.
    Asked(Reason, Instant),
    /// SIGKILL has been sent; the job ends at this time, even if processes remain.
    Killed(Reason, Instant),
}

/// Requests to stop, from signals and from the timeout.
pub(super) struct Stop {
    term: UnixStream,
    kill: UnixStream,
    child: UnixStream,
    grace: Duration,
    deadline: Option<Instant>,
    unstoppable: bool,
    /// The machine is shutting down: the command is stopped as soon as no activation is running.
    going_down: bool,
    /// The process group of the program that runs.
    group: Option<Pid>,
    phase: Phase,
}

impl Stop {
    pub(super) fn listen(grace: Duration) -> io::Result<Self> {
        let pipe = |signals: &[i32]| {
            let (read, write) = UnixStream::pair()?;
            read.set_nonblocking(true)?;
            for &signal in signals {
                signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
            }
            io::Result::Ok(read)
        };
        Ok(Self {
            term: pipe(&[SIGTERM, SIGINT])?,
            kill: pipe(&[Urgency::Kill.signal().as_raw()])?,
            child: pipe(&[SIGCHLD])?,
            grace,
            deadline: None,
            unstoppable: false,
            going_down: false,
            group: None,
            phase: Phase::Running,
        })
    }

    /// Starts the timeout of a command.
    pub(super) fn begin(&mut self, timeout: Option<Duration>, unstoppable: bool) {
        self.deadline = timeout.map(|timeout| Instant::now() + timeout);
        self.unstoppable = unstoppable;
    }

    /// Sets the process group of the running program.
    pub(super) fn watch(&mut self, group: Pid) {
        self.group = Some(group);
    }

    /// The pipes of the signals. One becomes readable when a signal has arrived.
    pub(super) fn pipes(&self) -> [&UnixStream; 3] {
        [&self.term, &self.kill, &self.child]
    }

    /// Whether a process has ended since the last call.
    pub(super) fn child_ended(&mut self) -> bool {
        drained(&mut self.child)
    }

    pub(super) fn reason(&self) -> Option<Reason> {
        match self.phase {
            Phase::Running => None,
            Phase::Asked(reason, _) | Phase::Killed(reason, _) => Some(reason),
        }
    }

    /// Handles signals and deadlines, and signals the processes.
    pub(super) fn step(&mut self, activation: bool, log: &mut Writer) {
        if drained(&mut self.term) && matches!(self.phase, Phase::Running) {
            // The service manager sends the signal only once, so it is remembered until the activation ends.
            self.going_down = nixfleet_os::service_manager::machine_is_stopping();
            if self.going_down {
                log.remark("the machine goes down");
            } else if self.unstoppable {
                log.remark("stop refused: this command is configured as not killable");
            } else if activation || process_tree::activates() {
                log.remark("stop refused: the system is being activated; SIGKILL would force it");
            } else {
                self.ask(Reason::Request);
            }
        }
        if self.going_down
            && matches!(self.phase, Phase::Running)
            && !activation
            && !process_tree::activates()
        {
            self.ask(Reason::Shutdown);
        }
        let now = Instant::now();
        if matches!(self.phase, Phase::Running) && self.deadline.is_some_and(|at| at <= now) {
            if activation || process_tree::activates() {
                self.deadline = Some(now + ACTIVATION_TICK);
            } else {
                self.ask(Reason::Timeout);
            }
        }
        if drained(&mut self.kill) {
            self.kill(Reason::Request);
        }
        match self.phase {
            Phase::Asked(reason, at) if at <= now => self.kill(reason),
            // Again, for processes that were forked between the listing and the signal.
            Phase::Killed(..) => self.signal(Signal::KILL),
            _ => {}
        }
    }

    fn ask(&mut self, reason: Reason) {
        self.signal(Signal::TERM);
        // A process that is suspended could not handle SIGTERM.
        self.signal(Signal::CONT);
        self.phase = Phase::Asked(reason, Instant::now() + self.grace);
    }

    fn kill(&mut self, reason: Reason) {
        let reason = self.reason().unwrap_or(reason);
        self.signal(Signal::KILL);
        self.phase = Phase::Killed(reason, Instant::now() + KILL_TIMEOUT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            process_tree::signal_all(group, signal);
        }
    }

    /// Whether no further program may be started.
    pub(super) fn is_final(&self) -> bool {
        self.going_down
    }

    /// Whether the job can end: no stop is in progress, or no process is left to stop.
    pub(super) fn settled(&self) -> bool {
        let gone = || self.group.is_none_or(process_tree::is_gone);
        match self.phase {
            Phase::Running => true,
            Phase::Asked(..) => gone(),
            Phase::Killed(_, give_up) => give_up <= Instant::now() || gone(),
        }
    }

    /// Whether the wait for killed processes has timed out.
    pub(super) fn timed_out(&self) -> bool {
        matches!(self.phase, Phase::Killed(_, give_up) if give_up <= Instant::now())
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Running if self.going_down => Some(Instant::now() + ACTIVATION_TICK),
            Phase::Running => self.deadline,
            Phase::Asked(..) | Phase::Killed(..) => Some(Instant::now() + STOP_TICK),
        }
    }
}

/// Empties the pipe of a signal; returns whether it held anything.
fn drained(pipe: &mut UnixStream) -> bool {
    let mut buffer = [0; 64];
    let mut any = false;
    while matches!(pipe.read(&mut buffer), Ok(1..)) {
        any = true;
    }
    any
}
