//! The thread that writes what the agent has to know after a restart: the records of jobs, and the requests that were
//! answered. It also reads again what an earlier agent wrote and this one could not read at its start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use tokio::sync::mpsc;
use tracing::Span;

use nixfleet_jobs::record::{Record, Records};
use nixfleet_jobs::{JobId, JobsDir, atomic_file};
use nixfleet_os::{planted, short};

use super::ExecutorEvent;
use super::write_queue::{Backlog, Work, WriteQueue};
use crate::jobs::answered::{self, Answered};
use crate::jobs::follower::send;

/// Records that wait for their removal until the answers are written, at most: as many as a dashboard has open at a
/// time on a host, and small files. Beyond that the oldest are removed, and their requests may run again.
const MAX_HELD: usize = 64;

/// Carries out what waits in its queue. What cannot be written is tried again: a full disk may have room later. A record
/// is removed only when the answers are on disk, so that the next agent knows each request of this one by its record or
/// by its answer.
pub(super) struct RecordWriter {
    pub(super) records: Records,
    pub(super) queue: WriteQueue,
    jobs: JobsDir,
    /// The file with the requests that were answered.
    answered: PathBuf,
    events: mpsc::Sender<ExecutorEvent>,
}

/// What could not be written. Only the thread has it.
#[derive(Default)]
struct Failed {
    /// As in [`Work`].
    records: BTreeMap<JobId, (Option<Record>, Span)>,
    answered: Option<(answered::File, Span)>,
    /// The answers of an earlier agent that were read late. The agent may put its own ones before it has added them.
    older: Option<answered::File>,
}

impl Failed {
    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.answered.is_none()
    }
}

impl RecordWriter {
    pub(super) fn new(records: Records, jobs: JobsDir, events: mpsc::Sender<ExecutorEvent>) -> Self {
        let queue = WriteQueue::new(jobs.machine());
        let answered = records.path().with_file_name(answered::FILE);
        Self { records, queue, jobs, answered, events }
    }

    /// Ends when the queue is closed.
    pub(super) fn run(&self) {
        let mut failed = Failed::default();
        self.queue.serve(|work| {
            self.carry_out(work, &mut failed);
            !failed.is_empty()
        });
    }

    fn carry_out(&self, work: Work, failed: &mut Failed) {
        for (order, span) in work.orders {
            span.in_scope(order);
        }
        // Before a record is removed: its request must not be forgotten in between.
        self.write_answers(failed, work.answered);
        let held = (work.unread || failed.answered.is_some()) && !planted!("forget-before-the-answer");
        self.write_records(failed, work.records, held);
        if work.retry {
            failed.older = self.read_backlog().or(failed.older.take());
        }
    }

    /// Writes the newest answers, also those that could not be written before.
    fn write_answers(&self, failed: &mut Failed, newer: Option<(answered::File, Span)>) {
        let again = failed.answered.is_some();
        let Some((mut answered, span)) = newer.or_else(|| failed.answered.take()) else { return };
        if let Some(older) = failed.older.take()
            && let Some(all) = answered.with_older(&older)
        {
            (answered, failed.older) = (all, Some(older));
        }
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
        // Of a job whose position changes several times a second, that is said once.
        let again: BTreeSet<JobId> = short::gather(failed.records.keys().cloned());
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
            None => self.records.forget(id).map(|()| self.queue.forgotten(id)),
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

    /// Tries once to read what could not be read before. Returns the answers, if they could be read now.
    fn read_backlog(&self) -> Option<answered::File> {
        let (Backlog { mut unread, answers }, own) = self.queue.backlog();
        for record in self.records.open_unread(&mut unread, &own, &self.jobs) {
            send(self.jobs.machine(), &self.events, ExecutorEvent::Found(Box::new(record)));
        }
        let older = if answers { Answered::load(self.jobs.disk(), &self.answered).ok() } else { None };
        let left = Backlog { unread, answers: answers && older.is_none() };
        let found_all = left.is_empty();
        self.queue.retry(left);
        let file = older.map(|mut older| {
            let file = older.file();
            send(self.jobs.machine(), &self.events, ExecutorEvent::FoundAnswers(older));
            file
        });
        if found_all {
            send(self.jobs.machine(), &self.events, ExecutorEvent::FoundAll);
        }
        file
    }
}

#[cfg(test)]
mod tests {
    use nixfleet_protocol::{Status, StatusKind};

    use super::*;

    fn answered(id: &str) -> Answered {
        let mut answered = Answered::default();
        answered.add(
            id.to_owned(),
            "pull".to_owned(),
            &Status::answer("pull", StatusKind::Ok, 0, "Pull: ok"),
        );
        answered
    }

    #[test]
    fn answers_that_are_put_before_the_older_ones_were_added_are_written_with_them() {
        let folder = tempfile::tempdir().unwrap();
        let (events, mut received) = mpsc::channel(8);
        let records = Records::new(folder.path().join("delivery"));
        let writer = RecordWriter::new(records, JobsDir::new(folder.path()), events);
        let mut older = answered("older");
        let open = Record::accept("pull".to_owned(), Some("open".to_owned()));
        assert!(older.accepted(&open));
        atomic_file::store(&writer.answered, &older.file()).unwrap();
        // It could not be read at the start.
        writer.queue.retry(Backlog { answers: true, ..Backlog::default() });
        let mut failed = Failed { older: writer.read_backlog(), ..Failed::default() };
        let Ok(ExecutorEvent::FoundAnswers(mut older)) = received.try_recv() else { panic!("no answers") };
        let known = |id: &str| {
            let found = Answered::load(writer.jobs.disk(), &writer.answered).unwrap();
            found.get(id).is_some() || found.is_open(id)
        };
        let mut put = |file: answered::File| {
            writer.write_answers(&mut failed, Some((file, Span::none())));
            failed.older.is_some()
        };
        // The agent has not taken the event yet.
        assert!(put(answered("own").file()), "they are still needed");
        assert!(known("older") && known("own") && known("open"));
        let mut merged = answered("own");
        merged.add_older(std::mem::take(&mut older));
        merged.delivered(&open.id);
        assert!(!put(merged.file()));
        assert!(known("older") && known("own") && !known("open"));
    }
}
