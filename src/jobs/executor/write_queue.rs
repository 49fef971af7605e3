//! What waits to be written: the hand-over from the agent, which never waits for a disk, to the thread that writes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tracing::Span;

use nixfleet_jobs::JobId;
use nixfleet_jobs::record::{Record, Unread};
use nixfleet_os::sync::{Mutex, MutexGuard, PoisonError};
use nixfleet_os::threads::Condition;
use nixfleet_os::{Clock, Machine, planted};

use crate::jobs::answered;

/// How often to try to read what could not be read at the start. A missing permission or a broken disk lasts for
/// minutes; too many open files, for less.
const RETRY: Duration = Duration::from_secs(10);

/// How often to try again to write what could not be written: soon after there is room on a full disk, and at the cost
/// of one file that cannot be made.
const WRITE_RETRY: Duration = Duration::from_secs(2);

/// Orders that may wait for the thread. Each may take seconds, and there are two at most for each job.
const MAX_LENT: usize = 4;

/// What an earlier agent wrote and could not be read at the start, for a reason that may pass.
#[derive(Debug, Clone, Default)]
pub struct Backlog {
    /// Records of jobs.
    pub unread: Unread,
    /// The file with the requests that were answered.
    pub answers: bool,
}

impl Backlog {
    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.unread.is_empty() && !self.answers
    }
}

/// What is to be done next, in this order.
pub(super) struct Work {
    /// Orders for which no other thread was to be had, with their spans.
    pub(super) orders: Vec<(Box<dyn FnOnce() + Send>, Span)>,
    /// The requests that were answered. Before a record is removed: its request must not be forgotten in between.
    pub(super) answered: Option<(answered::File, Span)>,
    /// The newest record of each job, with the job's span; none: remove it.
    pub(super) records: BTreeMap<JobId, (Option<Record>, Span)>,
    /// The file of an earlier agent with answers is not read yet, so none can be written.
    pub(super) unread: bool,
    /// Try to read the backlog.
    pub(super) retry: bool,
}

/// Of several records of one job only the newest waits. One thread serves it.
pub(super) struct WriteQueue {
    clock: Clock,
    waiting: Mutex<Waiting>,
    /// Notified when there is something to do, and when all is done.
    changed: Condition,
}

#[derive(Default)]
struct Waiting {
    orders: Vec<(Box<dyn FnOnce() + Send>, Span)>,
    records: BTreeMap<JobId, (Option<Record>, Span)>,
    answered: Option<(answered::File, Span)>,
    backlog: Backlog,
    /// When to try to read the backlog; none without one.
    retry_at: Option<Instant>,
    /// Jobs of this agent, as long as the names of the records of an earlier one are not known.
    own: BTreeSet<JobId>,
    /// When to try again to write what could not be written; none if all was.
    again_at: Option<Instant>,
    /// Work was handed out and is not done.
    writing: bool,
    closed: bool,
    /// The work was handed out after the close: there is no further attempt.
    is_last: bool,
}

impl Waiting {
    /// While the file of an earlier agent is not read, nothing is written over it.
    fn has_work(&self) -> bool {
        let writes = !self.records.is_empty() || (self.answered.is_some() && !self.keeps_answers());
        writes || !self.orders.is_empty()
    }

    fn keeps_answers(&self) -> bool {
        self.backlog.answers && !planted!("write-over-the-unread")
    }

    fn take(&mut self, retry: bool) -> Work {
        self.writing = !planted!("not-writing");
        self.is_last = self.closed;
        let unread = self.keeps_answers();
        Work {
            orders: std::mem::take(&mut self.orders),
            answered: if unread { None } else { self.answered.take() },
            records: std::mem::take(&mut self.records),
            unread,
            retry,
        }
    }
}

