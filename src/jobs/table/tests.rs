//! What the tests of sessions do not cover: limits, jobs of earlier agents, and log lines of threads.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use nixfleet_jobs::journal::{Entry, Source};
use nixfleet_jobs::progress::TestProgress;
use nixfleet_jobs::{Instance, Urgency};
use nixfleet_protocol::StatusKind;

use super::*;
use crate::jobs::answered::{File, MAX_KEPT};
use crate::jobs::follower::Follower;

mod log;
mod positions;
mod requests;
mod stops;

/// Records its orders, and keeps the sending ends of its followers.
#[derive(Debug, Clone, Default)]
struct FakeExecutor(Arc<Mutex<Orders>>);

#[derive(Debug, Default)]
struct Orders {
    followed: Vec<(JobId, u64)>,
    ended: Vec<(JobId, Urgency)>,
    forgotten: Vec<JobId>,
    saved: Vec<Record>,
    answered: File,
    jobs: Vec<(JobId, mpsc::Sender<Followed>, watch::Sender<Live>)>,
}

impl Orders {
    /// The jobs of the requests that count as open, as they are in the file.
    fn open(&self) -> Vec<String> {
        let file = serde_json::to_value(&self.answered).unwrap();
        let open = file["open"].as_array().into_iter().flatten();
        open.map(|open| open["job_id"].as_str().unwrap().to_owned()).collect()
    }
}

impl FakeExecutor {
    fn take<T>(&self, field: impl FnOnce(&mut Orders) -> &mut Vec<T>) -> Vec<T> {
        std::mem::take(field(&mut self.0.lock().unwrap()))
    }

    /// Shows another state of a job.
    fn show(&self, id: &JobId, live: Live) {
        let orders = self.0.lock().unwrap();
        orders.jobs.iter().rfind(|(job, ..)| job == id).unwrap().2.send_replace(live);
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
        self.0.lock().unwrap().saved.push(record);
    }

    fn keep_answered(&self, answered: File) {
        self.0.lock().unwrap().answered = answered;
    }

