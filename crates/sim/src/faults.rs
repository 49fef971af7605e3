//! Everything that happens to the machine and its network, as a list that can be made shorter.

use std::time::Duration;

/// What runs in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Agent,
    Supervisor,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Supervisor => "supervisor",
        }
    }
}

/// What one operation of the disk meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskFault {
    /// EIO.
    Io,
    /// EMFILE; only where a file is opened.
    TooManyFiles,
    /// ENOSPC; only where something is written, and a write is done by half.
    Full,
    /// The same, once: a torn write.
    Torn,
    /// The process dies before the operation.
    Crash,
    /// The machine loses its power before the operation.
    PowerCut,
}

/// What the network does to the connections of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NetFault {
    /// The connection is reset, and what is on its way is lost.
    Reset,
    /// Nothing arrives any more, and nobody is told.
    HalfOpen,
    /// Nothing from the dashboard arrives: no pong, no acknowledgement.
    Mute,
    /// The dashboard answers no ping for a while: nothing proves that it read anything.
    NoPongs,
    /// Nothing from the agent arrives for a while. Then all does.
    Stall,
    /// Each read has one byte.
    OneByte,
    /// The dashboard closes the connection with a close frame.
    Close,
    /// The dashboard is gone: an end without a close frame.
    End,
    /// Nobody listens; a connection that exists stays.
    Refuse,
}

/// What the dashboard does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// A command that runs a program.
    Command(usize),
    /// The same request again, with the same id.
    Repeat(usize),
    /// Another command with the same id.
    Clash(usize),
    /// `stop`.
    Stop,
    /// `kill_command` with SIGKILL.
    Kill,
    /// So many commands in one packet.
    Burst(usize),
    /// `restart`.
    Restart,
    /// Heartbeats are not acknowledged for a while.
    NoAcks,
    /// In maintenance for a while.
    Maintenance,
    /// A message that is none.
    Garbage,
}

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Dashboard(Act),
    Net(NetFault),
    /// From this operation of such processes on, counted from the start, so many fail.
    Disk {
        who: Kind,
        from: u64,
        count: u64,
        fault: DiskFault,
    },
    /// All operations of such processes hang until the end.
    Hang(Kind),
    /// SIGKILL.
    KillAgent,
    /// SIGTERM.
    StopAgent,
    /// SIGKILL to the supervisor that runs.
    KillSupervisor,
    /// The machine loses its power.
    PowerCut,
    /// The wall clock is set by so many milliseconds.
    SetClock(i64),
    /// The machine sleeps [`SLEEP_FACTOR`] times as long as this lasts, and afterwards has no network for as long as it
    /// lasts. A connection does not survive it.
    Suspend,
    /// No thread can be started.
    NoThread,
    /// The launcher fails, although the supervisor runs if this is set.
    Launcher {
        starts: bool,
    },
}

/// How many times as long as its event a sleep is: 12 s to 12 min, of which the monotonic clock counts nothing.
pub(crate) const SLEEP_FACTOR: u32 = 60;

/// When it happens, and how long it lasts if it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
    pub(crate) what: What,
}

/// One run: a seed for all small decisions, and what happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The seed.
    pub seed: u64,
    pub(crate) events: Vec<Event>,
}
