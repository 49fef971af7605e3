//! Jobs of which each writes a number of lines at a pace of its own, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use nixfleet_agent::jobs::answered::File;
use nixfleet_agent::jobs::executor::{Executor, ExecutorEvent};
use nixfleet_agent::jobs::follower::{Followed, Follower, Live};
use nixfleet_jobs::journal::{Entry, Source};
use nixfleet_jobs::record::Record;
use nixfleet_jobs::spec::{JobResult, Outcome};
use nixfleet_jobs::{Instance, JobId, Urgency};

/// Process id of every command.
const PID: u32 = 4711;

/// Batches that may wait for the session, as in the real follower.
const CHANNEL: usize = 4;

/// Lines in one batch.
const BATCH: u64 = 100;

/// How a job goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) lines: u64,
    /// Time between two lines, and from the last one to the end.
    pub(crate) gap: Duration,
}

#[derive(Debug)]
struct Job {
    plan: Plan,
    begun: Instant,
}

impl Job {
    /// How many lines it has written.
    fn written(&self) -> u64 {
        let passed = self.begun.elapsed().as_nanos() / self.plan.gap.as_nanos().max(1);
        u64::try_from(passed).unwrap().min(self.plan.lines)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Work {
    jobs: BTreeMap<JobId, Job>,
    /// The plans of the next jobs are drawn from here, unless `next` names one.
    rng: fastrand::Rng,
    pub(crate) next: Option<Plan>,
    /// Requests to end a job have no effect.
    pub(crate) deaf: bool,
    /// Records that a real executor would have on disk.
    pub(crate) records: BTreeSet<JobId>,
    pub(crate) launched: u64,
    /// When positions in logs were saved last.
    pub(crate) saved_at: Option<Instant>,
}

/// An executor whose jobs are tasks.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    pub(crate) work: Arc<Mutex<Work>>,
    events: mpsc::Sender<ExecutorEvent>,
}

impl Tasks {
    pub(crate) fn new(seed: u64, events: mpsc::Sender<ExecutorEvent>) -> Self {
        let work = Work { rng: fastrand::Rng::with_seed(seed), ..Work::default() };
        Self { work: Arc::new(Mutex::new(work)), events }
    }
}

impl Executor for Tasks {
    fn launch(&self, record: Record) {
        let mut work = self.work.lock().unwrap();
        work.launched += 1;
        work.records.insert(record.id.clone());
        let (lines, gap) = (work.rng.u64(0..40), Duration::from_millis(work.rng.u64(1..500)));
        let plan = work.next.unwrap_or(Plan { lines, gap });
        let delay = Duration::from_millis(work.rng.u64(0..1500));
        drop(work);
        let (events, work) = (self.events.clone(), Arc::clone(&self.work));
        tokio::spawn(async move {
            sleep(delay).await;
            work.lock().unwrap().jobs.insert(record.id.clone(), Job { plan, begun: Instant::now() });
            events.send(ExecutorEvent::Launched(record.id)).await.ok();
        });
    }

    /// The job writes nothing more.
    fn end(&self, job: &Instance, _: Urgency, _: &str) {
        let mut work = self.work.lock().unwrap();
        if let Work { deaf: false, jobs, .. } = &mut *work
            && let Some(job) = jobs.get_mut(&job.id)
        {
            job.plan.lines = job.written();
        }
    }

    fn follow(&self, id: &JobId, after: u64, _: Live) -> Follower {
        let (items, items_receiver) = mpsc::channel(CHANNEL);
        let (live, live_receiver) = watch::channel(Live { pid: Some(PID), ended: false });
        tokio::spawn(follow(Arc::clone(&self.work), id.clone(), after, items, live));
        Follower { live: live_receiver, items: items_receiver.into() }
    }

    fn save(&self, record: Record) {
        let mut work = self.work.lock().unwrap();
        work.saved_at = Some(Instant::now());
        work.records.insert(record.id);
    }

    fn forget(&self, id: &JobId) {
        let mut work = self.work.lock().unwrap();
        work.records.remove(id);
        work.jobs.remove(id);
    }

    fn keep_answered(&self, _: File) {}
}

async fn follow(
    work: Arc<Mutex<Work>>,
    id: JobId,
    after: u64,
    items: mpsc::Sender<Followed>,
    live: watch::Sender<Live>,
) {
    let mut told = after;
    loop {
        let (written, plan, begun) = match work.lock().unwrap().jobs.get(&id) {
            Some(job) => (job.written(), job.plan, job.begun),
            None => return,
        };
        let due = |line: u64| begun + plan.gap * u32::try_from(line).unwrap();
        if told < written {
            let until = written.min(told + BATCH);
            if items.send(Followed::Entries((told + 1..=until).map(entry).collect())).await.is_err() {
                return;
            }
            told = until;
        } else if told < plan.lines {
            sleep_until(due(told + 1)).await;
        } else {
            sleep_until(due(told + 1)).await;
            live.send_replace(Live { pid: None, ended: true });
            let mut result = JobResult::without_supervisor(Outcome::Ok, "done".to_owned(), told);
            result.exit_code = 0;
            items.send(Followed::Ended(Box::new(result))).await.ok();
            return;
        }
    }
}

fn entry(seq: u64) -> Entry {
    let (at, line) = ("2026-01-01T00:00:00.000Z".to_owned(), format!("line {seq} of the command's output"));
    Entry { line_number: Some(seq), ..Entry::new(seq, at, Source::Stdout, line) }
}
