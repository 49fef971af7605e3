//! The jobs that this agent has accepted, and how much of each the dashboard has received.
//!
//! ```text
//! accept -> launching -> running -> status sent -> status delivered (pong) -> forgotten
//!               '-> failed ----------^
//! ```
//!
//! One command runs at a time: the newest job occupies the only slot until its status has been queued.
//! Older jobs only wait for the receipt for their status. Everything that has to survive the agent is in
//! the records on disk: the next agent builds the same table from them.
//!
//! Each job has a span, so that its log lines carry its id and its command.
//!
//! The table owns its [`Executor`] and gives all orders to it, so no other code needs the executor.

use std::collections::VecDeque;

use tokio::sync::watch;
use tracing::Span;

use nixfleet_jobs::record::Record;
use nixfleet_jobs::spec::{JobResult, Outcome};
use nixfleet_jobs::{JobId, Urgency};
use nixfleet_protocol::{Status, StatusKind};

use super::admission::Current;
use super::executor::Executor;
use super::follower::{Followed, Follower, Live};

#[cfg(test)]
mod tests;

/// Jobs in the table. A dashboard that never answers a ping confirms no status; beyond this number the
/// oldest job is forgotten.
const MAX_JOBS: usize = 16;

/// Ended requests whose status is kept, in case the dashboard repeats one with the same id.
const REMEMBERED: usize = 16;

#[derive(Debug)]
enum Phase {
    /// The launch is ordered. A request to end the job waits here until it is launched, with the command that
    /// asked for it.
    Launching(Option<(Urgency, String)>),
    /// The job was launched and is followed.
    Following(Follower),
    /// The launch failed, for this reason.
    Failed(String),
}

#[derive(Debug)]
struct Job {
    record: Record,
    phase: Phase,
    /// Its status has been queued in this session.
    status_sent: bool,
    /// Its status has been queued in some session: the job no longer occupies the slot.
    finished: bool,
    /// The dashboard has read more of its log than the record on disk says.
    unsaved: bool,
    span: Span,
}

/// The accepted jobs, oldest first, and the executor that carries out the orders for them.
#[derive(Debug)]
pub struct JobTable {
    executor: Box<dyn Executor>,
    jobs: VecDeque<Job>,
    /// Ids of ended requests and their statuses, oldest first.
    ended: VecDeque<(String, Status)>,
}

/// Output or end of a job, to be sent to the dashboard.
#[derive(Debug)]
pub struct JobEvent {
    /// The job's id.
    pub id: JobId,
    /// The job's command.
    pub command: String,
    /// As [`Record::announced`].
    pub announced: bool,
    /// The output, or the end.
    pub what: Followed,
}

impl JobTable {
    /// A table with the jobs of an earlier agent, which are followed again.
    pub fn resume(records: Vec<Record>, executor: Box<dyn Executor>) -> Self {
        let jobs = records.into_iter().map(|record| {
            let span = record.span();
            let follow = || executor.follow(&record.id, record.delivered_seq, Live::default());
            let phase = Phase::Following(span.in_scope(follow));
            Job { record, phase, status_sent: false, finished: false, unsaved: false, span }
        });
        let jobs = jobs.collect();
        Self { executor, jobs, ended: VecDeque::new() }
    }

    /// The status of success of a reboot, which is sent before the reboot starts.
    pub fn rebooting() -> Status {
        Status::answer("reboot", StatusKind::Ok, 0, "Reboot: the machine is going down")
    }

    /// The announced job succeeded. Its status was sent before, so it is forgotten.
    pub fn announced_ended(&mut self, id: &JobId) {
        if let Some(record) = self.find(id).map(|job| job.record.clone()) {
            self.carried_out(record);
        }
        self.status_delivered(id);
    }

    /// Remembers the status of an announced job that has succeeded, in case the dashboard repeats the request.
    pub fn carried_out(&mut self, record: Record) {
        if let Some(id) = record.command_id {
            self.remember(id, Self::rebooting());
        }
    }

