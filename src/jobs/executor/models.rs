//! A model of the executor with its threads and its files.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use nixfleet_os::model::check;
use nixfleet_os::sync::thread;

use super::*;

/// Starts everything, and counts.
#[derive(Debug, Default)]
struct Counting(AtomicUsize);

impl Launcher for Counting {
    fn start(&self, _: &Instance) -> Result<(), LaunchError> {
        thread::yield_now();
        self.0.fetch_add(1, SeqCst);
        Ok(())
    }

    fn end(&self, _: &Instance, _: &JobDir, _: Urgency) -> Result<(), LaunchError> {
        Err(LaunchError::Ended)
    }
}

/// An agent that launches two jobs, saves, forgets and ends. When the executor is dropped, each launch is over, each
/// record is the newest one, and each order has its event. The threads end with it.
fn all_is_done_when_it_is_dropped(folder: &Path) {
    let (jobs, records) = (JobsDir::new(folder.join("jobs")), Records::new(folder.join("delivery")));
    let launcher = Arc::new(Counting::default());
    let (executor, mut events) = HostExecutor::open(Arc::<Counting>::clone(&launcher), jobs, records, None)
        .expect("there are threads");
    let [one, two] = ["pull", "test"].map(|command| Record::accept(command.to_owned(), None));
    executor.launch(one.clone());
    executor.launch(two.clone());
    executor.end(&one.instance(), Urgency::Stop, "stop");
    executor.save(Record { delivered_seq: 1, ..two.clone() });
    executor.save(Record { delivered_seq: 2, ..two.clone() });
    drop(executor);
    assert_eq!(launcher.0.load(SeqCst), 2, "a launch is still on its way");
    let mut told = Vec::new();
    while let Some(event) = nixfleet_os::sync::block_on(events.recv()) {
        told.push(event);
    }
    let launched = [&one, &two].map(|record| ExecutorEvent::Launched(record.id.clone()));
    let ended = ExecutorEvent::EndedBefore { id: one.id.clone(), asked: "stop".to_owned() };
    for event in launched.iter().chain([&ended]) {
        assert_eq!(told.iter().filter(|told| *told == event).count(), 1, "{event:?} in {told:?}");
    }
    let records = Records::new(folder.join("delivery"));
    for record in [&one, &two] {
        records.forget(&record.id).expect("the record can be removed");
    }
}

#[test]
fn launches_and_records() {
    // In memory where there is such a folder: each interleaving writes its files and syncs them.
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let folder = folder.expect("a folder for files");
    let path = folder.path().to_owned();
    let by_thread = ("counted-by-the-thread", "a launch is counted when its thread runs");
    let silent = ("silently-launched", "the end of a launch wakes nobody");
    check("executor", &[by_thread, silent], move || all_is_done_when_it_is_dropped(&path));
}
