use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::Timestamp;
use nixfleet_os::clock::Time;

use super::*;

/// A clock on which a second goes by with each look at it.
#[derive(Debug)]
struct Hasty(Instant, AtomicU32);

impl Time for Hasty {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn instant(&self) -> Instant {
        self.0 + Duration::from_secs(1) * self.1.fetch_add(1, Ordering::Relaxed)
    }

    fn sleep(&self, _: Duration) {}

    fn random(&self) -> [u8; 10] {
        [0; 10]
    }
}

pub(super) fn hasty_machine() -> Machine {
    let clock = Clock::simulated(Arc::new(Hasty(Instant::now(), AtomicU32::new(0))));
    Machine { clock, ..Machine::default() }
}

#[test]
fn a_backlog_is_tried_again_while_records_come_all_the_time() {
    let queue = WriteQueue::new(&hasty_machine());
    queue.retry(Backlog { answers: true, ..Backlog::default() });
    let record = Record::accept("pull".to_owned(), None);
    let (mut rounds, mut retries) = (0, 0);
    queue.put(record.id.clone(), Some(record.clone()));
    queue.serve(|work| {
        rounds += 1;
        assert_eq!(work.records.len(), 1);
        if work.retry {
            retries += 1;
            queue.retry(queue.backlog().0);
        }
        match rounds {
            40 => queue.close(),
            _ => queue.put(record.id.clone(), Some(record.clone())),
        }
        false
    });
    assert!((5..=9).contains(&retries), "{retries} in {rounds} rounds, of which each takes a second or two");
}
