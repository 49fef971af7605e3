//! The jobs that this agent has accepted, and how much of each the dashboard has received.
//!
//! ```text
//! accept -> launching -> running -> over -> status sent -> status delivered (pong) -> forgotten
//!               '-> failed ----------^
//! ```
//!
//! One command runs at a time: a job occupies the only slot until its command has ended. Its output and its
//! status may take longer to reach the dashboard than it ran, and block no other command. Jobs that are over are
//! told in the order of their acceptance, before anything of a later job. Everything that has to survive the agent
//! is in the records on disk: the next agent builds the same table from them.
//!
//! Each job has a span, so that its log lines carry its id and its command.
//!
//! The table owns its [`Executor`] and gives all orders to it, so no other code needs the executor.

use std::collections::VecDeque;
use std::time::Duration;

use nixfleet_os::planted;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::Span;

use nixfleet_jobs::JobId;
use nixfleet_jobs::record::Record;
use nixfleet_jobs::spec::{JobResult, Outcome};
use nixfleet_os::text;
use nixfleet_protocol::{CommandRequest, Status};

use super::admission::Current;
use super::answered::Answered;
use super::executor::Executor;
use super::follower::{Activity, Followed, Live};
use job::{Job, Phase};

mod ending;
mod job;
mod requests;
mod seen;
mod stops;

pub use stops::{Stage, Unanswered};

#[cfg(test)]
mod tests;

/// Jobs in the table. A dashboard that never answers a ping confirms no status. Beyond this number no command is
/// accepted, because forgetting a job would lose its result.
pub const MAX_JOBS: usize = 16;

/// Longest message of a result in a record, in characters. It is for people, and a heartbeat repeats 200 of them.
const MAX_MESSAGE: usize = 4096;

/// How long a request is rejected that an earlier agent may have accepted, while its files cannot be read. A lack of
/// descriptors or memory lasts for seconds, and the files are tried again every 10 s. A missing permission lasts, and
/// must not keep a host from the command that mends it.
const UNREAD_LIMIT: Duration = Duration::from_secs(60);

/// What could not be read, and so may be asked for again.
#[derive(Debug)]
struct Unread {
    /// Until when such a request is rejected.
    until: Instant,
    /// The file of answers is among it, so any request may be one that was accepted.
    answers: bool,
    /// Jobs of the earlier agent whose status was read meanwhile: the file still has their requests as open.
    delivered: Vec<JobId>,
}

/// The accepted jobs, oldest first, and the executor that carries out the orders for them.
#[derive(Debug)]
pub struct JobTable {
    executor: Box<dyn Executor>,
    jobs: VecDeque<Job>,
    /// Requests that were answered.
    answered: Answered,
    /// The newest job of this host. The next one gets an id behind it.
    newest: Option<JobId>,
    /// Files of an earlier agent could not be read.
    unread: Option<Unread>,
}

/// A job of an earlier agent.
fn resumed(record: Record, executor: &dyn Executor) -> Job {
    let span = record.span();
    let follow = || executor.follow(&record.id, record.delivered_seq, Live::default());
    let phase =
        if record.decided().is_some() { Phase::Decided } else { Phase::Following(span.in_scope(follow)) };
    Job::new(record, phase, span)
}

