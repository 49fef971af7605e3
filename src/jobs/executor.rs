//! The agent's side of jobs: it hands orders in and gets news back, and never waits for a disk.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::follower;
use super::follower::{Followed, Follower, Live};
use super::launcher::{LaunchError, Launcher};
use nixfleet_jobs::Urgency;
use nixfleet_jobs::record::{Record, Records};
use nixfleet_jobs::spec::{JobResult, Outcome};
use nixfleet_jobs::{Instance, JobDir, JobId, JobsDir, journal};
use nixfleet_os::error;

/// ExecutorEvent that may wait for the agent: one for each order, and there are few orders.
pub const NEWS: usize = 64;

/// How long an agent that ends waits for its records: within its second for a polite end.
const LAST_WRITES: Duration = Duration::from_millis(800);

/// Stack of the threads for orders, in bytes.
const STACK: usize = 256 * 1024;

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecutorEvent {
    /// The job exists and runs.
    Launched(JobId),
    /// There is no job; why, for people.
    NotLaunched(JobId, String),
    /// The job goes on; why, for people.
    NotEnded(JobId, String),
}

/// Takes the agent's orders. No call waits.
pub trait Executor: fmt::Debug + Send {
    /// Starts a job and keeps its record; [`ExecutorEvent`] follows.
    fn launch(&self, record: Record);
    /// Ends a running job; [`ExecutorEvent`] follows if that cannot be done.
    fn end(&self, job: &Instance, urgency: Urgency);
    /// Follows a job behind entry `after`; `known` is what is known of it until the first look.
    fn follow(&self, id: &JobId, after: u64, known: Live) -> Follower;
    /// Keeps a newer record.
    fn save(&self, record: Record);
    /// Forgets a job: the dashboard has seen its end.
    fn forget(&self, id: &JobId);
}

/// The desk of a real machine.
pub struct HostExecutor {
    launcher: Arc<dyn Launcher>,
    jobs: JobsDir,
    records: Arc<RecordKeeper>,
    news: mpsc::Sender<ExecutorEvent>,
    boot_id: Option<String>,
    /// An order of each [`Urgency`] is on its way: a flood of them needs no flood of threads.
    ending: [Arc<AtomicBool>; 2],
    launches: Arc<Launches>,
}

impl fmt::Debug for HostExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostDesk")
            .field("launcher", &self.launcher)
            .field("jobs", &self.jobs)
            .finish_non_exhaustive()
    }
}

impl HostExecutor {
    /// A desk, and where its news arrives.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn open(
        launcher: Arc<dyn Launcher>,
        jobs: JobsDir,
        records: Records,
        boot_id: Option<String>,
    ) -> io::Result<(Self, mpsc::Receiver<ExecutorEvent>)> {
        let (news, receiver) = mpsc::channel(NEWS);
        let records = Arc::new(RecordKeeper { records, queue: Mutex::default(), wake: Condvar::new() });
        let keeper = Arc::clone(&records);
        spawn("records", move || keeper.run())?;
        let (ending, launches) = Default::default();
        Ok((Self { launcher, jobs, records, news, boot_id, ending, launches }, receiver))
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(run).map(drop)
}

impl Executor for HostExecutor {
    fn launch(&self, record: Record) {
        let (launcher, records) = (Arc::clone(&self.launcher), Arc::clone(&self.records));
        let jobs = self.jobs.clone();
        let (id, news) = (record.id.clone(), self.news.clone());
        let launches = Arc::clone(&self.launches);
        launches.begun();
        let done = Arc::clone(&launches);
        let order = move || {
            let item = match launch(&*launcher, &records.records, &jobs.job(&record.id), &record) {
                Ok(()) => ExecutorEvent::Launched(record.id),
                Err(message) => ExecutorEvent::NotLaunched(record.id, message),
            };
            done.ended();
            drop(news.blocking_send(item));
        };
        if let Err(err) = spawn("launch", order) {
            launches.ended();
            let message = format!("cannot start a thread for the job: {err}");
            drop(self.news.try_send(ExecutorEvent::NotLaunched(id, message)));
        }
    }

    fn end(&self, job: &Instance, urgency: Urgency) {
        let (launcher, dir) = (Arc::clone(&self.launcher), self.jobs.job(&job.id));
        let (for_order, news) = (job.clone(), self.news.clone());
        let ending = Arc::clone(&self.ending[usize::from(urgency == Urgency::Kill)]);
        if ending.swap(true, Ordering::Relaxed) {
            return;
        }
        let done = Arc::clone(&ending);
        let order = move || {
            let ended = launcher.end(&for_order, &dir, urgency);
            done.store(false, Ordering::Relaxed);
            match ended {
                // It ended by itself just now: its own status says so.
                Ok(()) | Err(LaunchError::Ended) => {}
                Err(err) => {
                    drop(news.blocking_send(ExecutorEvent::NotEnded(for_order.id, error::chain(&err))))
                }
            }
        };
        if let Err(err) = spawn("end", order) {
            ending.store(false, Ordering::Relaxed);
            drop(
                self.news.try_send(ExecutorEvent::NotEnded(
                    job.id.clone(),
                    format!("cannot start a thread: {err}"),
                )),
            );
        }
    }

