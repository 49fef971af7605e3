use super::*;

const SHORT: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_secs(30);

type Events = mpsc::Receiver<Done<u32>>;

fn lane() -> (Lane<u32, Done<u32>>, Events) {
    let (events, received) = mpsc::sync_channel(16);
    (Lane::new("lane", events, |done| done), received)
}

fn value(value: u32) -> Work<u32> {
    Box::new(move || value)
}

/// A look that ends when the sender does.
fn hanging() -> (mpsc::Sender<()>, Work<u32>) {
    let (release, gate) = mpsc::channel::<()>();
    let work = move || {
        assert!(gate.recv().is_err());
        7
    };
    (release, Box::new(work))
}

#[track_caller]
fn next(events: &Events) -> Done<u32> {
    events.recv_timeout(LONG).expect("an end")
}

#[test]
fn looks_take_turns() {
    let (mut lane, events) = lane();
    let now = Instant::now();
    for task in 0..3 {
        lane.push(task, LONG, value(10 + task as u32), now);
    }
    for task in 0..3 {
        let done = next(&events);
        assert_eq!((done.task, done.found), (task, Some(10 + task as u32)));
        assert!(lane.ended(&done, now));
    }
    assert!(lane.until().is_none());
    assert_eq!(lane.give_up(now + LONG * 2), None);
}

#[test]
fn one_that_hangs_is_given_up_and_the_next_one_has_its_turn() {
    let (mut lane, events) = lane();
    let (release, work) = hanging();
    let begin = Instant::now();
    lane.push(0, SHORT, work, begin);
    lane.push(1, SHORT, value(1), begin);
    assert_eq!(lane.give_up(begin), None, "too early");
    assert_eq!(lane.give_up(lane.until().unwrap()), Some(0));
    let done = next(&events);
    assert_eq!(done.task, 1);
    assert!(lane.ended(&done, begin));
    // It comes back, and does not count.
    drop(release);
    let mut late = next(&events);
    assert_eq!((late.task, late.found), (0, Some(7)));
    assert!(!lane.ended(&late, begin));
    assert_eq!(lane.lost, 0);
    // Its work is whole.
    assert_eq!((late.work)(), 7);
}

#[test]
fn threads_that_hang_are_few() {
    let (mut lane, events) = lane();
    let begin = Instant::now();
    let mut releases = Vec::new();
    for task in 0..MAX_LOST {
        let (release, work) = hanging();
        releases.push(release);
        lane.push(task, SHORT, work, begin);
        assert_eq!(lane.give_up(lane.until().unwrap()), Some(task));
    }
    lane.push(MAX_LOST, SHORT, value(1), begin);
    assert!(lane.until().is_none(), "it has no turn");
    assert!(events.recv_timeout(SHORT).is_err());
    // One comes back, and the lane goes on.
    releases.pop();
    let late = next(&events);
    assert!(!lane.ended(&late, begin));
    assert_eq!(next(&events).task, MAX_LOST);
}

#[test]
fn a_panic_ends_a_look_and_no_thread() {
    let (mut lane, events) = lane();
    let now = Instant::now();
    lane.push(0, LONG, Box::new(|| panic!("on purpose")), now);
    lane.push(1, LONG, value(1), now);
    let done = next(&events);
    assert_eq!((done.task, done.found), (0, None));
    assert!(lane.ended(&done, now));
    assert_eq!(next(&events).found, Some(1));
}

#[test]
fn a_lane_that_goes_waits_for_nobody() {
    let (mut lane, events) = lane();
    let (release, work) = hanging();
    lane.push(0, LONG, work, Instant::now());
    let begin = Instant::now();
    drop((lane, events));
    assert!(begin.elapsed() < LONG / 2);
    drop(release);
}