/// The end of a job for dashboards: `result`, or else what was told before. It is saved before anybody is told.
fn decide(job: &mut Job, mut result: Box<JobResult>, executor: &dyn Executor) -> Box<JobResult> {
    if let Some(told) = &job.record.result {
        return told.clone();
    }
    text::shorten(&mut result.message, MAX_MESSAGE);
    job.record.result = Some(result.clone());
    job.span.in_scope(|| executor.save(job.record.clone()));
    result
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
        let newest = records.iter().map(|record| record.id.clone()).max();
        let jobs = records.into_iter().map(|record| resumed(record, &*executor)).collect();
        Self { executor, jobs, answered: Answered::default(), newest, unread: None }
    }

    /// What else an earlier agent left: the answers to requests, and the newest job of this host.
    #[must_use]
    pub fn after(self, answered: Answered, newest: Option<JobId>) -> Self {
        let mut table = Self { answered, newest: self.newest.max(newest), ..self };
        table.repair();
        table
    }

    /// A job of an earlier agent, whose record could be read only now.
    pub fn found(&mut self, record: Record) {
        if self.jobs.iter().any(|job| job.record.id == record.id) {
            return;
        }
        let job = resumed(record, &*self.executor);
        job.span.in_scope(|| tracing::info!("Picked up a command that an earlier agent started."));
        let at = self.jobs.partition_point(|other| other.record.id < job.record.id);
        self.newest = self.newest.take().max(Some(job.record.id.clone()));
        self.jobs.insert(at, job);
        self.repair();
    }

    /// The command that occupies the slot.
    pub fn current(&self) -> Option<Current<'_>> {
        self.slot().map(Job::describe)
    }

    /// What the command in the slot does, if anything is known of it.
    pub fn activity(&self) -> Option<Activity> {
        self.slot()?.activity()
    }

    /// Name, complete steps and all steps of each part of the command in the slot.
    pub fn progress(&self) -> impl Iterator<Item = (&'static str, u32, u32)> + use<> {
        self.slot().map(|job| job.seen.parts()).into_iter().flatten()
    }

    /// How far the command in the slot is, for people, by what was read of its log.
    pub fn detail(&self) -> Option<&str> {
        self.slot()?.seen.detail()
    }

    /// The command whose status was not queued yet, if the request cannot be told from it: it has the same id; or it has
    /// no id and names the same command, which has ended. By its id a request is known before it is known whether the
    /// command of an earlier agent has ended: that takes a look at its folder, and another command may run meanwhile.
    pub fn unreported(&self, request: &CommandRequest) -> Option<Current<'_>> {
        let same = |job: &&Job| match &request.id {
            Some(id) => job.record.command_id.as_ref() == Some(id),
            None => job.record.command == request.command && !job.runs(),
        };
        self.jobs.iter().filter(|job| !job.finished).find(same).map(Job::describe)
    }

    /// The record of the oldest job whose command has ended and whose status was not queued yet.
    pub fn unreported_record(&self) -> Option<&Record> {
        self.jobs.iter().find(|job| !job.finished && !job.runs()).map(|job| &job.record)
    }

    /// Whether no command runs and none waits to be reported.
    pub fn is_idle(&self) -> bool {
        self.jobs.iter().all(|job| job.finished)
    }

    /// Whether so many results wait for proof that they were read that no command may be accepted.
    pub fn is_full(&self) -> bool {
        self.jobs.len() >= MAX_JOBS
    }

    /// Waits until the state of every job has been read once, so that it is known which one runs.
    pub fn looked_at(&self) -> impl Future<Output = ()> + use<> {
        let followed: Vec<_> = self.jobs.iter().filter_map(Job::followed).collect();
        async move {
            for mut live in followed {
                live.wait_for(|live| *live != Live::default()).await.map(drop).ok();
            }
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

    /// The span for log lines about the newest job of the request with this id. Without one it changes nothing.
    pub fn span_of_request(&self, command_id: Option<&str>) -> Span {
        let job = self.jobs.iter().rfind(|job| job.record.command_id.as_deref() == command_id);
        job.map_or_else(Span::none, |job| job.span.clone())
    }

    /// The span for log lines about the command that occupies the slot. Without one it changes nothing.
    pub fn current_span(&self) -> Span {
        self.slot().map_or_else(Span::none, |job| job.span.clone())
    }

    /// The job that runs, wherever it is in the list. After a start of the agent, several may count as running
    /// until their folders have been read; one with a process then comes first, and else the newest.
    fn slot(&self) -> Option<&Job> {
        self.jobs.iter().filter(|job| job.runs()).max_by_key(|job| job.live().pid.is_some())
    }

    /// Whether a job is starting, so that its process id will be known soon.
    pub fn starting(&self, id: &JobId) -> bool {
        self.jobs.iter().any(|job| job.record.id == *id && job.starts())
    }

    /// The process id of a job's command, while it runs.
    pub fn pid(&self, id: &JobId) -> Option<u32> {
        self.jobs.iter().find(|job| job.record.id == *id)?.live().pid
    }

    /// Accepts a job: it occupies the slot, and its launch is ordered. Callers ask [`Self::is_full`] before, except
    /// for a reboot that was announced: the machine goes down with it.
    pub fn accept(&mut self, record: Record) {
        let record = record.after(self.newest.as_ref());
        self.newest = Some(record.id.clone());
        let span = record.span();
        span.in_scope(|| {
            tracing::info!("Accepted a command.");
            self.executor.launch(record.clone());
        });
        // An announced command was answered before.
        if !record.announced && !planted!("no-record") && self.answered.accepted(&record) {
            span.in_scope(|| self.executor.keep_answered(self.answered.file()));
        }
        self.jobs.push_back(Job::new(record, Phase::Launching, span));
    }

    /// The job was launched: it is followed from now on.
    pub fn launched(&mut self, id: &JobId) {
        if let Some(job) = self.jobs.iter_mut().find(|job| job.record.id == *id)
            && matches!(job.phase, Phase::Launching)
        {
            job.span.in_scope(|| {
                let follower = self.executor.follow(id, job.record.delivered_seq, Live::default());
                job.phase = Phase::Following(follower);
                if let Some((urgency, asked)) = job.stops.strongest() {
                    self.executor.end(&job.record.instance(), urgency, asked);
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
            Phase::Launching => std::future::pending().await,
            Phase::Decided => {
                let lost = || JobResult::without_supervisor(Outcome::Lost, String::new(), 0);
                Followed::Ended(job.record.result.clone().unwrap_or_else(|| Box::new(lost())))
            }
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
        let what = match what {
            Followed::Ended(result) => {
                job.over = true;
                Followed::Ended(decide(job, result, &*self.executor))
            }
            Followed::Entries(entries) => {
                job.seen.note(&entries);
                Followed::Entries(entries)
            }
        };
        let what = if line_numbers { what } else { what.numbered_by_position() };
        JobEvent { id, command, announced, what }
    }

    /// The state of a job's command, to wait for its changes.
    pub fn live(&self, id: &JobId) -> Option<watch::Receiver<Live>> {
        self.jobs.iter().find(|job| job.record.id == *id)?.followed()
    }

    /// The status of a job has been queued. Returns true the first time.
    pub fn status_sent(&mut self, id: &JobId, status: &Status) -> bool {
        let Some(job) = self.find(id) else { return false };
        job.status_sent = true;
        let first = !std::mem::replace(&mut job.finished, true);
        if let Some(command_id) = job.record.command_id.clone() {
            let command = job.record.command.clone();
            self.remember(command_id, command, status);
        }
        first
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
        span.in_scope(|| {
            // Before the record is removed: one that is missing while its request is open is made anew.
            if self.answered.delivered(id) {
                self.executor.keep_answered(self.answered.file());
            } else if let Some(unread) = self.unread.as_mut().filter(|unread| unread.answers) {
                unread.delivered.push(id.clone());
            }
            self.executor.forget(id);
        });
    }

    /// The connection has ended: everything without a receipt will be sent again on the next one.
    pub fn rewind(&mut self) {
        if planted!("forget-rewind") {
            return;
        }
        for job in &mut self.jobs {
            job.status_sent = false;
            if let Phase::Following(follower) = &mut job.phase
                && !follower.items.rewind(job.record.delivered_seq + u64::from(planted!("skip-a-line")))
            {
                // The thread has told the end. The first heartbeat of the next connection needs the process id
                // before the folder is read.
                let known = *follower.live.borrow();
                let follow = || self.executor.follow(&job.record.id, job.record.delivered_seq, known);
                *follower = job.span.in_scope(follow);
            }
        }
    }
}
