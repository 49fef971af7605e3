//! Carries out the agent's orders for jobs on threads, so that the agent never waits for a disk or a
//! program. The outcomes come back as [`ExecutorEvent`]s.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use nixfleet_os::planted;
use tokio::sync::mpsc;
use tracing::Span;

use nixfleet_jobs::record::{Record, Records};
use nixfleet_jobs::spec::{JobResult, Outcome};
use nixfleet_jobs::{Instance, JobDir, JobId, JobsDir, Urgency, journal};
use nixfleet_os::sync::{Mutex, MutexGuard, PoisonError};
use nixfleet_os::threads::Condition;
use nixfleet_os::{Threads, error};

use super::answered::{self, Answered};
use super::follower::{self, Follower, Live, send};
use super::launcher::{LaunchError, Launcher};

mod write_queue;
mod writer;

pub use write_queue::Backlog;
use writer::RecordWriter;

/// Events that may wait for the agent. There is at most one for each order, and there are few orders.
const EVENTS: usize = 64;

/// How long an agent that ends waits for its records and launches, at most: it should be gone within a
/// second.
const DROP_TIMEOUT: Duration = Duration::from_millis(800);

/// How long to look for the job of a start that failed: its supervisor may be on its way to make the job's folder,
/// which takes milliseconds. Shorter than [`DROP_TIMEOUT`].
const SETTLED: Duration = Duration::from_millis(500);

/// How often to look.
const SETTLE_TICK: Duration = Duration::from_millis(20);

/// Stack of the threads for orders, in bytes.
const STACK: usize = 256 * 1024;

/// The outcome of an order.
#[derive(Debug, PartialEq)]
pub enum ExecutorEvent {
    /// The job exists and runs.
    Launched(JobId),
    /// The job was not started, for this reason.
    NotLaunched(JobId, String),
    /// A job of an earlier agent, whose record could not be read before.
    Found(Box<Record>),
    /// Answers of an earlier agent, which could not be read before.
    FoundAnswers(Answered),
    /// Everything of an earlier agent was read; it comes behind what was found.
    FoundAll,
    /// The job had ended when its end was ordered.
    EndedBefore {
        /// The job.
        id: JobId,
        /// The command that asked for its end, such as `stop`.
        asked: String,
    },
    /// The job could not be ended and goes on.
    NotEnded {
        /// The job.
        id: JobId,
        /// The command that asked for its end, such as `stop`.
        asked: String,
        /// The reason.
        why: String,
    },
}

/// Takes orders for jobs. No method waits. Log lines about an order are in the span of the caller.
pub trait Executor: fmt::Debug + Send {
    /// Saves the record of a job and starts it. [`ExecutorEvent::Launched`] or
    /// [`ExecutorEvent::NotLaunched`] follows.
    fn launch(&self, record: Record);
    /// Ends a running job, because the command `asked`, such as `stop`, was sent. [`ExecutorEvent::NotEnded`]
    /// or [`ExecutorEvent::EndedBefore`] follows if that fails.
    fn end(&self, job: &Instance, urgency: Urgency, asked: &str);
    /// Follows a job from behind log entry `after`. `known` is reported as its state until it has been read
    /// for the first time.
    fn follow(&self, id: &JobId, after: u64, known: Live) -> Follower;
    /// Saves a newer record of a job.
    fn save(&self, record: Record);
    /// Removes the record of a job: the dashboard has read its status.
    fn forget(&self, id: &JobId);
    /// Saves the requests that were answered. It is done before the records of jobs that are forgotten later are
    /// removed.
    fn keep_answered(&self, answered: answered::File);
}

/// The executor of a real machine.
pub struct HostExecutor {
    launcher: Arc<dyn Launcher>,
    jobs: JobsDir,
    records: Arc<RecordWriter>,
    events: mpsc::Sender<ExecutorEvent>,
    boot_id: Option<String>,
    /// The orders to end a job that are being carried out. Further ones of the same job and urgency are then
    /// ignored, so that many requests do not make many threads.
    ending: Arc<Mutex<HashSet<(JobId, Urgency)>>>,
    launches: Arc<Launches>,
}

