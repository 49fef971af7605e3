//! The thread that writes what the agent has to know after a restart: the records of jobs, and the requests that were
//! answered. It also reads again what an earlier agent wrote and this one could not read at its start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::Span;

use nixfleet_jobs::record::{Record, Records, Unread};
use nixfleet_jobs::{JobId, JobsDir, atomic_file};
use nixfleet_os::planted;
use nixfleet_os::threads::Condition;

use super::ExecutorEvent;
use crate::jobs::answered::{self, Answered};
use crate::jobs::follower::send;

/// How often to try to read what could not be read at the start. A missing permission or a broken disk lasts for
/// minutes; too many open files, for less.
const RETRY: Duration = Duration::from_secs(10);

/// How often to try again to write what could not be written: soon after there is room on a full disk, and at the cost
/// of one file that cannot be made.
const WRITE_RETRY: Duration = Duration::from_secs(2);

/// Records that wait for their removal until the answers are written, at most: as many as a dashboard has open at a
/// time on a host, and small files. Beyond that the oldest are removed, and their requests may run again.
const MAX_HELD: usize = 64;

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

/// Writes to disk on its own thread. Of several records of one job only the newest is written. What cannot be written is
/// tried again: a full disk may have room later. A record is removed only when the answers are on disk, so that the next
/// agent knows each request of this one by its record or by its answer.
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
    /// Jobs of this agent, as long as the names of the records of an earlier one are not known.
    own: BTreeSet<JobId>,
    writing: bool,
    /// The agent ends: what could not be written is tried for the last time.
    ending: bool,
}

/// What could not be written. Only the thread has it.
#[derive(Default)]
struct Failed {
    /// As in [`Queue`].
    records: BTreeMap<JobId, (Option<Record>, Span)>,
    answered: Option<(answered::File, Span)>,
}

impl Failed {
    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.answered.is_none()
    }
}

impl Queue {
    fn has_work(&self) -> bool {
        self.ending || !self.records.is_empty() || (self.answered.is_some() && !self.backlog.answers)
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

    /// The agent ends: writes what there is, for so long at most.
    pub(super) fn finish(&self, limit: Duration) {
        self.lock().ending = true;
        self.wake.notify_all();
        let busy = |queue: &mut Queue| queue.writing || queue.has_work();
        drop(self.wake.wait_while(&self.queue, Some(limit), busy));
    }

    pub(super) fn run(&self) {
        let (mut backlog, mut failed) = (false, Failed::default());
        loop {
            let limit = if failed.is_empty() { backlog.then_some(RETRY) } else { Some(WRITE_RETRY) };
            let idle = |queue: &mut Queue| !queue.has_work() && queue.backlog.is_empty() != backlog;
            let mut queue = self.wake.wait_while(&self.queue, limit, idle);
            let retry = backlog && !queue.has_work();
            backlog = !queue.backlog.is_empty();
            let records = std::mem::take(&mut queue.records);
            let unread = queue.backlog.answers;
            let answered = if unread { None } else { queue.answered.take() };
            queue.writing = true;
            drop(queue);
            // Before a record is removed: its request must not be forgotten in between.
            self.write_answers(&mut failed, answered);
            let held = (unread || failed.answered.is_some()) && !planted!("forget-before-the-answer");
            self.write_records(&mut failed, records, held);
            if retry {
                self.read_backlog();
            }
            let mut queue = self.lock();
            (queue.writing, queue.ending) = (false, false);
            drop(queue);
            self.wake.notify_all();
        }
    }

    /// Writes the newest answers, also those that could not be written before.
    fn write_answers(&self, failed: &mut Failed, newer: Option<(answered::File, Span)>) {
        let again = failed.answered.is_some();
        let Some((answered, span)) = newer.or_else(|| failed.answered.take()) else { return };
        let stored = atomic_file::store_on(self.jobs.disk(), &self.answered, &answered);
        let path = self.answered.display();
        failed.answered = span.in_scope(|| match stored {
            Ok(()) if again => {
                tracing::info!("{path} is up to date again.");
                None
            }
            Ok(()) => None,
            Err(err) => {
                if !again {
                    tracing::warn!(
                        "Cannot write {path}, trying again until that is possible; commands may be told twice after a \
                         restart: {err}"
                    );
                }
                Some((answered, Span::current()))
            }
        });
    }

    /// Writes and removes records, also those of an earlier attempt. `held`: none is removed now.
    fn write_records(&self, failed: &mut Failed, newer: BTreeMap<JobId, (Option<Record>, Span)>, held: bool) {
        let mut again: BTreeSet<JobId> = failed.records.keys().cloned().collect();
        again.retain(|id| !newer.contains_key(id));
        let mut records = std::mem::take(&mut failed.records);
        records.extend(newer);
        let removals = records.values().filter(|(record, _)| record.is_none()).count();
        let mut surplus = removals.saturating_sub(MAX_HELD);
        for (id, (record, span)) in records {
            let is_surplus = record.is_none() && surplus > 0;
            surplus -= usize::from(is_surplus);
            let waits = held && record.is_none() && !is_surplus;
            let done = waits
                || span.in_scope(|| self.write(&id, record.as_ref(), again.contains(&id)))
                || is_surplus;
            if waits || !done {
                failed.records.insert(id, (record, span));
            }
        }
    }

    /// Writes or removes a record. `again`: it was tried before, and that was said. False if it failed.
    fn write(&self, id: &JobId, record: Option<&Record>, again: bool) -> bool {
        let done = match record {
            Some(record) => self.records.save(record),
            None => self.records.forget(id),
        };
        if let Err(err) = &done
            && !again
        {
            let folder = self.records.path().display();
            tracing::warn!(
                "Cannot keep the job's record in {folder} up to date, trying again until that is possible; it may be \
                 told twice after a restart: {err}"
            );
        }
        done.is_ok()
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
        queue.backlog = Backlog { unread, answers: answers && older.is_none() };
        drop(queue);
        if let Some(older) = older {
            send(self.jobs.machine(), &self.events, ExecutorEvent::FoundAnswers(older));
        }
    }
}
