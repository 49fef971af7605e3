//! What a schedule does to the agent, and the kinds by which the table in docs/reliability.md counts it.

use std::fmt;
use std::time::Duration;

use crate::damage::{How, Target};

/// A fault of the network, for a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Network {
    /// Every piece of data arrives later by so much.
    Delay(Duration),
    /// One byte at a time.
    Trickle,
    /// Nothing gets through; it arrives when the fault is over.
    Blackhole,
    /// New connections are reset.
    Refuse,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// RST to both sides.
    Reset,
    /// FIN to both sides.
    Close,
    /// Nothing passes any more, and nobody is told.
    HalfOpen,
}

/// A fault of the dashboard, for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dashboard {
    /// Pings get no pong.
    NeverPong,
    /// Nothing is read.
    StopReading,
    /// `register` gets no answer.
    NoRegistered,
    /// New connections get this HTTP status.
    Refuse(u16),
}

/// When the disk becomes full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// At once, whatever runs.
    Now,
    /// As soon as a command runs that writes for seconds, and it has written so many lines.
    Line(u64),
}

/// A process of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Supervisor,
    Command,
}

/// A signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hit {
    Kill,
    Term,
    /// SIGSTOP, and SIGCONT after this time.
    Pause(Duration),
}

/// One step of a schedule.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Act {
    /// The dashboard asks for the n-th command of the schedule, under an id of its own.
    Ask(usize),
    /// The dashboard asks once more for a command that it asked for before, under the same id.
    AskAgain(usize),
    /// The dashboard sends `stop`.
    Stop,
    /// The dashboard sends `kill_command` with SIGKILL.
    Kill,
    Network(Network, Duration),
    Cut(Cut),
    /// Nothing passes for this time. Then the connection is reset, and what was on its way is lost.
    Stall(Duration),
    /// So many resets, each as soon as there is a connection again that has lived for [`crate::faults::FLAP`].
    Flap(u32),
    Dashboard(Dashboard, Duration),
    /// The dashboard closes the connection with a code.
    Close(u16),
    /// The dashboard sends frames that mean nothing.
    Nonsense,
    /// The agent gets a signal. After its end the next one starts when this time has passed.
    Agent(Hit, Duration),
    Signal(Who, Hit),
    /// A file is damaged as soon as it exists. With `down` the agent is killed first, and starts again afterwards.
    Damage {
        target: Target,
        how: How,
        down: bool,
    },
    /// The file system of the state folder is full for a time.
    FullDisk(When, Duration),
    /// The agent may have only so many more file descriptors than now, for a time.
    FewFiles(u64, Duration),
    /// The agent's user may have only so many more threads than now, for a time.
    FewThreads(u64, Duration),
    /// The host's clock jumps by so many seconds.
    Clock(i64),
}

impl Act {
    /// The row of the table that counts it; none for what a dashboard does every day.
    pub(crate) fn kind(&self) -> Option<&'static str> {
        Some(match self {
            Self::Ask(_) => return None,
            Self::AskAgain(_) => "the same request again under its id",
            Self::Stop | Self::Kill => "stop, kill_command",
            Self::Network(Network::Delay(_), _) => "network: delay",
            Self::Network(Network::Trickle, _) => "network: one byte at a time",
            Self::Network(Network::Blackhole, _) => "network: nothing passes",
            Self::Network(Network::Refuse, _) => "network: connections refused",
            Self::Stall(_) => "network: nothing passes, then reset",
            Self::Flap(_) => "network: several resets in a row",
            Self::Cut(Cut::Reset) => "network: reset",
            Self::Cut(Cut::Close) => "network: closed",
            Self::Cut(Cut::HalfOpen) => "network: half-open for good",
            Self::Dashboard(Dashboard::NeverPong, _) => "dashboard: answers no ping",
            Self::Dashboard(Dashboard::StopReading, _) => "dashboard: does not read",
            Self::Dashboard(Dashboard::NoRegistered, _) => "dashboard: no `registered`",
            Self::Dashboard(Dashboard::Refuse(_), _) => "dashboard: 401, 429, 503",
            Self::Close(_) => "dashboard: close frame",
            Self::Nonsense => "dashboard: frames without a meaning",
            Self::Agent(Hit::Kill, _) => "agent: SIGKILL",
            Self::Agent(Hit::Term, _) => "agent: SIGTERM",
            Self::Agent(Hit::Pause(_), _) => "agent: SIGSTOP, SIGCONT",
            Self::Signal(Who::Supervisor, Hit::Kill) => "supervisor: SIGKILL",
            Self::Signal(Who::Supervisor, Hit::Term) => "supervisor: SIGTERM",
            Self::Signal(Who::Supervisor, Hit::Pause(_)) => "supervisor: SIGSTOP, SIGCONT",
            Self::Signal(Who::Command, Hit::Kill) => "command: SIGKILL",
            Self::Signal(Who::Command, Hit::Term) => "command: SIGTERM",
            Self::Signal(Who::Command, Hit::Pause(_)) => "command: SIGSTOP, SIGCONT",
            Self::Damage { how: How::Flip, .. } => "file: one bit flipped",
            Self::Damage { how: How::Truncate, .. } => "file: truncated",
            Self::Damage { how: How::Remove, .. } => "file: removed",
            Self::Damage { how: How::Garbage, .. } => "file: overwritten with garbage",
            Self::Damage { how: How::Folder, .. } => "file: a folder in its place",
            Self::Damage { how: How::Pipe, .. } => "file: a named pipe in its place",
            Self::FullDisk(When::Now, _) => "disk: full",
            Self::FullDisk(When::Line(_), _) => "disk: full while a command writes",
            Self::FewFiles(..) => "limit: file descriptors",
            Self::FewThreads(..) => "limit: threads and processes",
            Self::Clock(_) => "clock: jump",
        })
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damage { target, how, down } => {
                let when = if *down { " while the agent is down" } else { "" };
                write!(f, "damage {target:?}: {how:?}{when}")
            }
            other => write!(f, "{other:?}"),
        }
    }
}