impl fmt::Debug for HostExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostExecutor")
            .field("launcher", &self.launcher)
            .field("jobs", &self.jobs)
            .finish_non_exhaustive()
    }
}

impl HostExecutor {
    /// Starts an executor; returns it and the receiver of its events.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn open(
        launcher: Arc<dyn Launcher>,
        jobs: JobsDir,
        records: Records,
        boot_id: Option<String>,
    ) -> io::Result<(Self, mpsc::Receiver<ExecutorEvent>)> {
        let (events, receiver) = mpsc::channel(EVENTS);
        let threads = &jobs.machine().threads;
        let records = Arc::new(RecordWriter::new(records, jobs.clone(), events.clone()));
        let writer = Arc::clone(&records);
        spawn(threads, "records", move || writer.run())?;
        let launches = Arc::new(Launches { count: Mutex::default(), none: threads.condition() });
        let ending = Default::default();
        Ok((Self { launcher, jobs, records, events, boot_id, ending, launches }, receiver))
    }

    /// Tries again, now and then, to read what an earlier agent wrote. [`ExecutorEvent::Found`] and
    /// [`ExecutorEvent::FoundAnswers`] follow.
    pub fn retry(&self, backlog: Backlog) {
        self.records.queue.retry(backlog);
    }
}

/// The contents of a mutex. A thread that panicked left no half-made change.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Carries out an order, once.
fn carry_out(order: &Mutex<Option<impl FnOnce()>>) {
    let order = locked(order).take();
    if let Some(order) = order {
        order();
    }
}

/// Starts a thread, which enters the current span.
fn spawn(threads: &Threads, name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let span = Span::current();
    let run = move || span.in_scope(run);
    threads.spawn(name, STACK, run)
}

impl Executor for HostExecutor {
    fn launch(&self, record: Record) {
        let (launcher, records) = (Arc::clone(&self.launcher), Arc::clone(&self.records));
        let (jobs, machine) = (self.jobs.clone(), self.jobs.machine().clone());
        let (id, events) = (record.id.clone(), self.events.clone());
        let launches = Arc::clone(&self.launches);
        self.records.queue.accepted(&record.id);
        if !planted!("counted-by-the-thread") {
            launches.begun();
        }
        let done = Arc::clone(&launches);
        let order = move || {
            if planted!("counted-by-the-thread") {
                done.begun();
            }
            let event = match launch(&*launcher, &records.records, &jobs.job(&record.id), &record) {
                Ok(()) => ExecutorEvent::Launched(record.id),
                Err(message) => ExecutorEvent::NotLaunched(record.id, message),
            };
            done.ended();
            send(&machine, &events, event);
        };
        if let Err(err) = spawn(&self.jobs.machine().threads, "launch", order) {
            launches.ended();
            let message = format!("cannot start a thread for the job: {err}");
            drop(self.events.try_send(ExecutorEvent::NotLaunched(id, message)));
        }
    }

    fn end(&self, job: &Instance, urgency: Urgency, asked: &str) {
        let (launcher, dir) = (Arc::clone(&self.launcher), self.jobs.job(&job.id));
        let (instance, events) = (job.clone(), self.events.clone());
        let (id, asked) = (job.id.clone(), asked.to_owned());
        let order = (id.clone(), urgency);
        let ending = Arc::clone(&self.ending);
        if !locked(&ending).insert(order.clone()) {
            return;
        }
        let (done, carried_out, by) = (Arc::clone(&ending), order.clone(), asked.clone());
        let run = move || {
            let ended = launcher.end(&instance, &dir, urgency);
            locked(&done).remove(&carried_out);
            let (id, asked) = (instance.id, by);
            match ended {
                Ok(()) => {}
                Err(LaunchError::Ended) => {
                    send(dir.machine(), &events, ExecutorEvent::EndedBefore { id, asked });
                }
                Err(err) => {
                    let why = error::chain(&err);
                    send(dir.machine(), &events, ExecutorEvent::NotEnded { id, asked, why });
                }
            }
        };
        let run = Arc::new(Mutex::new(Some(run)));
        let same = Arc::clone(&run);
        let started = spawn(&self.jobs.machine().threads, "end", move || carry_out(&same));
        // A command that makes processes without end leaves no thread to be had, and has to be ended all the same.
        if let Err(err) = started
            && !self.records.queue.lend(move || carry_out(&run))
        {
            locked(&ending).remove(&order);
            let why = format!("cannot start a thread: {err}");
            drop(self.events.try_send(ExecutorEvent::NotEnded { id, asked, why }));
        }
    }

