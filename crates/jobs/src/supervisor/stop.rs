//! Ending a command before it ends by itself.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};

use super::process_tree;
use crate::Urgency;
use crate::journal::Writer;

/// How often to look for processes that are left while a command is being stopped.
const STOP_TICK: Duration = Duration::from_millis(50);

/// How long killed processes get to disappear before the job ends without them: one in an
/// uninterruptible sleep may never do so.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// How often a command that should end is looked at again while it activates a system.
const ACTIVATION_TICK: Duration = Duration::from_secs(1);

/// Why a command was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Somebody asked.
    Request,
    /// The machine goes down.
    Shutdown,
    /// It ran too long.
    Timeout,
}

/// The ladder from "please" to SIGKILL.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Running,
    /// SIGTERM has been sent; SIGKILL follows at the time.
    Asked(Reason, Instant),
    /// SIGKILL has been sent; nobody is waited for after the time.
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
    /// The machine goes down: the command ends as soon as it may.
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

    /// Starts the clock of a command.
    pub(super) fn begin(&mut self, timeout: Option<Duration>, unstoppable: bool) {
        self.deadline = timeout.map(|timeout| Instant::now() + timeout);
        self.unstoppable = unstoppable;
    }

    /// Names the program that runs.
    pub(super) fn watch(&mut self, group: Pid) {
        self.group = Some(group);
    }

    /// What becomes readable when there is something to do.
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

    /// Takes note of the signals and of the time, and acts on the processes.
    pub(super) fn step(&mut self, activation: bool, log: &mut Writer) {
        if drained(&mut self.term) && matches!(self.phase, Phase::Running) {
            // Said once: whoever waits for the end of an activation has to remember it.
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
            // Whatever was forked between the look and the signal.
            Phase::Killed(..) => self.signal(Signal::KILL),
            _ => {}
        }
    }

    fn ask(&mut self, reason: Reason) {
        self.signal(Signal::TERM);
        // A stopped process could not act on it.
        self.signal(Signal::CONT);
        self.phase = Phase::Asked(reason, Instant::now() + self.grace);
    }

    fn kill(&mut self, reason: Reason) {
        let reason = self.reason().unwrap_or(reason);
        self.signal(Signal::KILL);
        self.phase = Phase::Killed(reason, Instant::now() + KILL_PATIENCE);
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            process_tree::signal_all(group, signal);
        }
    }

    /// Whether no further program should be started.
    pub(super) fn is_over(&self) -> bool {
        self.going_down
    }

    /// While stopping: whether there is nobody left to stop.
    pub(super) fn settled(&self) -> bool {
        let gone = || self.group.is_none_or(process_tree::is_gone);
        match self.phase {
            Phase::Running => true,
            Phase::Asked(..) => gone(),
            Phase::Killed(_, give_up) => give_up <= Instant::now() || gone(),
        }
    }

    /// Whether killing has been tried for long enough.
    pub(super) fn gave_up(&self) -> bool {
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

/// Empties a signal's pipe; true if there was anything in it.
fn drained(pipe: &mut UnixStream) -> bool {
    let mut buffer = [0; 64];
    let mut any = false;
    while matches!(pipe.read(&mut buffer), Ok(1..)) {
        any = true;
    }
    any
}
