//! Models of the hand-over from the thread of a follower to the session, with a real job folder, log and thread.

use nixfleet_jobs::atomic_file::store;
use nixfleet_jobs::journal::{Source, Writer};
use nixfleet_jobs::spec::Outcome;
use nixfleet_os::model::{check, coin};
use nixfleet_os::sync::block_on;

use super::*;

/// Lines of a job: more than fit into the channel and the batch behind it.
const LINES: u64 = 5;

/// A job with its folder.
struct Job {
    _folder: tempfile::TempDir,
    jobs: JobsDir,
    id: JobId,
}

impl Job {
    /// Returns the log of its supervisor, too: the job runs as long as somebody has it, unless it has ended.
    fn new(ended: bool) -> (Self, Writer) {
        let folder = tempfile::tempdir().expect("a folder for the job");
        let (jobs, id) = (JobsDir::new(folder.path()), JobId::generate());
        let dir = jobs.job(&id);
        std::fs::create_dir(dir.path()).expect("a folder for the job");
        let mut writer = Writer::create(dir.clone(), 1 << 20).expect("a log");
        for n in 1..=LINES {
            writer.line(Source::Stdout, &format!("line {n}"), false);
        }
        writer.flush();
        if ended {
            let mut result = JobResult::without_supervisor(Outcome::Ok, "done".to_owned(), writer.last_seq());
            (result.lines, result.dropped_lines) = (Some(LINES), Some(0));
            store(&dir.result(), &result).expect("a result");
        }
        (Self { _folder: folder, jobs, id }, writer)
    }

    fn follow(&self) -> Follower {
        follow(&self.jobs, &self.id, 0, Live::default(), None).expect("there is a thread")
    }
}

/// Takes items until `last` was among them; 0 is the end of the job. Each is the next one behind `after`.
fn take(items: &mut Items, mut after: u64, last: u64) {
    loop {
        match block_on(items.recv()).expect("the thread ended before the job was told") {
            Followed::Entries(entries) => {
                for entry in entries {
                    assert_eq!(entry.seq, after + 1, "the order is kept, and nothing is lost");
                    after = entry.seq;
                }
                if after == last {
                    return;
                }
            }
            Followed::Ended(_) => {
                assert_eq!((after, last), (LINES, 0), "the end comes behind the last line");
                return;
            }
        }
    }
}

/// A job that has ended, a session that reads a part, and another one that begins again behind what was proven. It
/// gets every line behind that and the end, from the same thread or from a new one. Threads end with their items.
fn a_rewind_is_never_lost(job: &Job) {
    let mut follower = job.follow();
    let read = if coin() { 1 } else { LINES };
    take(&mut follower.items, 0, read);
    let proven = read - 1;
    if follower.items.rewind(proven) {
        take(&mut follower.items, proven, 0);
        // The thread is on its way out, or waits for nobody.
        if follower.items.rewind(LINES) {
            take(&mut follower.items, LINES, 0);
        }
    } else {
        take(&mut job.follow().items, 0, 0);
    }
}

/// A job that runs and writes nothing: the thread waits for changes of the folder. It hears that it has to begin again,
/// and that nobody receives any more.
fn the_bell_is_heard(job: &Job) {
    let mut follower = job.follow();
    take(&mut follower.items, 0, LINES);
    assert!(follower.items.rewind(LINES - 1), "the job runs, and so does its thread");
    take(&mut follower.items, LINES - 1, LINES);
    assert!(follower.items.rewind(0), "the job runs, and so does its thread");
    take(&mut follower.items, 0, 1);
    drop(follower);
}

#[test]
fn items_and_rewinds() {
    let (ended, _) = Job::new(true);
    let faults = [
        ("room-without-a-word", "the thread is not woken when an item was taken"),
        ("done-in-two-steps", "the thread looks for an order and says that it ends in two steps"),
    ];
    check("follower, a job that ended", &faults, move || a_rewind_is_never_lost(&ended));
}

#[test]
fn bell() {
    let (runs, _supervisor) = Job::new(false);
    let faults = [
        ("silent-bell", "the thread is not woken from its wait for changes"),
        ("ring-before-the-rewind", "the thread is woken before it can see that its channel is closed"),
        ("ring-before-the-close", "the same when the items are dropped"),
    ];
    check("follower, a job that runs", &faults, move || the_bell_is_heard(&runs));
}
