use std::sync::mpsc;

use super::*;

const SHORT: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_secs(30);

/// What a lane told its sink about a source.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Found(u32),
    Not(Unknown),
}

struct Tells(mpsc::Sender<(usize, Told)>);

impl Sink for Tells {
    type Kind = usize;
    type Found = u32;

    fn store(&mut self, kind: usize, found: u32) {
        self.0.send((kind, Told::Found(found))).ok();
    }

    fn forget(&mut self, kind: usize, why: Unknown) {
        self.0.send((kind, Told::Not(why))).ok();
    }

    fn is_available(&self, _: usize) -> bool {
        true
    }
}

type Events = mpsc::Receiver<(usize, Told)>;

fn lane() -> (Lane<Tells>, Events) {
    let (tells, told) = mpsc::channel();
    (Lane::new("lane", Tells(tells)), told)
}

impl Lane<Tells> {
    /// Adds a source that is read once.
    fn once(&self, kind: usize, limit: Duration, probe: Probe<u32>) {
        self.add(kind, Pace::every(LONG * 100), limit, probe, Instant::now());
    }

    fn stuck(&self) -> usize {
        self.shared.lock().stuck
    }
}

fn value(value: u32) -> Probe<u32> {
    Box::new(move || value)
}

/// A reading that hangs until the sender is dropped, and says when it began.
fn hanging() -> (mpsc::Sender<()>, mpsc::Receiver<()>, Probe<u32>) {
    let (release, gate) = mpsc::channel::<()>();
    let (begins, begun) = mpsc::channel();
    let probe = move || {
        begins.send(()).ok();
        assert!(gate.recv().is_err());
        7
    };
    (release, begun, Box::new(probe))
}

#[track_caller]
fn next(events: &Events) -> (usize, Told) {
    events.recv_timeout(LONG).expect("an end")
}

#[test]
fn sources_take_turns() {
    let (lane, events) = lane();
    for kind in 0..3 {
        lane.once(kind, LONG, value(10 + kind as u32));
    }
    lane.watch(Instant::now());
    for kind in 0..3 {
        assert_eq!(next(&events), (kind, Told::Found(10 + kind as u32)));
    }
    lane.watch(Instant::now() + LONG * 2);
    assert!(events.try_recv().is_err(), "nothing runs that could be given up");
}

#[test]
fn one_that_hangs_is_given_up_and_the_next_one_has_its_turn() {
    let (lane, events) = lane();
    let (release, begun, probe) = hanging();
    lane.once(0, SHORT, probe);
    lane.once(1, LONG, value(1));
    let begin = Instant::now();
    lane.watch(begin);
    begun.recv_timeout(LONG).unwrap();
    lane.watch(begin);
    assert!(events.try_recv().is_err(), "too early");
    lane.watch(Instant::now() + SHORT);
    assert_eq!(next(&events), (0, Told::Not(Unknown::Hangs)));
    assert_eq!(next(&events), (1, Told::Found(1)));
    assert_eq!(lane.stuck(), 1);
    // It returns, its value is not used, and the source is read again.
    drop(release);
    assert_eq!(next(&events), (0, Told::Found(7)));
    assert_eq!(begun.try_recv(), Ok(()), "that of the second reading");
    assert_eq!(lane.stuck(), 0);
}

#[test]
fn threads_that_hang_are_few() {
    let (lane, events) = lane();
    let mut releases = Vec::new();
    for kind in 0..MAX_STUCK {
        let (release, begun, probe) = hanging();
        releases.push(release);
        lane.once(kind, SHORT, probe);
        lane.watch(Instant::now());
        lane.refresh(|_| false, Instant::now());
        begun.recv_timeout(LONG).unwrap();
        lane.watch(Instant::now() + SHORT);
        assert_eq!(next(&events), (kind, Told::Not(Unknown::Hangs)));
    }
    lane.once(MAX_STUCK, LONG, value(1));
    lane.watch(Instant::now());
    assert!(events.recv_timeout(SHORT).is_err(), "no thread runs");
    // One returns, and the lane goes on in its thread.
    releases.pop();
    let both = [next(&events), next(&events)];
    assert!(both.contains(&(MAX_STUCK, Told::Found(1))), "{both:?}");
    assert!(both.contains(&(MAX_STUCK - 1, Told::Found(7))), "read again: {both:?}");
}

#[test]
fn a_panic_ends_a_reading_and_no_thread() {
    let (lane, events) = lane();
    lane.once(0, LONG, Box::new(|| panic!("on purpose")));
    lane.once(1, LONG, value(1));
    lane.watch(Instant::now());
    assert_eq!(next(&events), (0, Told::Not(Unknown::Panicked)));
    assert_eq!(next(&events), (1, Told::Found(1)));
}

#[test]
fn a_lane_that_goes_waits_for_nobody() {
    let (lane, events) = lane();
    let (release, begun, probe) = hanging();
    lane.once(0, LONG, probe);
    lane.watch(Instant::now());
    begun.recv_timeout(LONG).unwrap();
    let begin = Instant::now();
    drop(lane);
    assert!(begin.elapsed() < LONG / 2);
    // The thread ends when its reading does.
    drop(release);
    assert!(matches!(events.recv_timeout(LONG), Ok((0, Told::Found(7)))));
    assert_eq!(events.recv_timeout(LONG), Err(mpsc::RecvTimeoutError::Disconnected));
}
