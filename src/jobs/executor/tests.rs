//! Launchers that fail or hang.

use std::time::Instant;

use jiff::Timestamp;

use nixfleet_jobs::journal::Writer;
use nixfleet_jobs::record::Unread;
use nixfleet_jobs::spec::Spec;
use nixfleet_os::Machine;
use nixfleet_os::clock::{Clock, Time};
use nixfleet_os::threads::{Gate, Tasks};

use super::*;

/// Reports every start as failed.
#[derive(Debug)]
struct FailingLauncher;

impl Launcher for FailingLauncher {
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
    let launched = || launch(&FailingLauncher, &records, &dir, &record);
    assert_eq!(launched(), Err("the bus is away".to_owned()));
    std::fs::create_dir(dir.path()).unwrap();
    let supervisor = Writer::create(dir.clone(), 1 << 20).unwrap();
    assert_eq!(launched(), Ok(()), "it runs");
    drop(supervisor);
    nixfleet_jobs::test_util::wait_until_dead(&dir);
    assert!(launched().is_err(), "its supervisor died before it had a plan");
    let spec = Spec {
        id: record.id.clone(),
        command: "pull".to_owned(),
        steps: Vec::new(),
        timeout_s: None,
        boot_id: None,
        started_at: String::new(),
    };
    nixfleet_jobs::atomic_file::store(&dir.spec(), &spec).unwrap();
    assert_eq!(launched(), Ok(()), "its supervisor died, and its command may have begun");
    let result = JobResult::without_supervisor(Outcome::Ok, String::new(), 0);
    nixfleet_jobs::atomic_file::store(&dir.result(), &result).unwrap();
    assert_eq!(launched(), Ok(()), "it has ended");
}

/// Waits until this holds. Attempts to write are 2 s apart.
fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_record_stays_until_the_answer_is_on_disk_and_what_could_not_be_written_is_written_later() {
    let folder = tempfile::tempdir().unwrap();
    let (answers, delivery) = (folder.path().join(answered::FILE), folder.path().join("delivery"));
    let (jobs, records) = (JobsDir::new(folder.path().join("jobs")), Records::new(&delivery));
    let (executor, _events) =
        HostExecutor::open(Arc::new(FailingLauncher), jobs, records.clone(), None).unwrap();
    let record = |name: &str| Record::accept(name.to_owned(), Some(name.to_owned()));
    let (told, later) = (record("told"), record("later"));
    records.save(&told).unwrap();
    // As a full disk does: neither the answers nor a record can be written.
    std::fs::create_dir_all(answers.join("in the way")).unwrap();
    let blocked = delivery.join(format!("{}.json", later.id));
    std::fs::create_dir_all(blocked.join("in the way")).unwrap();
    executor.keep_answered(answered::File::default());
    executor.forget(&told.id);
    executor.save(later.clone());
    // Ids sort by time: when this one is written, the others were tried.
    let last = record("last").after(Some(&later.id));
    executor.save(last.clone());
    let has = |record: &Record| records.load().contains(record);
    wait_until("the last record is written", || has(&last));
    assert!(has(&told), "the next agent must know the request by its record");
    assert!(!has(&later));
    std::fs::remove_dir_all(&blocked).unwrap();
    wait_until("the record is written when that is possible", || has(&later));
    assert!(has(&told), "the answers are not on disk yet");
    std::fs::remove_dir_all(&answers).unwrap();
    wait_until("the record is removed when the answers are on disk", || !has(&told));
    assert!(answers.is_file());
}

