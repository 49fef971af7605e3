//! One accepted job.

use nixfleet_os::planted;
use tokio::sync::watch;
use tracing::Span;

use nixfleet_jobs::record::Record;

use super::seen::Seen;
use super::stops::Stops;
use crate::jobs::admission::Current;
use crate::jobs::follower::{Activity, Follower, Live};

/// How far a job has got.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there are 17 jobs at most")]
pub(super) enum Phase {
    /// The launch is ordered. Requests to end the job wait until it is launched.
    Launching,
    /// The job was launched and is followed.
    Following(Follower),
    /// The launch failed, for this reason.
    Failed(String),
    /// Its end is in the record, and all its output was delivered. Nothing is followed.
    Decided,
}

/// An accepted job.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) record: Record,
    pub(super) phase: Phase,
    /// Requests to end it that have had no effect yet.
    pub(super) stops: Stops,
    /// Its end was taken from the follower.
    pub(super) over: bool,
    /// Its status has been queued in this session.
    pub(super) status_sent: bool,
    /// Its status has been queued in some session.
    pub(super) finished: bool,
    /// The dashboard has read more of its log than the record on disk says.
    pub(super) unsaved: bool,
    /// How far its command has got.
    pub(super) seen: Seen,
    pub(super) span: Span,
}

impl Job {
    pub(super) fn new(record: Record, phase: Phase, span: Span) -> Self {
        let (over, status_sent, finished, unsaved) = (false, false, false, false);
        let (stops, seen) = (Stops::default(), Seen::default());
        Self { record, phase, stops, over, status_sent, finished, unsaved, seen, span }
    }

    pub(super) fn live(&self) -> Live {
        match &self.phase {
            Phase::Launching => Live::default(),
            Phase::Following(follower) => *follower.live.borrow(),
            Phase::Failed(_) | Phase::Decided => Live { pid: None, ended: true },
        }
    }

    /// What its follower finds, if it has one.
    pub(super) fn followed(&self) -> Option<watch::Receiver<Live>> {
        match &self.phase {
            Phase::Following(follower) => Some(follower.live.clone()),
            Phase::Launching | Phase::Failed(_) | Phase::Decided => None,
        }
    }

    /// Whether its command runs or may run: no end is known.
    pub(super) fn runs(&self) -> bool {
        planted!("keep-the-slot") || (!self.over && !self.finished && !self.live().ended)
    }

    /// Whether its process id will be known soon.
    pub(super) fn starts(&self) -> bool {
        self.runs() && self.live() == Live::default()
    }

    /// What its command does, while it runs.
    pub(super) fn activity(&self) -> Option<Activity> {
        match &self.phase {
            Phase::Following(follower) if self.runs() => follower.items.activity(),
            _ => None,
        }
    }

    pub(super) fn describe(&self) -> Current<'_> {
        let Record { command, command_id, accepted_at, .. } = &self.record;
        Current { command, command_id: command_id.as_deref(), pid: self.live().pid, accepted_at }
    }
}