    fn remember(&mut self, command_id: String, status: Status) {
        self.ended.retain(|(id, _)| *id != command_id);
        self.ended.push_back((command_id, status));
        if self.ended.len() > REMEMBERED {
            self.ended.pop_front();
        }
    }

    /// The command that occupies the slot.
    pub fn current(&self) -> Option<Current<'_>> {
        let job = self.slot()?;
        let (pid, ended) = match &job.phase {
            Phase::Following(follower) => (follower.live.borrow().pid, follower.live.borrow().ended),
            Phase::Launching(_) => (None, false),
            Phase::Failed(_) => (None, true),
        };
        let Record { command, command_id, accepted_at, .. } = &job.record;
        Some(Current { command, command_id: command_id.as_deref(), pid, ended, accepted_at })
    }

    /// Waits until the state of the current command has been read once, so that its process id is known.
    pub async fn looked_at(&self) {
        if let Some(mut live) = self.live() {
            live.wait_for(|live| *live != Live::default()).await.map(drop).ok();
        }
    }

    /// The record of the command that occupies the slot.
    pub fn current_record(&self) -> Option<&Record> {
        self.slot().map(|job| &job.record)
    }

    /// The span for log lines about a job.
    pub fn span(&self, id: &JobId) -> Span {
        let job = self.jobs.iter().find(|job| job.record.id == *id);
        // The table has forgotten the job, so its command is not known any more.
        job.map_or_else(|| tracing::error_span!(parent: None, "job", %id), |job| job.span.clone())
    }

    /// The span for log lines about the command that occupies the slot. Without one it changes nothing.
    pub fn current_span(&self) -> Span {
        self.slot().map_or_else(Span::none, |job| job.span.clone())
    }

    fn slot(&self) -> Option<&Job> {
        self.jobs.back().filter(|job| !job.finished)
    }

    /// Whether the current command is starting, so that its process id will be known soon.
    pub fn starting(&self) -> bool {
        self.slot().is_some_and(|job| match &job.phase {
            Phase::Launching(_) => true,
            Phase::Following(follower) => *follower.live.borrow() == Live::default(),
            Phase::Failed(_) => false,
        })
    }

    /// Accepts a job: it occupies the slot, and its launch is ordered.
    pub fn accept(&mut self, record: Record) {
        if self.jobs.len() >= MAX_JOBS
            && let Some(oldest) = self.jobs.pop_front()
        {
            oldest.span.in_scope(|| {
                tracing::warn!("The dashboard never proved that it read the end of this job, forgetting it.");
                self.executor.forget(&oldest.record.id);
            });
        }
        let span = record.span();
        span.in_scope(|| {
            tracing::info!("Accepted a command.");
            self.executor.launch(record.clone());
        });
        let phase = Phase::Launching(None);
        self.jobs.push_back(Job { record, phase, status_sent: false, finished: false, unsaved: false, span });
    }

    /// The job was launched: it is followed from now on.
    pub fn launched(&mut self, id: &JobId) {
        if let Some(job) = self.jobs.iter_mut().find(|job| job.record.id == *id)
            && let Phase::Launching(stop) = &mut job.phase
        {
            let stop = stop.take();
            job.span.in_scope(|| {
                let follower = self.executor.follow(id, job.record.delivered_seq, Live::default());
                job.phase = Phase::Following(follower);
                if let Some((urgency, asked)) = stop {
                    self.executor.end(&job.record.instance(), urgency, &asked);
                }
            });
        }
    }

    /// The launch failed.
    pub fn not_launched(&mut self, id: &JobId, why: String) {
        if let Some(job) = self.find(id) {
            job.phase = Phase::Failed(why);
        }
    }

    /// Orders the end of the current command, because the command `asked`, such as `stop`, was sent. Returns
    /// false if no command runs.
    pub fn end(&mut self, urgency: Urgency, asked: &str) -> bool {
        let Some(job) = self.jobs.back_mut().filter(|job| !job.finished) else { return false };
        match &mut job.phase {
            Phase::Launching(stop) => *stop = Some((urgency, asked.to_owned())),
            Phase::Following(_) => {
                job.span.in_scope(|| self.executor.end(&job.record.instance(), urgency, asked));
            }
            Phase::Failed(_) => {}
        }
        true
    }

    fn find(&mut self, id: &JobId) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.record.id == *id)
    }

    /// Waits for the next output or end. An older job ends before the events of a newer one begin.
    ///
    /// Cancel-safe: an event is taken out of its channel and returned in one step.
    pub async fn next(&mut self) -> JobEvent {
        // A job that is still being launched is the newest one, so no other job is delayed by it.
        let Some(job) = self.jobs.iter_mut().find(|job| !job.status_sent) else {
            return std::future::pending().await;
        };
        let Record { id, command, announced, line_numbers, .. } = job.record.clone();
        let what = match &mut job.phase {
            Phase::Launching(_) => std::future::pending().await,
            Phase::Failed(why) => {
                Followed::Ended(Box::new(JobResult::without_supervisor(Outcome::NotStarted, why.clone(), 0)))
            }
            Phase::Following(follower) => follower.items.recv().await.unwrap_or_else(|| {
                // The follower's thread is gone without an end. Only a bug can cause that.
                let why = "the agent lost track of this job".to_owned();
                let result = JobResult::without_supervisor(Outcome::Lost, why, job.record.delivered_seq);
                Followed::Ended(Box::new(result))
            }),
        };
        let what = if line_numbers { what } else { what.numbered_by_position() };
        JobEvent { id, command, announced, what }
    }

    /// The state of the current command, to wait for its changes.
    pub fn live(&self) -> Option<watch::Receiver<Live>> {
        match &self.slot()?.phase {
            Phase::Following(follower) => Some(follower.live.clone()),
            Phase::Launching(_) | Phase::Failed(_) => None,
        }
    }

    /// The status of a job has been queued. Returns true the first time, which is when the job frees the
    /// slot.
    pub fn status_sent(&mut self, id: &JobId, status: &Status) -> bool {
        let Some(job) = self.find(id) else { return false };
        job.status_sent = true;
        let first = !std::mem::replace(&mut job.finished, true);
        if let Some(command_id) = job.record.command_id.clone() {
            self.remember(command_id, status.clone());
        }
        first
    }

    /// The status that ended the request with this id, if it is remembered.
    pub fn ended(&self, command_id: &str) -> Option<&Status> {
        self.ended.iter().find(|(id, _)| id == command_id).map(|(_, status)| status)
    }

    /// The dashboard has read the log entries up to `seq`. [`Self::save_positions`] writes that to disk.
    pub fn lines_delivered(&mut self, id: &JobId, seq: u64) {
        if let Some(job) = self.find(id)
            && job.record.delivered_seq < seq
        {
            job.record.delivered_seq = seq;
            job.unsaved = true;
        }
    }

    /// Whether a job has a position that is not on disk.
    pub fn has_unsaved_positions(&self) -> bool {
        self.jobs.iter().any(|job| job.unsaved)
    }

    /// Orders the positions that are not on disk to be saved, those of all jobs.
    pub fn save_positions(&mut self) {
        for job in self.jobs.iter_mut().filter(|job| job.unsaved) {
            job.unsaved = false;
            job.span.in_scope(|| self.executor.save(job.record.clone()));
        }
    }

    /// The dashboard has read the status: the job is forgotten.
    pub fn status_delivered(&mut self, id: &JobId) {
        let span = self.span(id);
        self.jobs.retain(|job| job.record.id != *id);
        span.in_scope(|| self.executor.forget(id));
    }

    /// The connection has ended: everything without a receipt will be sent again on the next one.
    pub fn rewind(&mut self) {
        for job in &mut self.jobs {
            job.status_sent = false;
            if let Phase::Following(follower) = &mut job.phase
                && !follower.items.rewind(job.record.delivered_seq)
            {
                // The thread has told the end. The first heartbeat of the next connection needs the process id before the folder is read.
                let known = *follower.live.borrow();
                let follow = || self.executor.follow(&job.record.id, job.record.delivered_seq, known);
                *follower = job.span.in_scope(follow);
            }
        }
    }
}
