//! Models of the hand-over between the scheduler and the threads that measure.

use std::sync::Arc;

use nixfleet_os::model::{check, coin};
use nixfleet_os::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const LIMIT: Duration = Duration::from_secs(1);

/// Probes that run at the same time, and how often each has run.
#[derive(Default)]
struct Seen {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// What a probe returns: its task, and the run of it.
type Value = (usize, usize);

fn probe(task: usize, seen: &Arc<Seen>) -> Probe<Value> {
    let (seen, mut runs) = (Arc::clone(seen), 0);
    Box::new(move || {
        let now = seen.now.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most.fetch_max(now, Ordering::SeqCst);
        runs += 1;
        // Others go on meanwhile.
        thread::yield_now();
        seen.now.fetch_sub(1, Ordering::SeqCst);
        (task, runs)
    })
}

/// A scheduler with four tasks, which gives up on some probes. Each probe comes back, whatever happened to its thread.
/// Its answer counts if and only if it was not given up. As many threads run as the worker may have.
fn a_late_answer_counts_for_nobody() {
    let (events, received) = mpsc::sync_channel::<Done<Value>>(1);
    let mut worker: Worker<Value, Done<Value>> = Worker::new("worker", events, |done| done);
    let seen = Arc::<Seen>::default();
    let now = Instant::now();
    // The runs that were begun, and those that were given up, of each task.
    let (mut begun, mut given_up) = ([1; 4], [0; 4]);
    for task in 0..4 {
        worker.push(task, LIMIT, probe(task, &seen), now);
    }
    // Probes that are not back, and further runs.
    let (mut away, mut more) = (4, 2);
    while away > 0 {
        while coin()
            && let Some(deadline) = worker.deadline()
            && let Some(task) = worker.expire(deadline)
        {
            assert_eq!(given_up[task], 0, "a task is given up once for each run");
            given_up[task] = begun[task];
        }
        let done = received.recv().expect("the worker has a sender");
        away -= 1;
        let (task, run) = done.found.expect("no probe panics");
        assert_eq!((task, run), (done.task, begun[done.task]), "no other run was begun");
        let in_time = worker.finish(&done, now);
        assert_eq!(in_time, std::mem::take(&mut given_up[task]) != run, "run {run} of task {task}");
        assert!(worker.stuck <= MAX_STUCK);
        if more > 0 {
            (away, more) = (away + 1, more - 1);
            begun[task] += 1;
            worker.push(task, LIMIT, done.probe, now);
        }
    }
    let most = seen.most.load(Ordering::SeqCst);
    assert!(most <= MAX_STUCK + 1, "{most} probes ran at once");
    assert!(worker.queue.is_empty() && worker.running.is_none() && worker.stuck == 0, "all came back");
}

/// While one probe hangs, the other one runs in a new thread, and comes back before it.
fn a_stuck_probe_holds_nobody_up() {
    let (events, received) = mpsc::sync_channel::<Done<Value>>(1);
    let mut worker: Worker<Value, Done<Value>> = Worker::new("worker", events, |done| done);
    let (release, gate) = mpsc::channel::<()>();
    let now = Instant::now();
    let hangs = move || {
        assert!(gate.recv().is_err(), "it is let go by the end of the sender");
        (0, 1)
    };
    worker.push(0, LIMIT, Box::new(hangs), now);
    worker.push(1, LIMIT, Box::new(|| (1, 1)), now);
    assert_eq!(worker.expire(now + LIMIT), Some(0));
    let done = received.recv().expect("the worker has a sender");
    assert_eq!(done.found, Some((1, 1)));
    assert!(worker.finish(&done, now));
    drop(release);
    let late = received.recv().expect("the worker has a sender");
    assert!(!worker.finish(&late, now), "a late answer");
    assert_eq!(worker.stuck, 0);
}

#[test]
fn answers() {
    let late = ("late-is-in-time", "an answer counts as that of the probe that runs");
    let forget = ("forget-the-stuck", "threads that hang are not counted");
    check("vitals worker", &[late, forget], a_late_answer_counts_for_nobody);
}

#[test]
fn stuck_threads() {
    let keep = ("keep-the-stuck-thread", "the next probe goes to the thread that hangs");
    check("vitals worker, one stuck", &[keep], a_stuck_probe_holds_nobody_up);
}
