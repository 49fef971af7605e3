use super::*;

const SHORT: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_secs(30);

type Events = mpsc::Receiver<Done<u32>>;

fn worker() -> (Worker<u32, Done<u32>>, Events) {
    let (events, received) = mpsc::sync_channel(16);
    (Worker::new("worker", events, |done| done), received)
}

fn value(value: u32) -> Probe<u32> {
    Box::new(move || value)
}

/// A probe that hangs until the sender is dropped.
fn hanging() -> (mpsc::Sender<()>, Probe<u32>) {
    let (release, gate) = mpsc::channel::<()>();
    let probe = move || {
        assert!(gate.recv().is_err());
        7
    };
    (release, Box::new(probe))
}

#[track_caller]
fn next(events: &Events) -> Done<u32> {
    events.recv_timeout(LONG).expect("an end")
}

#[test]
fn looks_take_turns() {
    let (mut worker, events) = worker();
    let now = Instant::now();
    for task in 0..3 {
        worker.push(task, LONG, value(10 + task as u32), now);
    }
    for task in 0..3 {
        let done = next(&events);
        assert_eq!((done.task, done.found), (task, Some(10 + task as u32)));
        assert!(worker.finish(&done, now));
    }
    assert!(worker.deadline().is_none());
    assert_eq!(worker.expire(now + LONG * 2), None);
}

#[test]
fn one_that_hangs_is_given_up_and_the_next_one_has_its_turn() {
    let (mut worker, events) = worker();
    let (release, probe) = hanging();
    let begin = Instant::now();
    worker.push(0, SHORT, probe, begin);
    worker.push(1, SHORT, value(1), begin);
    assert_eq!(worker.expire(begin), None, "too early");
    assert_eq!(worker.expire(worker.deadline().unwrap()), Some(0));
    let done = next(&events);
    assert_eq!(done.task, 1);
    assert!(worker.finish(&done, begin));
    // It returns, and its value is not used.
    drop(release);
    let mut late = next(&events);
    assert_eq!((late.task, late.found), (0, Some(7)));
    assert!(!worker.finish(&late, begin));
    assert_eq!(worker.stuck, 0);
    // The probe can be run again.
    assert_eq!((late.probe)(), 7);
}

#[test]
fn threads_that_hang_are_few() {
    let (mut worker, events) = worker();
    let begin = Instant::now();
    let mut releases = Vec::new();
    for task in 0..MAX_STUCK {
        let (release, probe) = hanging();
        releases.push(release);
        worker.push(task, SHORT, probe, begin);
        assert_eq!(worker.expire(worker.deadline().unwrap()), Some(task));
    }
    worker.push(MAX_STUCK, SHORT, value(1), begin);
    assert!(worker.deadline().is_none(), "it does not run");
    assert!(events.recv_timeout(SHORT).is_err());
    // One returns, and the worker continues.
    releases.pop();
    let late = next(&events);
    assert!(!worker.finish(&late, begin));
    assert_eq!(next(&events).task, MAX_STUCK);
}

#[test]
fn a_panic_ends_a_look_and_no_thread() {
    let (mut worker, events) = worker();
    let now = Instant::now();
    worker.push(0, LONG, Box::new(|| panic!("on purpose")), now);
    worker.push(1, LONG, value(1), now);
    let done = next(&events);
    assert_eq!((done.task, done.found), (0, None));
    assert!(worker.finish(&done, now));
    assert_eq!(next(&events).found, Some(1));
}

#[test]
fn a_lane_that_goes_waits_for_nobody() {
    let (mut worker, events) = worker();
    let (release, probe) = hanging();
    worker.push(0, LONG, probe, Instant::now());
    let begin = Instant::now();
    drop((worker, events));
    assert!(begin.elapsed() < LONG / 2);
    drop(release);
}
