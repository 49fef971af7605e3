//! The jobs this agent accepted, and how much of each the dashboard has been told.
//!
//! ```text
//! accept -> launching -> running -> status sent -> proven (pong) -> forgotten
//!               '-> failed ----------^
//! ```
//!
//! The newest job occupies the slot until its status has been queued; older ones are only waiting
//! for the proof that a dashboard has read their end. No state in here outlives what is on disk: a
//! new agent builds the same list from its records.

use std::collections::VecDeque;

use tokio::sync::watch;

use super::admission::Current;
use super::executor::Executor;
use super::follower::{Followed, Follower, Live};
use nixfleet_jobs::JobId;
use nixfleet_jobs::Urgency;
use nixfleet_jobs::record::Record;
use nixfleet_jobs::spec::{JobResult, Outcome};
use nixfleet_protocol::{Status, StatusKind};

#[cfg(test)]
mod tests;

/// Jobs that may wait for a proof. A dashboard that never answers a ping proves nothing; the
/// oldest is then forgotten.
const UNPROVEN: usize = 16;

/// Ended requests whose status is kept for a dashboard that repeats one by its id.
const REMEMBERED: usize = 16;

#[derive(Debug)]
enum Phase {
    /// The order is out; a stop that came meanwhile waits here.
    Launching(Option<Urgency>),
    /// There is a job to follow.
    Following(Follower),
    /// There is none, for this reason.
    Failed(String),
}

#[derive(Debug)]
struct Job {
    record: Record,
    phase: Phase,
    /// Its status is on its way, in this session.
    status_sent: bool,
    /// Its status has been on its way, in any session: it no longer occupies the slot.
    finished: bool,
}

/// The jobs, oldest first, and the executor that takes orders for them.
#[derive(Debug)]
pub struct JobTable {
    executor: Box<dyn Executor>,
    jobs: VecDeque<Job>,
    ended: VecDeque<(String, Status)>,
}

/// Something to tell the dashboard.
#[derive(Debug)]
pub struct JobEvent {
    /// Of this job.
    pub id: JobId,
    /// Its command.
    pub command: String,
    /// As [`Record::announced`].
    pub announced: bool,
    /// This.
    pub what: Followed,
}

impl JobTable {
    /// Takes up the jobs of an earlier agent.
    pub fn resume(records: Vec<Record>, executor: Box<dyn Executor>) -> Self {
        let jobs = records.into_iter().map(|record| {
            let phase = Phase::Following(executor.follow(&record.id, record.delivered_seq, Live::default()));
            Job { record, phase, status_sent: false, finished: false }
        });
        let jobs = jobs.collect();
        Self { executor, jobs, ended: VecDeque::new() }
    }

    /// The good end of a reboot, which is told before it begins.
    pub fn rebooting() -> Status {
        Status::answer("reboot", StatusKind::Ok, 0, "Reboot: the machine is going down")
    }

    /// A job whose good end was told before it began has come to it: it is history.
    pub fn announced_ended(&mut self, id: &JobId) {
        if let Some(record) = self.find(id).map(|job| job.record.clone()) {
            self.carried_out(record);
        }
        self.proven_status(id);
    }

