//! Models of the hand-over to the thread that writes.

use std::sync::Arc;

use nixfleet_os::model::{check, let_waits_time_out};
use nixfleet_os::sync::thread;

use super::*;

/// What the thread has written.
#[derive(Default)]
struct Disk {
    /// The position in the record of each job; none: it was removed.
    positions: BTreeMap<JobId, Option<u64>>,
    /// How many requests were answered, by the file.
    answered: Option<answered::File>,
}

fn record(id: &JobId, position: u64) -> Option<Record> {
    let record = Record::accept("pull".to_owned(), None);
    Some(Record { id: id.clone(), delivered_seq: position, ..record })
}

/// Two ids in this order.
fn ids() -> [JobId; 2] {
    let one = JobId::generate();
    let two = JobId::generate().after(Some(&one));
    [one, two]
}

fn write(disk: &Mutex<Disk>, work: Work) {
    // As the writer does: each is an operation of its own.
    if let Some((answered, _)) = work.answered {
        disk.lock().expect("nobody panicked").answered = Some(answered);
    }
    for (id, (record, _)) in work.records {
        let position = record.map(|record| record.delivered_seq);
        let mut disk = disk.lock().expect("nobody panicked");
        let old = disk.positions.insert(id, position);
        assert!(old.flatten() <= position || position.is_none(), "an older record over a newer one");
    }
}

/// The agent puts and waits, twice. After each wait the newest record of each job is written, and a request that was
/// answered is in its file before the record of its job is removed. The thread ends with the queue.
fn the_newest_is_written_when_the_queue_is_idle() {
    let queue = Arc::new(WriteQueue::new(&Machine::default()));
    let disk = Arc::<Mutex<Disk>>::default();
    let (served, written) = (Arc::clone(&queue), Arc::clone(&disk));
    // The first attempt to write the answers fails.
    let mut failed = None;
    let thread = thread::spawn(move || {
        served.serve(|mut work| {
            if let Some(again) = failed.take() {
                work.answered = Some(again);
            } else if work.answered.is_some() {
                failed = work.answered.take();
            }
            write(&written, work);
            failed.is_some()
        });
    });
    // Somebody else who waits must not take the wake-up of the agent.
    let waits = Arc::clone(&queue);
    let other = thread::spawn(move || waits.wait_until_idle(RETRY));
    let [one, two] = ids();
    queue.put(one.clone(), record(&one, 1));
    queue.put(two.clone(), record(&two, 1));
    queue.put(one.clone(), record(&one, 2));
    queue.wait_until_idle(RETRY);
    {
        let disk = disk.lock().expect("nobody panicked");
        assert_eq!(
            disk.positions,
            [(one.clone(), Some(2)), (two.clone(), Some(1))].into(),
            "records when idle"
        );
    }
    queue.put_answered(answered::File::default());
    queue.put(one.clone(), None);
    // The attempt after the close is due to nothing but the failure before it.
    queue.wait_until_idle(RETRY);
    queue.close();
    queue.wait_until_idle(RETRY);
    {
        let disk = disk.lock().expect("nobody panicked");
        assert_eq!(disk.positions, [(one, None), (two, Some(1))].into(), "records at the end");
        assert!(disk.answered.is_some(), "a request is forgotten");
    }
    thread.join().expect("the thread does not panic");
    other.join().expect("the other one does not panic");
}

/// The file of an earlier agent could not be read. Nothing is written over it before it was read, and then the new one
/// is. Waits may time out here: that is when the thread tries again.
fn nothing_is_written_over_a_file_that_was_not_read() {
    let_waits_time_out(true);
    let queue = Arc::new(WriteQueue::new(&super::tests::hasty_machine()));
    queue.retry(Backlog { answers: true, ..Backlog::default() });
    let disk = Arc::<Mutex<Disk>>::default();
    let (served, written) = (Arc::clone(&queue), Arc::clone(&disk));
    let thread = thread::spawn(move || {
        let mut tries = 0;
        served.serve(|work| {
            assert!(work.answered.is_none() || tries == 2, "written over what was not read");
            let retry = work.retry;
            write(&written, work);
            if retry {
                tries += 1;
                let (backlog, _) = served.backlog();
                assert!(backlog.answers, "it is tried again while there is a backlog");
                served.retry(Backlog { answers: tries < 2, ..backlog });
            }
            false
        });
        tries
    });
    queue.put_answered(answered::File::default());
    let [one, _] = ids();
    queue.put(one.clone(), record(&one, 1));
    while disk.lock().expect("nobody panicked").answered.is_none() {
        thread::yield_now();
    }
    queue.close();
    assert_eq!(thread.join().expect("the thread does not panic"), 2);
    assert_eq!(disk.lock().expect("nobody panicked").positions, [(one, Some(1))].into());
    let_waits_time_out(false);
}

#[test]
fn records() {
    let faults = [
        ("notify-before-the-change", "the thread is woken before there is something to write"),
        ("silently-done", "nobody is woken when all is written"),
        ("not-writing", "the queue counts as idle while its work is carried out"),
        ("older-record-wins", "a newer record does not replace the one that waits"),
        ("give-up", "what could not be written is not tried once more"),
        ("wait-once", "a thread that is woken goes on, whatever it waited for"),
    ];
    check("record writer", &faults, the_newest_is_written_when_the_queue_is_idle);
}

#[test]
fn backlog() {
    let over = ("write-over-the-unread", "a file that was not read is written anew");
    check("record writer, backlog", &[over], nothing_is_written_over_a_file_that_was_not_read);
}
