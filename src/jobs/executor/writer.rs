//! The thread that writes what the agent has to know after a restart: the records of jobs, and the requests that were
//! answered. It also reads again what an earlier agent wrote and this one could not read at its start.

use std::path::PathBuf;

use tokio::sync::mpsc;

use nixfleet_jobs::record::{Record, Records};
use nixfleet_jobs::{JobId, JobsDir, atomic_file};

use super::ExecutorEvent;
use super::write_queue::{Backlog, Work, WriteQueue};
use crate::jobs::answered::{self, Answered};
use crate::jobs::follower::send;

/// Carries out what waits in its queue.
pub(super) struct RecordWriter {
    pub(super) records: Records,
    pub(super) queue: WriteQueue,
    jobs: JobsDir,
    /// The file with the requests that were answered.
    answered: PathBuf,
    events: mpsc::Sender<ExecutorEvent>,
}

impl RecordWriter {
    pub(super) fn new(records: Records, jobs: JobsDir, events: mpsc::Sender<ExecutorEvent>) -> Self {
        let queue = WriteQueue::new(jobs.machine());
        let answered = records.path().with_file_name(answered::FILE);
        Self { records, queue, jobs, answered, events }
    }

    /// Ends when the queue is closed.
    pub(super) fn run(&self) {
        self.queue.serve(|work| self.carry_out(work));
    }

    fn carry_out(&self, work: Work) {
        for (order, span) in work.orders {
            span.in_scope(order);
        }
        if let Some((answered, span)) = work.answered {
            span.in_scope(|| self.write_answered(&answered));
        }
        for (id, (record, span)) in work.records {
            span.in_scope(|| self.write(&id, record.as_ref()));
        }
        if work.retry {
            self.read_backlog();
        }
    }

    fn write(&self, id: &JobId, record: Option<&Record>) {
        let done = match record {
            Some(record) => self.records.save(record),
            None => self.records.forget(id).map(|()| self.queue.forgotten(id)),
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
        let (Backlog { mut unread, answers }, own) = self.queue.backlog();
        for record in self.records.open_unread(&mut unread, &own, &self.jobs) {
            send(self.jobs.machine(), &self.events, ExecutorEvent::Found(Box::new(record)));
        }
        let older = if answers { Answered::load(self.jobs.disk(), &self.answered).ok() } else { None };
        self.queue.retry(Backlog { unread, answers: answers && older.is_none() });
        if let Some(older) = older {
            send(self.jobs.machine(), &self.events, ExecutorEvent::FoundAnswers(older));
        }
    }
}
