//! What the tests of sessions do not cover: limits, jobs of earlier agents, and log lines of threads.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::Dispatch;
use tracing::dispatcher::with_default;

use nixfleet_jobs::journal::{Entry, Source};
use nixfleet_jobs::record::Records;
use nixfleet_jobs::{Instance, JobDir, JobsDir};

use super::*;
use crate::jobs::captured_log::CapturedLog;
use crate::jobs::executor::{ExecutorEvent, HostExecutor};
use crate::jobs::launcher::{LaunchError, Launcher};

/// Records its orders, and keeps the sending ends of its followers.
#[derive(Debug, Clone, Default)]
struct FakeExecutor(Arc<Mutex<Orders>>);

#[derive(Debug, Default)]
struct Orders {
    followed: Vec<(JobId, u64)>,
    ended: Vec<(JobId, Urgency)>,
    forgotten: Vec<JobId>,
    saved: Vec<(JobId, u64)>,
    jobs: Vec<(JobId, mpsc::Sender<Followed>, watch::Sender<Live>)>,
}

impl FakeExecutor {
    fn take<T>(&self, field: impl FnOnce(&mut Orders) -> &mut Vec<T>) -> Vec<T> {
        std::mem::take(field(&mut self.0.lock().unwrap()))
    }

    /// Ends a job, for the follower that was started last.
    fn end(&self, id: &JobId) {
        let result = JobResult::without_supervisor(Outcome::Ok, String::new(), 0);
        let orders = self.0.lock().unwrap();
        let (_, items, _) = orders.jobs.iter().rfind(|(job, ..)| job == id).unwrap();
        items.try_send(Followed::Ended(Box::new(result))).unwrap();
    }
}

impl Executor for FakeExecutor {
    fn launch(&self, _: Record) {}

    fn end(&self, job: &Instance, urgency: Urgency, _asked: &str) {
        self.0.lock().unwrap().ended.push((job.id.clone(), urgency));
    }

    fn follow(&self, id: &JobId, after: u64, _known: Live) -> Follower {
        let (items, items_receiver) = mpsc::channel(4);
        let (live, live_receiver) = watch::channel(Live { pid: Some(7), ended: false });
        let mut orders = self.0.lock().unwrap();
        orders.followed.push((id.clone(), after));
        orders.jobs.push((id.clone(), items, live));
        Follower { live: live_receiver, items: items_receiver.into() }
    }

    fn save(&self, record: Record) {
        self.0.lock().unwrap().saved.push((record.id, record.delivered_seq));
    }

    fn forget(&self, id: &JobId) {
        self.0.lock().unwrap().forgotten.push(id.clone());
    }
}

