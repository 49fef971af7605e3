//! An executor that records its orders, and jobs that write what the test tells them to.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use nixfleet_jobs::journal::{Entry, Source};
use nixfleet_jobs::record::Record;
use nixfleet_jobs::spec::{JobResult, Outcome};
use nixfleet_jobs::{Instance, JobId, Urgency};

use super::{HOUR, Rig};
use crate::jobs::answered::File;
use crate::jobs::executor::{Executor, ExecutorEvent};
use crate::jobs::follower::{Followed, Follower, Live};

/// Process id of every command in these tests.
pub(crate) const PID: u32 = 4711;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    Launch(Record),
    End(JobId, Urgency),
    Save(Record),
    Forget(JobId),
}

/// The writing end of a followed job.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    items: mpsc::Sender<Followed>,
    live: Arc<watch::Sender<Live>>,
}

impl Job {
    pub(crate) async fn say(&self, entries: Vec<Entry>) {
        self.items.send(Followed::Entries(entries)).await.unwrap();
    }

    pub(crate) async fn end(&self, result: JobResult) {
        self.items.send(Followed::Ended(Box::new(result))).await.unwrap();
    }

    /// The command ends. Its output is still to be read.
    pub(crate) fn command_ends(&self) {
        self.live.send_replace(Live { pid: None, ended: true });
    }

    /// Writes output until the task is aborted.
    pub(crate) fn flood(&self) -> JoinHandle<()> {
        let items = self.items.clone();
        tokio::spawn(async move {
            let mut next = 1;
            while items.send(Followed::Entries(entries(next..=next + 199))).await.is_ok() {
                next += 200;
                // Virtual time advances only while every task waits.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        })
    }
}

pub(crate) fn entries(seqs: RangeInclusive<u64>) -> Vec<Entry> {
    let entry = |seq| {
        let at = "2026-01-01T00:00:00.000Z".to_owned();
        let stream = if seq % 2 == 0 { Source::Stderr } else { Source::Stdout };
        let line = format!("line {seq} {}", "x".repeat(100));
        Entry { line_number: Some(seq), ..Entry::new(seq, at, stream, line) }
    };
    seqs.map(entry).collect()
}

pub(crate) fn result(outcome: Outcome) -> JobResult {
    let mut result = JobResult::without_supervisor(outcome, "message".to_owned(), 0);
    result.exit_code = i32::from(outcome != Outcome::Ok);
    result
}

#[derive(Debug, Clone)]
pub(crate) struct FakeExecutor {
    pub(crate) orders: mpsc::UnboundedSender<Order>,
    pub(crate) followed: Arc<Mutex<Vec<(JobId, u64)>>>,
    pub(crate) jobs: Arc<Mutex<Vec<Job>>>,
    pub(crate) live: Arc<Mutex<Live>>,
    pub(crate) answered: Arc<Mutex<File>>,
}

impl Executor for FakeExecutor {
    fn launch(&self, record: Record) {
        self.orders.send(Order::Launch(record)).unwrap();
    }

    fn end(&self, job: &Instance, urgency: Urgency, _asked: &str) {
        self.orders.send(Order::End(job.id.clone(), urgency)).unwrap();
    }

    fn follow(&self, id: &JobId, after: u64, known: Live) -> Follower {
        self.followed.lock().unwrap().push((id.clone(), after));
        let (items, items_receiver) = mpsc::channel(4);
        let live_now = *self.live.lock().unwrap();
        let (live, live_receiver) =
            watch::channel(if live_now == Live::default() { known } else { live_now });
        self.jobs.lock().unwrap().push(Job { id: id.clone(), items, live: Arc::new(live) });
        Follower { live: live_receiver, items: items_receiver.into() }
    }

    fn save(&self, record: Record) {
        self.orders.send(Order::Save(record)).unwrap();
    }

    fn keep_answered(&self, answered: File) {
        *self.answered.lock().unwrap() = answered;
    }

    fn forget(&self, id: &JobId) {
        self.orders.send(Order::Forget(id.clone())).unwrap();
    }
}

/// A job that the session is about to follow.
pub(crate) struct LaunchedJob {
    pub(crate) id: JobId,
    executor: FakeExecutor,
}

impl LaunchedJob {
    pub(crate) async fn end(&self, result: JobResult) {
        let find = || self.executor.jobs.lock().unwrap().iter().find(|job| job.id == self.id).cloned();
        until(|| find().is_some()).await;
        find().unwrap().end(result).await;
    }
}

/// Waits for what the session does without any time passing.
async fn until(is_done: impl Fn() -> bool) {
    /// Far more than a session takes for one event.
    const STEPS: usize = 10_000;
    for _ in 0..STEPS {
        if is_done() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the session does not follow the job");
}

impl Rig {
    pub(crate) async fn order(&mut self) -> Order {
        tokio::time::timeout(HOUR, self.orders.recv()).await.expect("an order").unwrap()
    }

    pub(crate) fn orders(&mut self) -> Vec<Order> {
        std::iter::from_fn(|| self.orders.try_recv().ok()).collect()
    }

    pub(crate) fn followed(&self) -> Vec<(JobId, u64)> {
        self.executor.followed.lock().unwrap().clone()
    }

    /// The job that was followed most recently.
    pub(crate) fn job(&self) -> Job {
        self.executor.jobs.lock().unwrap().last().unwrap().clone()
    }

    /// Reports that a launch succeeded.
    pub(crate) fn launched(&mut self, order: &Order, live: Live) -> LaunchedJob {
        let Order::Launch(record) = order else { panic!("{order:?}") };
        *self.executor.live.lock().unwrap() = live;
        self.executor_events.try_send(ExecutorEvent::Launched(record.id.clone())).unwrap();
        LaunchedJob { id: record.id.clone(), executor: self.executor.clone() }
    }

    pub(crate) fn not_launched(&mut self, order: &Order, why: &str) {
        let Order::Launch(record) = order else { panic!("{order:?}") };
        self.executor_events.try_send(ExecutorEvent::NotLaunched(record.id.clone(), why.to_owned())).unwrap();
    }

    pub(crate) fn ended_before(&mut self, id: &JobId, asked: &str) {
        let (id, asked) = (id.clone(), asked.to_owned());
        self.executor_events.try_send(ExecutorEvent::EndedBefore { id, asked }).unwrap();
    }

    pub(crate) fn not_ended(&mut self, id: &JobId, asked: &str, why: &str) {
        let (id, asked, why) = (id.clone(), asked.to_owned(), why.to_owned());
        self.executor_events.try_send(ExecutorEvent::NotEnded { id, asked, why }).unwrap();
    }

    /// Requests a command and lets it start.
    pub(crate) async fn run_command(&mut self, name: &str) -> Job {
        self.run_command_as(name, None).await
    }

    /// As [`Self::run_command`], by a request with an id.
    pub(crate) async fn run_command_as(&mut self, name: &str, id: Option<&str>) -> Job {
        self.command(name, id).await;
        let order = loop {
            let order = self.order().await;
            if matches!(order, Order::Launch(_)) {
                break order;
            }
        };
        let before = self.followed().len();
        self.launched(&order, Live { pid: Some(PID), ended: false });
        until(|| self.followed().len() > before).await;
        self.job()
    }
}
