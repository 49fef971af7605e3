//! The thread that writes what the agent has to know after a restart: the records of jobs, and the requests that were
//! answered. It also reads again what an earlier agent wrote and this one could not read at its start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::Span;

use nixfleet_jobs::record::{Record, Records, Unread};
use nixfleet_jobs::{JobId, JobsDir, atomic_file};
use nixfleet_os::threads::Condition;

use super::ExecutorEvent;
use crate::jobs::answered::{self, Answered};
use crate::jobs::follower::send;

/// How often to try to read what could not be read at the start. A missing permission or a broken disk lasts for
/// minutes; too many open files, for less.
const RETRY: Duration = Duration::from_secs(10);

/// Orders that may wait for this thread. Each may take seconds, and there are two at most for each job.
const MAX_LENT: usize = 4;

/// What an earlier agent wrote and could not be read at the start, for a reason that may pass.
#[derive(Debug, Default)]
pub struct Backlog {
    /// Records of jobs.
    pub unread: Unread,
    /// The file with the requests that were answered.
    pub answers: bool,
}

impl Backlog {
    fn is_empty(&self) -> bool {
        self.unread.is_empty() && !self.answers
    }
}

/// Writes to disk on its own thread. Of several records of one job only the newest is written.
pub(super) struct RecordWriter {
    pub(super) records: Records,
    jobs: JobsDir,
    /// The file with the requests that were answered.
    answered: PathBuf,
    events: mpsc::Sender<ExecutorEvent>,
    queue: Mutex<Queue>,
    /// Notified when there is something to write, and when all is written.
    wake: Condition,
}

#[derive(Default)]
struct Queue {
    /// The newest record of each job, with the job's span; none: remove it.
    records: BTreeMap<JobId, (Option<Record>, Span)>,
    answered: Option<(answered::File, Span)>,
    backlog: Backlog,
    /// Orders for which no other thread was to be had, with their spans.
    orders: Vec<(Box<dyn FnOnce() + Send>, Span)>,
    /// Jobs of this agent, as long as the names of the records of an earlier one are not known.
    own: BTreeSet<JobId>,
    writing: bool,
}

impl Queue {
    fn has_work(&self) -> bool {
        !self.orders.is_empty()
            || !self.records.is_empty()
            || (self.answered.is_some() && !self.backlog.answers)
    }
}

impl RecordWriter {
    pub(super) fn new(records: Records, jobs: JobsDir, events: mpsc::Sender<ExecutorEvent>) -> Self {
        let wake = jobs.machine().threads.condition();
        let answered = records.path().with_file_name(answered::FILE);
        Self { records, jobs, answered, events, queue: Mutex::default(), wake }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a record, or removes it.
    pub(super) fn put(&self, id: JobId, record: Option<Record>) {
        self.lock().records.insert(id, (record, Span::current()));
        self.wake.notify_all();
    }

    pub(super) fn put_answered(&self, answered: answered::File) {
        self.lock().answered = Some((answered, Span::current()));
        self.wake.notify_all();
    }

    /// Carries out an order on this thread, before it writes on. Returns false if too many of them wait.
    pub(super) fn lend(&self, order: impl FnOnce() + Send + 'static) -> bool {
        let mut queue = self.lock();
        let has_room = queue.orders.len() < MAX_LENT;
        if has_room {
            queue.orders.push((Box::new(order), Span::current()));
        }
        drop(queue);
        self.wake.notify_all();
        has_room
    }

    /// This agent has accepted a job.
    pub(super) fn accepted(&self, id: &JobId) {
        let mut queue = self.lock();
        if queue.backlog.unread.folder {
            queue.own.insert(id.clone());
        }
    }

    pub(super) fn retry(&self, backlog: Backlog) {
        self.lock().backlog = backlog;
        self.wake.notify_all();
    }

    pub(super) fn wait_until_idle(&self, limit: Duration) {
        let busy = |queue: &mut Queue| queue.writing || queue.has_work();
        drop(self.wake.wait_while(&self.queue, Some(limit), busy));
    }

    pub(super) fn run(&self) {
        let clock = self.jobs.clock();
        // When to read the backlog; none while there is none.
        let mut retry_at: Option<Instant> = None;
        loop {
            let limit = retry_at.map(|at| at.saturating_duration_since(clock.instant()));
            let idle =
                |queue: &mut Queue| !queue.has_work() && queue.backlog.is_empty() == retry_at.is_none();
            let mut queue = self.wake.wait_while(&self.queue, limit, idle);
            // Not when there is nothing to write: while output is delivered, there is, several times a second.
            let now = clock.instant();
            let retry = retry_at.is_some_and(|at| at <= now) && !queue.backlog.is_empty();
            if queue.backlog.is_empty() {
                retry_at = None;
            } else if retry || retry_at.is_none() {
                retry_at = Some(now + RETRY);
            }
            let records: Vec<_> = std::mem::take(&mut queue.records).into_iter().collect();
            let answered = if queue.backlog.answers { None } else { queue.answered.take() };
            let orders = std::mem::take(&mut queue.orders);
            queue.writing = true;
            drop(queue);
            for (order, span) in orders {
                span.in_scope(order);
            }
            // Before a record is removed: its request must not be forgotten in between.
            if let Some((answered, span)) = answered {
                span.in_scope(|| self.write_answered(&answered));
            }
            for (id, (record, span)) in records {
                span.in_scope(|| self.write(&id, record.as_ref()));
            }
            if retry {
                self.read_backlog();
            }
            self.lock().writing = false;
            self.wake.notify_all();
        }
    }

    fn write(&self, id: &JobId, record: Option<&Record>) {
        let done = match record {
            Some(record) => self.records.save(record),
            None => self.records.forget(id).map(|()| {
                self.lock().own.remove(id);
            }),
        };
        if let Err(err) = done {
            let folder = self.records.path().display();
            tracing::warn!(
                "Cannot keep the job's record in {folder} up to date, it may be told twice: {err}"
            );
        }
    }

    fn write_answered(&self, answered: &answered::File) {
        if let Err(err) = atomic_file::store_on(self.jobs.disk(), &self.answered, answered) {
            let path = self.answered.display();
            tracing::warn!(
                "Cannot write {path}, a request may run again if it is repeated after a restart: {err}"
            );
        }
    }

    /// Tries once to read what could not be read before.
    fn read_backlog(&self) {
        let (mut unread, own, answers) = {
            let queue = self.lock();
            (queue.backlog.unread.clone(), queue.own.clone(), queue.backlog.answers)
        };
        for record in self.records.open_unread(&mut unread, &own, &self.jobs) {
            send(self.jobs.machine(), &self.events, ExecutorEvent::Found(Box::new(record)));
        }
        let older = if answers { Answered::load(self.jobs.disk(), &self.answered).ok() } else { None };
        let mut queue = self.lock();
        if !unread.folder {
            queue.own.clear();
        }
        queue.backlog = Backlog { unread, answers: answers && older.is_none() };
        drop(queue);
        if let Some(older) = older {
            send(self.jobs.machine(), &self.events, ExecutorEvent::FoundAnswers(older));
        }
    }
}