fn record(command: &str, command_id: Option<&str>, delivered_seq: u64) -> Record {
    let record = Record::accept(command.to_owned(), command_id.map(str::to_owned));
    Record { delivered_seq, ..record }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_an_older_agent_delivered_in_part_keeps_the_numbers_that_it_gave() {
    for line_numbers in [true, false] {
        let executor = FakeExecutor::default();
        let record = Record { line_numbers, ..record("pull", None, 8) };
        let mut jobs = JobTable::resume(vec![record], Box::new(executor.clone()));
        let entry = Entry::new(9, String::new(), Source::Stdout, "x".to_owned());
        let entry = Entry { line_number: Some(4), ..entry };
        let mut result = JobResult::without_supervisor(Outcome::Ok, String::new(), 9);
        (result.lines, result.dropped, result.dropped_lines) = (Some(4), 3, Some(1));
        let (_, items, _live) = executor.take(|orders| &mut orders.jobs).remove(0);
        items.try_send(Followed::Entries(vec![entry])).unwrap();
        items.try_send(Followed::Ended(Box::new(result))).unwrap();
        let Followed::Entries(entries) = jobs.next().await.what else { panic!("not its line") };
        assert_eq!(entries[0].number(), if line_numbers { 4 } else { 9 });
        let Followed::Ended(result) = jobs.next().await.what else { panic!("not its end") };
        let expected = if line_numbers { (4, 1) } else { (9, 3) };
        assert_eq!((result.line_count(), result.missing_lines()), expected);
    }
}

fn status(command: &str) -> Status {
    Status::answer(command, StatusKind::Ok, 0, "")
}

/// A job that runs.
fn run(jobs: &mut JobTable, command_id: Option<&str>) -> JobId {
    let record = record("pull", command_id, 0);
    let id = record.id.clone();
    jobs.accept(record);
    jobs.launched(&id);
    id
}

#[tokio::test(start_paused = true)]
async fn jobs_of_an_earlier_agent_are_told_in_their_order_each_from_its_proven_line() {
    let executor = FakeExecutor::default();
    let records = vec![record("pull", None, 12), record("switch", Some("a"), 0)];
    let ids = [records[0].id.clone(), records[1].id.clone()];
    let mut jobs = JobTable::resume(records, Box::new(executor.clone()));
    assert_eq!(executor.take(|orders| &mut orders.followed), [(ids[0].clone(), 12), (ids[1].clone(), 0)]);
    let current = jobs.current().unwrap();
    assert_eq!((current.command, current.command_id, current.pid), ("switch", Some("a"), Some(7)));

    // The newer one ends first and is still reported second.
    executor.end(&ids[1]);
    assert!(timeout(Duration::from_secs(3600), jobs.next()).await.is_err());
    executor.end(&ids[0]);
    for id in &ids {
        let event = jobs.next().await;
        assert_eq!(event.id, *id);
        assert!(matches!(event.what, Followed::Ended(_)));
        jobs.status_sent(id, &status(&event.command));
    }
    assert!(jobs.current().is_none());
    assert!(timeout(Duration::from_secs(3600), jobs.next()).await.is_err(), "all has been told");
}

#[test]
fn a_stop_ends_the_newest_job_and_none_that_is_over() {
    let executor = FakeExecutor::default();
    let mut jobs = JobTable::resume(Vec::new(), Box::new(executor.clone()));
    assert!(!jobs.end(Urgency::Stop, "stop"), "nothing runs");
    let first = run(&mut jobs, None);
    jobs.status_sent(&first, &status("pull"));
    assert!(!jobs.end(Urgency::Stop, "stop"), "over, though nobody has proven to have read it");
    let second = run(&mut jobs, None);
    assert!(jobs.end(Urgency::Kill, "kill_command"));
    assert_eq!(executor.take(|orders| &mut orders.ended), [(second, Urgency::Kill)]);
}

#[test]
fn a_kill_during_the_launch_outranks_the_stop_before_it() {
    let executor = FakeExecutor::default();
    let mut jobs = JobTable::resume(Vec::new(), Box::new(executor.clone()));
    let record = record("pull", None, 0);
    let id = record.id.clone();
    jobs.accept(record);
    assert!(jobs.end(Urgency::Stop, "stop") && jobs.end(Urgency::Kill, "kill_command"));
    assert!(jobs.starting());
    jobs.launched(&id);
    assert_eq!(executor.take(|orders| &mut orders.ended), [(id, Urgency::Kill)]);
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_failed_is_an_end_without_a_job() {
    let executor = FakeExecutor::default();
    let mut jobs = JobTable::resume(Vec::new(), Box::new(executor.clone()));
    let record = record("pull", None, 0);
    let id = record.id.clone();
    jobs.accept(record);
    jobs.not_launched(&id, "no space left".to_owned());
    assert!(!jobs.starting());
    let Followed::Ended(result) = jobs.next().await.what else { panic!() };
    assert_eq!((result.outcome, result.message.as_str()), (Outcome::NotStarted, "no space left"));
    assert!(executor.take(|orders| &mut orders.followed).is_empty());
}

#[test]
fn a_lost_connection_follows_again_from_the_newest_proof_and_never_from_an_older_one() {
    let executor = FakeExecutor::default();
    let mut jobs = JobTable::resume(Vec::new(), Box::new(executor.clone()));
    let id = run(&mut jobs, None);
    jobs.lines_delivered(&id, 40);
    jobs.lines_delivered(&id, 30);
    executor.take(|orders| &mut orders.followed);
    jobs.rewind();
    assert_eq!(executor.take(|orders| &mut orders.followed), [(id.clone(), 40)]);

    jobs.status_sent(&id, &status("pull"));
    jobs.status_delivered(&id);
    jobs.rewind();
    assert!(executor.take(|orders| &mut orders.followed).is_empty(), "history");
    assert_eq!(executor.take(|orders| &mut orders.forgotten), std::slice::from_ref(&id));
    jobs.lines_delivered(&id, 50);
    assert!(!jobs.has_unsaved_positions());
}

#[test]
fn each_job_keeps_its_position_until_it_is_saved_whatever_happens_to_the_others() {
    let executor = FakeExecutor::default();
    let records = vec![record("pull", None, 3), record("switch", None, 0), record("test", None, 0)];
    let ids: Vec<JobId> = records.iter().map(|record| record.id.clone()).collect();
    let mut jobs = JobTable::resume(records, Box::new(executor.clone()));
    jobs.lines_delivered(&ids[0], 3);
    assert!(!jobs.has_unsaved_positions(), "it is on disk");
    jobs.lines_delivered(&ids[0], 12);
    jobs.lines_delivered(&ids[1], 7);
    jobs.lines_delivered(&JobId::generate(), 9);
    jobs.status_delivered(&ids[2]);
    // Of a job that is over nothing is saved: a record would bring it back.
    jobs.lines_delivered(&ids[2], 5);
    jobs.save_positions();
    assert_eq!(executor.take(|orders| &mut orders.saved), [(ids[0].clone(), 12), (ids[1].clone(), 7)]);
    jobs.save_positions();
    assert!(executor.take(|orders| &mut orders.saved).is_empty(), "once");
}

#[test]
fn a_dashboard_that_proves_nothing_does_not_grow_the_list_for_ever() {
    let executor = FakeExecutor::default();
    let mut jobs = JobTable::resume(Vec::new(), Box::new(executor.clone()));
    let ids: Vec<JobId> = (0..100)
        .map(|_| {
            let id = run(&mut jobs, None);
            jobs.status_sent(&id, &status("pull"));
            id
        })
        .collect();
    assert_eq!(executor.take(|orders| &mut orders.forgotten), ids[..100 - MAX_JOBS], "the oldest go");
    executor.take(|orders| &mut orders.followed);
    jobs.rewind();
    assert_eq!(executor.take(|orders| &mut orders.followed).len(), MAX_JOBS);
}

#[test]
fn the_newest_requests_are_remembered_by_their_id_and_one_by_its_newest_status() {
    let executor = FakeExecutor::default();
    let mut jobs = JobTable::resume(Vec::new(), Box::new(executor.clone()));
    for n in 0..=REMEMBERED {
        let id = run(&mut jobs, Some(&n.to_string()));
        jobs.status_sent(&id, &status(&n.to_string()));
        jobs.status_sent(&id, &status(&n.to_string()));
    }
    assert!(jobs.ended("0").is_none(), "the oldest has made room");
    for n in 1..=REMEMBERED {
        assert_eq!(jobs.ended(&n.to_string()).map(|status| status.command.clone()), Some(n.to_string()));
    }
    assert!(jobs.ended("").is_none());
}

/// Writes a line into a log for each start and each end.
#[derive(Debug)]
struct LoggingLauncher(Dispatch);

impl Launcher for LoggingLauncher {
    fn start(&self, _: &Instance) -> Result<(), LaunchError> {
        with_default(&self.0, || tracing::warn!("starting"));
        Ok(())
    }

    fn end(&self, _: &Instance, _: &JobDir, _: Urgency) -> Result<(), LaunchError> {
        with_default(&self.0, || tracing::warn!("ending"));
        Err(LaunchError::Refused("no".to_owned()))
    }
}

#[test]
fn lines_of_the_threads_of_a_job_have_its_id_and_its_command() {
    let log = CapturedLog::default();
    let dispatch = log.dispatch();
    let folder = tempfile::tempdir().unwrap();
    let (jobs, records) = (JobsDir::new(folder.path()), Records::new(folder.path().join("delivery")));
    let launcher = Arc::new(LoggingLauncher(dispatch.clone()));
    let (executor, mut events) = HostExecutor::open(launcher, jobs, records, None).unwrap();
    let record = Record::accept("pull".to_owned(), None);
    let id = record.id.clone();
    with_default(&dispatch, || {
        let mut table = JobTable::resume(Vec::new(), Box::new(executor));
        table.accept(record);
        assert_eq!(events.blocking_recv(), Some(ExecutorEvent::Launched(id.clone())));
        table.launched(&id);
        table.end(Urgency::Stop, "kill");
        let (asked, why) = ("kill".to_owned(), "no".to_owned());
        let expected = ExecutorEvent::NotEnded { id: id.clone(), asked, why };
        assert_eq!(events.blocking_recv(), Some(expected));
    });
    for text in ["starting", "ending"] {
        assert_eq!(log.line(text), format!("WARN job{{id={id} command=\"pull\"}}: {text}"));
    }
}
