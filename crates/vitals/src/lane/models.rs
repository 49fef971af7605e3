//! Models of the hand-over between the threads that read and those who want the values.

use std::sync::Arc;

use nixfleet_os::model::{check, coin};
use nixfleet_os::sync::atomic::{AtomicUsize, Ordering};
use nixfleet_os::sync::mpsc;

use super::*;

const LIMIT: Duration = Duration::from_secs(1);

/// Between two readings of a source, if nobody asks for one.
const NEVER: Duration = Duration::from_secs(1_000_000);

/// Readings that are under way, and the most at once.
#[derive(Default)]
struct Seen {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// Checks each call: a reading counts if and only if it was not given up, and each is given up once at most.
struct Judge {
    /// Count of readings of each source that counted, or were given up.
    over: [usize; 4],
    stored: mpsc::Sender<usize>,
}

impl Sink for Judge {
    type Kind = usize;
    type Found = usize;

    fn store(&mut self, kind: usize, run: usize) {
        self.over[kind] += 1;
        assert_eq!(run, self.over[kind], "each reading of source {kind} before it counted or was given up");
        self.stored.send(kind).ok();
    }

    fn forget(&mut self, kind: usize, why: Unknown) {
        assert_eq!(why, Unknown::Hangs);
        self.over[kind] += 1;
    }

    fn is_available(&self, _: usize) -> bool {
        true
    }
}

fn probe(seen: &Arc<Seen>) -> Probe<usize> {
    let (seen, mut runs) = (Arc::clone(seen), 0);
    Box::new(move || {
        let now = seen.now.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most.fetch_max(now, Ordering::SeqCst);
        runs += 1;
        // Others go on meanwhile.
        while coin() {
            thread::yield_now();
        }
        seen.now.fetch_sub(1, Ordering::SeqCst);
        runs
    })
}

/// A lane with four sources, whose readings are given up now and then. Each source has a value in the end, which is not
/// that of a reading that was given up, and as many threads run as the lane may have.
fn a_late_answer_counts_for_nobody() {
    let (stored, received) = mpsc::channel();
    let lane = Lane::new("lane", Judge { over: [0; 4], stored });
    let seen = Arc::<Seen>::default();
    let now = Instant::now();
    for kind in 0..4 {
        lane.add(kind, Pace::every(NEVER), LIMIT, probe(&seen), now);
    }
    lane.watch(now);
    let mut missing = [true; 4];
    let mut patience = 5;
    while missing.contains(&true) {
        while patience > 0 && coin() {
            patience -= 1;
            lane.watch(now + NEVER);
            thread::yield_now();
        }
        // Those that were given up are read again when they come back, also if nobody watches.
        lane.watch(now);
        missing[received.recv().expect("the lane has a sender")] = false;
    }
    let most = seen.most.load(Ordering::SeqCst);
    assert!(most <= MAX_STUCK + 1, "{most} readings at once");
}

/// While one reading hangs, the other one runs in a new thread.
fn a_stuck_reading_holds_nobody_up() {
    let (stored, received) = mpsc::channel();
    let lane = Lane::new("lane", Judge { over: [0; 4], stored });
    let (release, gate) = mpsc::channel::<()>();
    let (begins, begun) = mpsc::channel::<()>();
    let now = Instant::now();
    let mut runs = 0;
    let hangs = move || {
        begins.send(()).ok();
        assert!(gate.recv().is_err(), "it is let go by the end of the sender");
        runs += 1;
        runs
    };
    lane.add(0, Pace::every(NEVER), LIMIT, Box::new(hangs), now);
    lane.add(1, Pace::every(NEVER), LIMIT, Box::new(|| 1), now);
    lane.watch(now);
    begun.recv().expect("a reading begins");
    lane.watch(now + NEVER);
    assert_eq!(received.recv(), Ok(1), "the other one");
    drop(release);
    assert_eq!(received.recv(), Ok(0), "read again");
}

#[test]
fn answers() {
    let late = ("late-is-in-time", "an answer of a reading that was given up counts");
    let forget = ("forget-the-stuck", "threads that hang are not counted");
    check("lane of vitals", &[late, forget], a_late_answer_counts_for_nobody);
}

#[test]
fn stuck_threads() {
    let keep = ("keep-the-stuck-thread", "the next reading waits for the thread that hangs");
    check("lane of vitals, one stuck", &[keep], a_stuck_reading_holds_nobody_up);
}