    fn follow(&self, id: &JobId, after: u64, known: Live) -> Follower {
        follower::follow(&self.jobs, id, after, known, self.boot_id.clone()).unwrap_or_else(|err| {
            // Out of threads: the job runs on unseen, and its end is told as unknown.
            let message = format!("cannot follow the job: no thread: {err}");
            ended(JobResult::without_supervisor(Outcome::Lost, message, after))
        })
    }

    fn save(&self, record: Record) {
        self.records.put(record.id.clone(), Some(record));
    }

    fn forget(&self, id: &JobId) {
        self.records.put(id.clone(), None);
    }
}

/// A follower with nothing but an end.
fn ended(result: JobResult) -> Follower {
    let (_, live) = watch::channel(Live { pid: None, ended: true });
    let (sender, items) = mpsc::channel(1);
    drop(sender.try_send(Followed::Ended(Box::new(result))));
    Follower { live, items }
}

/// The record is on disk before anything runs: an agent that dies in between finds it again.
fn launch(launcher: &dyn Launcher, records: &Records, dir: &JobDir, record: &Record) -> Result<(), String> {
    records.save(record).map_err(|err| format!("cannot write to {}: {err}", records.path().display()))?;
    let job = record.instance();
    // The record stays after a failure, until a dashboard has read the status that tells of it.
    let Err(err) = launcher.start(&job) else { return Ok(()) };
    // Whoever started it may have lost sight of it: a job that exists is followed, whatever was said.
    let exists = dir.result().exists() || matches!(journal::supervisor_lives(dir), Ok(true));
    if exists { Ok(()) } else { Err(error::chain(&err)) }
}

impl Drop for HostExecutor {
    /// Lets what is on its way get there: the records to the disk, and the jobs into life. The next agent
    /// would find the record of a job that never came to be.
    fn drop(&mut self) {
        let begun = Instant::now();
        self.records.wait_until_idle(LAST_WRITES);
        self.launches.wait_until_none(LAST_WRITES.saturating_sub(begun.elapsed()));
    }
}

/// Launches that are under way.
#[derive(Debug, Default)]
struct Launches {
    count: Mutex<usize>,
    none: Condvar,
}

impl Launches {
    fn begun(&self) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }

    fn ended(&self) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count = count.saturating_sub(1);
        self.none.notify_all();
    }

    fn wait_until_none(&self, limit: Duration) {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.none.wait_timeout_while(count, limit, |count| *count > 0));
    }
}

/// Writes records on a thread of its own; only the newest of each job counts.
struct RecordKeeper {
    records: Records,
    queue: Mutex<Queue>,
    /// There is something to write, or nothing left to write.
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    orders: HashMap<JobId, Option<Record>>,
    writing: bool,
}

impl RecordKeeper {
    fn put(&self, id: JobId, record: Option<Record>) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).orders.insert(id, record);
        self.wake.notify_all();
    }

    fn wait_until_idle(&self, limit: Duration) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let busy = |queue: &mut Queue| queue.writing || !queue.orders.is_empty();
        drop(self.wake.wait_timeout_while(queue, limit, busy));
    }

    fn run(&self) {
        loop {
            let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            let idle = |queue: &mut Queue| queue.orders.is_empty();
            let mut queue = self.wake.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner);
            let orders: Vec<_> = queue.orders.drain().collect();
            queue.writing = true;
            drop(queue);
            for (id, record) in orders {
                let done = match &record {
                    Some(record) => self.records.save(record),
                    None => self.records.forget(&id),
                };
                if let Err(err) = done {
                    tracing::warn!(job = %id, "Cannot keep the job's record up to date, it may be told twice: {err}");
                }
            }
            self.queue.lock().unwrap_or_else(PoisonError::into_inner).writing = false;
            self.wake.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nixfleet_jobs::journal::Writer;

    /// Says that every start failed.
    #[derive(Debug)]
    struct Pessimist;

    impl Launcher for Pessimist {
        fn start(&self, _: &Instance) -> Result<(), LaunchError> {
            Err(LaunchError::Refused("the bus is away".to_owned()))
        }

        fn end(&self, _: &Instance, _: &JobDir, _: Urgency) -> Result<(), LaunchError> {
            Err(LaunchError::Ended)
        }
    }

    #[test]
    fn a_job_that_exists_is_followed_whatever_its_launcher_says() {
        let folder = tempfile::tempdir().unwrap();
        let jobs = JobsDir::new(folder.path());
        let records = Records::new(folder.path().join("delivery"));
        let record = Record::accept("pull".to_owned(), None);
        let dir = jobs.job(&record.id);
        let launched = || launch(&Pessimist, &records, &dir, &record);
        assert_eq!(launched(), Err("the bus is away".to_owned()));
        std::fs::create_dir(dir.path()).unwrap();
        let supervisor = Writer::create(dir.clone(), 1 << 20).unwrap();
        assert_eq!(launched(), Ok(()), "it runs");
        drop(supervisor);
        nixfleet_jobs::test_util::wait_until_dead(&dir);
        assert!(launched().is_err(), "its supervisor died without a result");
        let result = JobResult::without_supervisor(Outcome::Ok, String::new(), 0);
        nixfleet_jobs::atomic_file::store(&dir.result(), &result).unwrap();
        assert_eq!(launched(), Ok(()), "it has ended");
    }
}