    fn follow(&self, id: &JobId, after: u64, known: Live) -> Follower {
        follower::follow_in_time(&self.jobs, id, after, known, self.boot_id.clone())
    }

    fn save(&self, record: Record) {
        self.records.queue.put(record.id.clone(), Some(record));
    }

    fn forget(&self, id: &JobId) {
        self.records.queue.put(id.clone(), None);
    }

    fn keep_answered(&self, answered: answered::File) {
        self.records.queue.put_answered(answered);
    }
}

/// Saves the record and starts the job. In this order: if the agent is killed in between, the next one
/// finds the record.
fn launch(launcher: &dyn Launcher, records: &Records, dir: &JobDir, record: &Record) -> Result<(), String> {
    if !planted!("no-record") {
        records.save(record).map_err(|err| {
            // The file may exist, and only be not durable. The next agent would wait for the job, and tell another end.
            drop(records.forget(&record.id));
            format!("cannot write to {}: {err}", records.path().display())
        })?;
    }
    let job = record.instance();
    // After a failure the record stays until the dashboard has read the status.
    let Err(err) = launcher.start(&job) else { return Ok(()) };
    // The launcher may fail although the supervisor runs, for example when systemctl loses its connection.
    if planted!("trust-the-launcher") {
        return Err(not_started(records, dir, record, error::chain(&err)));
    }
    // A job that exists is followed. So is one whose supervisor died: with a spec, its command may have begun.
    let exists = || {
        let is_there = |path: &Path| dir.disk().kind(path).is_ok();
        is_there(&dir.result()) || is_there(&dir.spec()) || matches!(journal::supervisor_lives(dir), Ok(true))
    };
    let (clock, begun) = (dir.clock(), dir.clock().instant());
    while !exists() {
        if clock.elapsed(begun) >= SETTLED {
            return Err(not_started(records, dir, record, error::chain(&err)));
        }
        clock.sleep(SETTLE_TICK);
    }
    Ok(())
}

/// Notes that the job was not started; returns why. The next agent must not wait for the folder of a job that was
/// never started, and tell another end.
fn not_started(records: &Records, dir: &JobDir, record: &Record, why: String) -> String {
    let now = dir.clock().timestamp();
    let (started_at, ended_at) = (now.clone(), now);
    let result = JobResult::without_supervisor(Outcome::NotStarted, why.clone(), 0);
    let result = Some(Box::new(JobResult { started_at, ended_at, ..result }));
    if let Err(err) = records.save(&Record { result, ..record.clone() }) {
        let folder = records.path().display();
        tracing::warn!("Cannot write to {folder}: {err}. After a restart the command may be told as lost.");
    }
    why
}

impl Drop for HostExecutor {
    /// Waits for the records to be written and for the launches to finish. Otherwise the next agent would
    /// find the record of a job that was never started.
    fn drop(&mut self) {
        let clock = self.jobs.clock();
        let begun = clock.instant();
        self.records.queue.close();
        self.records.queue.wait_until_idle(DROP_TIMEOUT);
        self.launches.wait_until_none(DROP_TIMEOUT.saturating_sub(clock.elapsed(begun)));
    }
}

/// The number of launches that have not finished.
#[derive(Debug)]
struct Launches {
    count: Mutex<usize>,
    none: Condition,
}

impl Launches {
    fn begun(&self) {
        *locked(&self.count) += 1;
    }

    fn ended(&self) {
        let mut count = locked(&self.count);
        *count = count.saturating_sub(1);
        if !planted!("silently-launched") {
            self.none.notify_all();
        }
    }

    fn wait_until_none(&self, limit: Duration) {
        drop(self.none.wait_while(&self.count, Some(limit), |count| *count > 0));
    }
}

#[cfg(all(test, feature = "models"))]
mod models;
#[cfg(test)]
mod tests;