impl WriteQueue {
    pub(super) fn new(machine: &Machine) -> Self {
        let changed = machine.threads.condition();
        Self { clock: machine.clock.clone(), waiting: Mutex::default(), changed }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        if planted!("notify-before-the-change") {
            self.changed.notify_all();
            return change(&mut self.lock());
        }
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Writes a record, or removes it.
    pub(super) fn put(&self, id: JobId, record: Option<Record>) {
        let newest = (record, Span::current());
        self.change(|waiting| {
            if planted!("older-record-wins") {
                waiting.records.entry(id).or_insert(newest);
            } else {
                waiting.records.insert(id, newest);
            }
        });
    }

    pub(super) fn put_answered(&self, answered: answered::File) {
        let newest = (answered, Span::current());
        self.change(|waiting| waiting.answered = Some(newest));
    }

    /// Carries out an order on the thread that serves, before it writes on. Returns false if too many of them wait.
    pub(super) fn lend(&self, order: impl FnOnce() + Send + 'static) -> bool {
        let order: (Box<dyn FnOnce() + Send>, Span) = (Box::new(order), Span::current());
        let mut waiting = self.lock();
        let has_room = waiting.orders.len() < MAX_LENT;
        if has_room {
            waiting.orders.push(order);
        }
        drop(waiting);
        self.changed.notify_all();
        has_room
    }

    /// This agent has accepted a job.
    pub(super) fn accepted(&self, id: &JobId) {
        let mut waiting = self.lock();
        if waiting.backlog.unread.folder {
            waiting.own.insert(id.clone());
        }
    }

    /// The record of a job was removed.
    pub(super) fn forgotten(&self, id: &JobId) {
        self.lock().own.remove(id);
    }

    /// Tries again, now and then, to read the backlog.
    pub(super) fn retry(&self, backlog: Backlog) {
        let at = (!backlog.is_empty()).then(|| self.clock.instant() + RETRY);
        self.change(|waiting| {
            if !backlog.unread.folder {
                waiting.own.clear();
            }
            (waiting.backlog, waiting.retry_at) = (backlog, at);
        });
    }

    /// What is still to be read, and the jobs that are not among it.
    pub(super) fn backlog(&self) -> (Backlog, BTreeSet<JobId>) {
        let waiting = self.lock();
        (waiting.backlog.clone(), waiting.own.clone())
    }

    /// Nothing more is put. What could not be written is tried once more, and [`Self::serve`] returns.
    pub(super) fn close(&self) {
        self.change(|waiting| waiting.closed = true);
    }

    /// Waits until everything that was put is done, at most `limit`.
    pub(super) fn wait_until_idle(&self, limit: Duration) {
        let busy = |waiting: &mut Waiting| {
            waiting.writing || waiting.has_work() || (waiting.closed && waiting.again_at.is_some())
        };
        drop(self.changed.wait_while(&self.waiting, Some(limit), busy));
    }

    /// Hands out work until the queue is closed. `carry_out` returns whether something could not be written: it is
    /// called again soon, and a last time after the close.
    pub(super) fn serve(&self, mut carry_out: impl FnMut(Work) -> bool) {
        while let Some(work) = self.next() {
            let failed = carry_out(work) && !planted!("give-up");
            let again_at = failed.then(|| self.clock.instant() + WRITE_RETRY);
            let mut waiting = self.lock();
            waiting.again_at = again_at.filter(|_| !waiting.is_last);
            waiting.writing = false;
            drop(waiting);
            if !planted!("silently-done") {
                self.changed.notify_all();
            }
        }
    }

    /// Waits for work. None: the queue is closed, and there is none left.
    fn next(&self) -> Option<Work> {
        loop {
            let (retry_at, again_at) = {
                let waiting = self.lock();
                (waiting.retry_at, waiting.again_at)
            };
            let wake_at = retry_at.into_iter().chain(again_at).min();
            let limit = wake_at.map(|at| at.saturating_duration_since(self.clock.instant()));
            let idle = |waiting: &mut Waiting| {
                !waiting.has_work() && !waiting.closed && waiting.retry_at == retry_at
            };
            let mut waiting = self.changed.wait_while(&self.waiting, limit, idle);
            let now = self.clock.instant();
            // Also while there is work all the time, such as the positions of a command that writes.
            let retry = !waiting.closed && waiting.retry_at.is_some_and(|at| now >= at);
            let again = waiting.again_at.is_some_and(|at| waiting.closed || now >= at);
            if retry || again || waiting.has_work() {
                return Some(waiting.take(retry));
            }
            if waiting.closed {
                return None;
            }
        }
    }
}

#[cfg(all(test, feature = "models"))]
mod models;
#[cfg(test)]
mod tests;