/// Blocks every order to end a job until the test lets it go on.
#[derive(Debug)]
struct SlowLauncher {
    asked: Mutex<std::sync::mpsc::Sender<(JobId, Urgency)>>,
    go_on: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Launcher for SlowLauncher {
    fn start(&self, _: &Instance) -> Result<(), LaunchError> {
        Ok(())
    }

    fn end(&self, job: &Instance, _: &JobDir, urgency: Urgency) -> Result<(), LaunchError> {
        self.asked.lock().unwrap().send((job.id.clone(), urgency)).unwrap();
        self.go_on.lock().unwrap().recv().ok();
        Err(LaunchError::Ended)
    }
}

#[test]
fn an_order_that_hangs_holds_back_its_repeats_and_no_order_for_another_job() {
    let folder = tempfile::tempdir().unwrap();
    let (jobs, records) = (JobsDir::new(folder.path()), Records::new(folder.path().join("delivery")));
    let (asked, orders) = std::sync::mpsc::channel();
    let (go_on, waits) = std::sync::mpsc::channel();
    let launcher = SlowLauncher { asked: Mutex::new(asked), go_on: Mutex::new(waits) };
    let (executor, mut events) = HostExecutor::open(Arc::new(launcher), jobs, records, None).unwrap();
    let one = Record::accept("pull".to_owned(), None).instance();
    let two = Record::accept("test".to_owned(), None).instance();
    let limit = Duration::from_secs(20);
    let mut carried_out = Vec::new();
    for (job, urgency) in
        [(&one, Urgency::Stop), (&one, Urgency::Stop), (&one, Urgency::Kill), (&two, Urgency::Stop)]
    {
        executor.end(job, urgency, "stop");
    }
    for _ in 0..3 {
        carried_out.push(orders.recv_timeout(limit).expect("an order"));
    }
    for expected in [(&one, Urgency::Stop), (&one, Urgency::Kill), (&two, Urgency::Stop)] {
        assert!(carried_out.contains(&(expected.0.id.clone(), expected.1)), "{carried_out:?}");
    }
    for _ in 0..3 {
        go_on.send(()).unwrap();
        assert!(matches!(events.blocking_recv(), Some(ExecutorEvent::EndedBefore { .. })), "it is told");
    }
    assert!(orders.try_recv().is_err(), "the repeat made no thread");
}

/// A clock that the test moves.
#[derive(Debug)]
struct Hands(Mutex<Instant>);

impl Time for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn instant(&self) -> Instant {
        *locked(&self.0)
    }

    fn sleep(&self, _: Duration) {}

    fn random(&self) -> [u8; 10] {
        [0; 10]
    }
}

#[test]
fn what_could_not_be_read_is_tried_again_in_time_however_much_there_is_to_write() {
    let hands = Arc::new(Hands(Mutex::new(Instant::now())));
    let machine = Machine { clock: Clock::simulated(hands.clone()), ..Machine::default() };
    let folder = tempfile::tempdir().unwrap();
    let (jobs, records) = (JobsDir::on(machine, folder.path()), Records::new(folder.path().join("delivery")));
    let unread = Record::accept("pull".to_owned(), None);
    let busy = Record::accept("test".to_owned(), None).after(Some(&unread.id));
    records.save(&unread).unwrap();
    let opened = HostExecutor::open(Arc::new(FailingLauncher), jobs, records.clone(), None);
    let (executor, mut events) = opened.unwrap();
    let ids = vec![unread.id.clone()];
    executor.retry(Backlog { unread: Unread { ids, folder: false }, answers: false });
    // A position is saved each second, and there is no second without one.
    for second in 1..=20 {
        *locked(&hands.0) += Duration::from_secs(1);
        executor.save(Record { delivered_seq: second, ..busy.clone() });
        executor.records.queue.wait_until_idle(Duration::from_secs(20));
        assert_eq!(records.load().last().map(|record| record.delivered_seq), Some(second));
    }
    assert_eq!(events.try_recv(), Ok(ExecutorEvent::Found(Box::new(unread))));
}

/// Has a thread for the records, and no other one.
#[derive(Debug)]
struct OneThread;

impl Tasks for OneThread {
    fn spawn(&self, name: &str, run: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        match name {
            "records" => std::thread::Builder::new().spawn(run).map(drop),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn gate(&self) -> Arc<dyn Gate> {
        Arc::new(Ticks)
    }

    fn instant(&self) -> std::time::Instant {
        std::time::Instant::now()
    }
}

/// Looks again every millisecond.
#[derive(Debug)]
struct Ticks;

impl Gate for Ticks {
    fn wait(&self, _: Option<Duration>) {
        std::thread::sleep(Duration::from_millis(1));
    }

    fn open(&self) {}
}

#[test]
fn a_command_is_ended_although_there_is_no_thread_to_be_had() {
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine { threads: Threads::simulated(Arc::new(OneThread)), ..Machine::default() };
    let jobs = JobsDir::on(machine, folder.path());
    let records = Records::new(folder.path().join("delivery"));
    let (executor, mut events) = HostExecutor::open(Arc::new(FailingLauncher), jobs, records, None).unwrap();
    let job = Record::accept("pull".to_owned(), None).instance();
    executor.end(&job, Urgency::Stop, "stop");
    let carried_out = ExecutorEvent::EndedBefore { id: job.id, asked: "stop".to_owned() };
    assert_eq!(events.blocking_recv(), Some(carried_out));
}
