//! What a reader makes of the entries of one host.

use crate::{BeatAt, Owner};

/// How a host stands, as everybody who reads the same entries says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// It gave a sign of life within three of its intervals: the entry of its heartbeat lives.
    pub online: bool,
    /// A gateway has a connection of it, as far as is known. Only a reply to a command shows it.
    pub connected: bool,
}

impl Standing {
    /// How a host with this owner and this heartbeat stands. None means that there is no such entry, or the marker of
    /// one that has expired.
    ///
    /// The end of a connection alone does not make a host offline, and neither does a new one that has not sent a
    /// heartbeat yet: hosts move between gateways within seconds.
    #[must_use]
    pub fn of(owner: Option<&Owner>, beat: Option<&BeatAt>) -> Self {
        Self { online: beat.is_some(), connected: owner.is_some_and(|owner| owner.left.is_none()) }
    }
}

impl BeatAt {
    /// Whether this heartbeat may replace what a reader knows of the host. One of an older connection than the owner's
    /// may not: it came late, by a gateway that did not know yet. An owner that is not known yet allows all.
    #[must_use]
    pub fn is_current(&self, owner: Option<&Owner>) -> bool {
        owner.is_none_or(|owner| self.connection >= owner.connection)
    }
}
