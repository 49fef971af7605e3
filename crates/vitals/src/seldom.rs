//! Values that are read no more often than the kernel changes them, or than they tell something new.

use std::time::Duration;

use crate::clock::{Moment, Timed};
use crate::collector::Collector;
use crate::source::Sample;

/// A reading that comes earlier by this part of the period is in time. Readings for heartbeats are a little early or
/// late, and of two in a period the second one must not be left out.
const EARLY: u32 = 20;

/// The newest value of a source that is read once in a period.
#[derive(Debug)]
pub(crate) struct Seldom<T> {
    period: Duration,
    newest: Option<Timed<T>>,
}

impl<T: Copy> Seldom<T> {
    /// Nothing is read yet.
    pub(crate) fn every(period: Duration) -> Self {
        Self { period, newest: None }
    }

    /// The newest value. `read` gets a new one if the period is over, and counts for the collector. A source that cannot
    /// be read has no value.
    pub(crate) fn sample(
        &mut self,
        now: Moment,
        collector: &Collector,
        read: impl FnOnce() -> Sample<T>,
    ) -> Option<Timed<T>> {
        if self.newest.is_none_or(|newest| newest.age(now) >= self.period - self.period / EARLY) {
            self.newest = collector.run(read).map(|value| Timed { value, taken_at: now });
        }
        self.newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceError;

    #[test]
    fn a_value_is_read_once_in_its_period_and_keeps_its_time() {
        let (collector, mut seldom) = (Collector::new("load"), Seldom::every(Duration::from_secs(5)));
        let begin = Moment::now();
        let mut at = |millis: u64, found: Sample<u32>| {
            let now = begin.after(Duration::from_millis(millis), Duration::ZERO);
            let sample = seldom.sample(now, &collector, || found)?;
            Some((sample.value, sample.taken_at.since(begin).as_millis()))
        };
        assert_eq!([at(0, Ok(Some(1))), at(4_600, Ok(Some(2)))], [Some((1, 0)); 2]);
        assert_eq!(at(4_800, Ok(Some(3))), Some((3, 4_800)), "a little early");
        // What cannot be read is unknown, and tried again at once.
        assert_eq!(at(10_000, Err(SourceError::garbage("x".as_ref()))), None);
        assert_eq!(at(11_000, Ok(None)), None);
        assert_eq!(at(12_000, Ok(Some(4))), Some((4, 12_000)));
        assert_eq!((collector.stats().runs, collector.stats().errors), (5, 1));
    }
}