    /// Keeps the answer to a request whose job needs no following any more: a dashboard may repeat it.
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
        let pid = match &job.phase {
            Phase::Following(follower) => follower.live.borrow().pid,
            Phase::Launching(_) | Phase::Failed(_) => None,
        };
        let Record { command, command_id, accepted_at, .. } = &job.record;
        Some(Current { command, command_id: command_id.as_deref(), pid, accepted_at })
    }

    /// Waits for the first look at the current command: a picked-up one has a process already.
    pub async fn looked_at(&self) {
        if let Some(mut live) = self.live() {
            live.wait_for(|live| *live != Live::default()).await.map(drop).ok();
        }
    }

    /// The record of the command that occupies the slot.
    pub fn current_record(&self) -> Option<&Record> {
        self.slot().map(|job| &job.record)
    }

    fn slot(&self) -> Option<&Job> {
        self.jobs.back().filter(|job| !job.finished)
    }

    /// Whether the current command may yet get a process id.
    pub fn starting(&self) -> bool {
        self.slot().is_some_and(|job| match &job.phase {
            Phase::Launching(_) => true,
            Phase::Following(follower) => *follower.live.borrow() == Live::default(),
            Phase::Failed(_) => false,
        })
    }

    /// Occupies the slot and orders the launch.
    pub fn accept(&mut self, record: Record) {
        if self.jobs.len() >= UNPROVEN
            && let Some(oldest) = self.jobs.pop_front()
        {
            tracing::warn!(job = %oldest.record.id, "The dashboard never proved that it read the end of this job, forgetting it.");
            self.executor.forget(&oldest.record.id);
        }
        self.executor.launch(record.clone());
        self.jobs.push_back(Job {
            record,
            phase: Phase::Launching(None),
            status_sent: false,
            finished: false,
        });
    }

    /// The order went through: follows the job.
    pub fn launched(&mut self, id: &JobId) {
        if let Some(job) = self.jobs.iter_mut().find(|job| job.record.id == *id)
            && let Phase::Launching(stop) = job.phase
        {
            job.phase = Phase::Following(self.executor.follow(id, job.record.delivered_seq, Live::default()));
            if let Some(urgency) = stop {
                self.executor.end(&job.record.instance(), urgency);
            }
        }
    }

    /// The order failed.
    pub fn not_launched(&mut self, id: &JobId, why: String) {
        if let Some(job) = self.find(id) {
            job.phase = Phase::Failed(why);
        }
    }

    /// Ends the current command. False: there is none.
    pub fn end(&mut self, urgency: Urgency) -> bool {
        let Some(job) = self.jobs.back_mut().filter(|job| !job.finished) else { return false };
        match &mut job.phase {
            Phase::Launching(stop) => *stop = Some(urgency),
            Phase::Following(_) => self.executor.end(&job.record.instance(), urgency),
            Phase::Failed(_) => {}
        }
        true
    }

    fn find(&mut self, id: &JobId) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.record.id == *id)
    }

    /// Waits for the next thing to tell, job by job in their order.
    ///
    /// Cancel-safe: an item is taken out of its channel and returned in one step.
    pub async fn next(&mut self) -> JobEvent {
        // Behind a job that is still being launched nothing can be, it is the newest.
        let Some(job) = self.jobs.iter_mut().find(|job| !job.status_sent) else {
            return std::future::pending().await;
        };
        let Record { id, command, announced, .. } = job.record.clone();
        let what = match &mut job.phase {
            Phase::Launching(_) => std::future::pending().await,
            Phase::Failed(why) => {
                Followed::Ended(Box::new(JobResult::without_supervisor(Outcome::NotStarted, why.clone(), 0)))
            }
            Phase::Following(follower) => follower.items.recv().await.unwrap_or_else(|| {
                // Its thread is gone without an end, which only a bug can do.
                let why = "the agent lost track of this job".to_owned();
                let result = JobResult::without_supervisor(Outcome::Lost, why, job.record.delivered_seq);
                Followed::Ended(Box::new(result))
            }),
        };
        JobEvent { id, command, announced, what }
    }

    /// What runs, of the current job, to wait for changes of it.
    pub fn live(&self) -> Option<watch::Receiver<Live>> {
        match &self.slot()?.phase {
            Phase::Following(follower) => Some(follower.live.clone()),
            Phase::Launching(_) | Phase::Failed(_) => None,
        }
    }

    /// The status of a job has been queued. True for the first time, which is when the job is over.
    pub fn status_sent(&mut self, id: &JobId, status: &Status) -> bool {
        let Some(job) = self.find(id) else { return false };
        job.status_sent = true;
        let first = !std::mem::replace(&mut job.finished, true);
        if let Some(command_id) = job.record.command_id.clone() {
            self.remember(command_id, status.clone());
        }
        first
    }

    /// The status that ended the request with this id, if it was told.
    pub fn ended(&self, command_id: &str) -> Option<&Status> {
        self.ended.iter().find(|(id, _)| id == command_id).map(|(_, status)| status)
    }

    /// A dashboard has read the entries up to `seq`; returns the record to keep.
    pub fn proven_lines(&mut self, id: &JobId, seq: u64) -> Option<Record> {
        let job = self.find(id)?;
        job.record.delivered_seq = job.record.delivered_seq.max(seq);
        Some(job.record.clone())
    }

    /// A dashboard has read the status: the job is history.
    pub fn proven_status(&mut self, id: &JobId) {
        self.jobs.retain(|job| job.record.id != *id);
        self.executor.forget(id);
    }

    /// Keeps a newer record.
    pub fn save(&self, record: Record) {
        self.executor.save(record);
    }

    /// The connection is gone: whatever has no proof will be told again.
    pub fn rewind(&mut self) {
        for job in &mut self.jobs {
            job.status_sent = false;
            if let Phase::Following(follower) = &mut job.phase {
                // The first beat of the next connection must not have to wait for a look.
                let known = *follower.live.borrow();
                *follower = self.executor.follow(&job.record.id, job.record.delivered_seq, known);
            }
        }
    }
}