    fn forget(&self, id: &JobId) {
        let mut orders = self.0.lock().unwrap();
        assert!(!orders.open().contains(&id.to_string()), "the next agent would make its record anew");
        orders.forgotten.push(id.clone());
    }
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(3600)
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
fn the_slot_belongs_to_the_job_that_runs_wherever_it_is_in_the_list() {
    let executor = FakeExecutor::default();
    // After a clock that was set back, the ids of jobs do not say which one is newer.
    let records = vec![record("switch", None, 0), record("pull", None, 0), record("test", None, 0)];
    let ids: Vec<JobId> = records.iter().map(|record| record.id.clone()).collect();
    let mut jobs = JobTable::resume(records, Box::new(executor.clone()));
    executor.show(&ids[1], Live { pid: None, ended: true });
    executor.show(&ids[2], Live::default());
    assert_eq!(jobs.current().map(|current| (current.command, current.pid)), Some(("switch", Some(7))));
    executor.show(&ids[2], Live { pid: None, ended: true });
    assert!(jobs.end(Urgency::Stop, "stop", later()));
    assert_eq!(executor.take(|orders| &mut orders.ended), [(ids[0].clone(), Urgency::Stop)]);
    executor.show(&ids[0], Live { pid: None, ended: true });
    assert!(jobs.current().is_none() && !jobs.is_idle(), "three results are to be told");
}

#[tokio::test(start_paused = true)]
async fn a_command_that_ended_frees_the_slot_before_its_output_is_through() {
    let executor = FakeExecutor::default();
    let mut jobs = JobTable::resume(Vec::new(), Box::new(executor.clone()));
    let first = run(&mut jobs, Some("a"));
    executor.show(&first, Live { pid: None, ended: true });
    assert!(jobs.current().is_none() && !jobs.end(Urgency::Stop, "stop", later()));
    let request = |command: &str, id: Option<&str>| CommandRequest {
        command: command.to_owned(),
        id: id.map(str::to_owned),
    };
    for (command, id, known) in
        [("pull", Some("a"), true), ("pull", Some("b"), false), ("pull", None, true), ("test", None, false)]
    {
        assert_eq!(jobs.unreported(&request(command, id)).is_some(), known, "{command} {id:?}");
    }
    let second = run(&mut jobs, Some("b"));
    assert_eq!(jobs.current_record().map(|record| &record.id), Some(&second));
    // The second one is through first, and is told second.
    executor.end(&second);
    assert!(timeout(Duration::from_secs(3600), jobs.next()).await.is_err());
    executor.end(&first);
    for id in [first, second] {
        let event = jobs.next().await;
        assert_eq!(event.id, id);
        jobs.status_sent(&id, &status("pull"));
    }
}

#[tokio::test(start_paused = true)]
async fn how_far_a_command_is_does_not_become_that_of_the_next_one() {
    let executor = FakeExecutor::default();
    let mut jobs = JobTable::resume(Vec::new(), Box::new(executor.clone()));
    let first = run(&mut jobs, Some("a"));
    let test = TestProgress { current: 2, total: 3, passed: 1, running: true, result: None };
    let entry = Entry::new(1, String::new(), Source::System, String::new());
    let entry = Entry { test: Some(Box::new(test)), ..entry };
    let send = |entry| executor.0.lock().unwrap().jobs[0].1.try_send(Followed::Entries(vec![entry])).unwrap();
    send(entry.clone());
    jobs.next().await;
    assert_eq!(jobs.detail(), Some("test 2 of 3"));
    // Its output is not through when the next one begins.
    executor.show(&first, Live { pid: None, ended: true });
    run(&mut jobs, Some("b"));
    send(entry);
    assert_eq!(jobs.next().await.id, first);
    assert_eq!(jobs.detail(), None);
}

#[test]
fn a_request_of_an_earlier_agent_is_known_by_its_id_before_it_is_known_whether_its_command_runs() {
    let executor = FakeExecutor::default();
    let records = vec![record("pull", Some("a"), 0), record("test", Some("b"), 0)];
    let records: Vec<Record> = records
        .into_iter()
        .scan(None, |newest, record| {
            let record = record.after(newest.as_ref());
            *newest = Some(record.id.clone());
            Some(record)
        })
        .collect();
    let (dead, running) = (records[0].id.clone(), records[1].id.clone());
    let jobs = JobTable::resume(records, Box::new(executor.clone()));
    // The folder of the first one was not read yet, and the second one has a process.
    executor.show(&dead, Live::default());
    assert_eq!(jobs.current_record().map(|record| &record.id), Some(&running));
    for (command, id, known) in [
        ("pull", Some("a"), true),
        ("test", Some("b"), true),
        ("pull", Some("c"), false),
        ("pull", None, false),
    ] {
        let request = CommandRequest { command: command.to_owned(), id: id.map(str::to_owned) };
        assert_eq!(jobs.unreported(&request).is_some(), known, "{command} {id:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_failed_is_an_end_without_a_job() {
    let executor = FakeExecutor::default();
    let mut jobs = JobTable::resume(Vec::new(), Box::new(executor.clone()));
    let record = record("pull", None, 0);
    let id = record.id.clone();
    jobs.accept(record);
    jobs.not_launched(&id, "no space left".to_owned());
    assert!(!jobs.starting(&id));
    assert!(jobs.current().is_none(), "nothing runs");
    let Followed::Ended(result) = jobs.next().await.what else { panic!() };
    assert_eq!((result.outcome, result.message.as_str()), (Outcome::NotStarted, "no space left"));
    assert!(executor.take(|orders| &mut orders.followed).is_empty());

    // After a reconnect, and by the next agent, it is told in the same way.
    jobs.status_sent(&id, &status("pull"));
    jobs.rewind();
    let saved = executor.take(|orders| &mut orders.saved);
    for mut jobs in [jobs, JobTable::resume(saved, Box::new(executor.clone()))] {
        let Followed::Ended(again) = jobs.next().await.what else { panic!() };
        assert_eq!(again, result);
    }
    assert!(executor.take(|orders| &mut orders.followed).is_empty(), "there is no folder");
}

#[tokio::test(start_paused = true)]
async fn an_end_that_was_told_is_told_in_the_same_way_again() {
    for delivered_seq in [7, 3] {
        let executor = FakeExecutor::default();
        let told = JobResult::without_supervisor(Outcome::Ok, "told".to_owned(), 7);
        let record = Record { result: Some(Box::new(told.clone())), ..record("pull", None, delivered_seq) };
        let id = record.id.clone();
        let mut jobs = JobTable::resume(vec![record], Box::new(executor.clone()));
        if delivered_seq == 7 {
            // Nothing is left to deliver, so the folder is not needed.
            assert!(executor.take(|orders| &mut orders.followed).is_empty());
        } else {
            // The folder was removed meanwhile, for example.
            let lost = JobResult::without_supervisor(Outcome::Lost, String::new(), 0);
            let orders = executor.0.lock().unwrap();
            let (_, items, _) = orders.jobs.iter().rfind(|(job, ..)| *job == id).unwrap();
            items.try_send(Followed::Ended(Box::new(lost))).unwrap();
        }
        let Followed::Ended(result) = jobs.next().await.what else { panic!() };
        assert_eq!(*result, told);
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_is_saved_before_it_is_told_and_its_message_has_a_bound() {
    let executor = FakeExecutor::default();
    let mut jobs = JobTable::resume(Vec::new(), Box::new(executor.clone()));
    let id = run(&mut jobs, None);
    let long = JobResult::without_supervisor(Outcome::Ok, "é".repeat(3_000_000), 0);
    {
        let orders = executor.0.lock().unwrap();
        orders.jobs[0].1.try_send(Followed::Ended(Box::new(long))).unwrap();
    }
    let Followed::Ended(result) = jobs.next().await.what else { panic!() };
    assert_eq!(result.message.chars().count(), MAX_MESSAGE);
    let saved = executor.take(|orders| &mut orders.saved);
    assert_eq!(saved.len(), 1);
    assert_eq!((&saved[0].id, saved[0].result.as_ref()), (&id, Some(&result)));
    jobs.lines_delivered(&id, 3);
    jobs.save_positions();
    let newest = executor.take(|orders| &mut orders.saved).pop().unwrap();
    assert!(newest.result.is_some() && newest.delivered_seq == 3, "a position does not undo it");
}

#[test]
fn jobs_are_in_order_whatever_the_clock_says() {
    let ahead: JobId = "e".repeat(32).parse().unwrap();
    let executor = FakeExecutor::default();
    let mut jobs = JobTable::resume(Vec::new(), Box::new(executor.clone()))
        .after(Answered::default(), Some(ahead.clone()));
    let mut ids = vec![ahead];
    for _ in 0..3 {
        jobs.accept(record("pull", None, 0));
        ids.push(jobs.current_record().unwrap().id.clone());
        let id = ids[ids.len() - 1].clone();
        jobs.not_launched(&id, String::new());
    }
    assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
}

#[test]
fn a_record_that_could_not_be_read_at_the_start_gets_its_place() {
    let executor = FakeExecutor::default();
    let [first, second, third] =
        [record("pull", None, 0), record("switch", Some("b"), 4), record("test", None, 0)];
    let mut jobs = JobTable::resume(vec![first.clone(), third.clone()], Box::new(executor.clone()));
    executor.take(|orders| &mut orders.followed);
    jobs.found(second.clone());
    jobs.found(second.clone());
    jobs.found(third.clone());
    assert_eq!(executor.take(|orders| &mut orders.followed), [(second.id.clone(), 4)]);
    let order: Vec<&JobId> = jobs.jobs.iter().map(|job| &job.record.id).collect();
    assert_eq!(order, [&first.id, &second.id, &third.id]);
}

#[test]
fn a_dashboard_that_proves_nothing_fills_the_table_and_loses_no_result() {
    let executor = FakeExecutor::default();
    let mut jobs = JobTable::resume(Vec::new(), Box::new(executor.clone()));
    let mut ids = Vec::new();
    while !jobs.is_full() {
        let id = run(&mut jobs, None);
        jobs.status_sent(&id, &status("pull"));
        ids.push(id);
    }
    assert_eq!(ids.len(), MAX_JOBS);
    assert!(executor.take(|orders| &mut orders.forgotten).is_empty());
    executor.take(|orders| &mut orders.followed);
    jobs.rewind();
    assert_eq!(executor.take(|orders| &mut orders.followed).len(), MAX_JOBS, "each is told again");
    jobs.status_delivered(&ids[3]);
    assert!(!jobs.is_full());
}
