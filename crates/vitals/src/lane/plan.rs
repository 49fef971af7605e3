//! When each source of a lane is read. No I/O, no threads.

use std::time::{Duration, Instant};

/// How long before values are taken the reading for them begins. It takes less than a millisecond on an idle host, and
/// on a busy one the thread may have to wait for a processor.
const LEAD: Duration = Duration::from_millis(50);

/// Shortest time between two readings of an aligned source. The clock tick of 10 ms would distort shares of a shorter
/// time.
const MIN_GAP: Duration = Duration::from_millis(250);

/// One measurement of one source. It owns what it remembers from earlier ones, so it moves to the thread and back.
pub(crate) type Probe<T> = Box<dyn FnMut() -> T + Send>;

/// How often a source is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Time between two readings.
    pub(crate) period: Duration,
    /// Time from the first reading to the second one.
    pub(crate) first: Duration,
    /// Read shortly before its values are taken, if that moment is known.
    pub(crate) aligned: bool,
}

impl Pace {
    /// One reading every `period`.
    pub(crate) fn every(period: Duration) -> Self {
        Self { period, first: period, aligned: false }
    }

    /// One reading every `period`, shortly before values are taken. The second one follows soon, so that differences
    /// of two readings are known early.
    pub(crate) fn before_each_taking(period: Duration) -> Self {
        Self { period, first: MIN_GAP, aligned: true }
    }
}

/// A source and its schedule.
pub(super) struct Task<K, T> {
    kind: K,
    pace: Pace,
    limit: Duration,
    due: Instant,
    /// Somebody asked for a reading: nothing postpones it.
    asked: bool,
    /// When the newest reading began.
    began: Option<Instant>,
    /// There was more than one reading.
    has_second: bool,
    /// None while it is read.
    probe: Option<Probe<T>>,
}

/// The sources of a lane.
pub(super) struct Plan<K, T> {
    tasks: Vec<Task<K, T>>,
    /// When the next reading of aligned sources has to begin, if that is known.
    wanted: Option<Instant>,
    /// Until when the thread sleeps, if it does.
    sleeps_until: Option<Instant>,
}

impl<K, T> Default for Plan<K, T> {
    fn default() -> Self {
        Self { tasks: Vec::new(), wanted: None, sleeps_until: None }
    }
}

impl<K: Copy, T> Plan<K, T> {
    pub(super) fn add(&mut self, kind: K, pace: Pace, limit: Duration, probe: Probe<T>, now: Instant) {
        let probe = Some(probe);
        let (began, has_second, asked) = (None, false, false);
        self.tasks.push(Task { kind, pace, limit, due: now, asked, began, has_second, probe });
    }

    pub(super) fn kind(&self, task: usize) -> K {
        self.tasks[task].kind
    }

    /// Takes the next source that is due, with its time limit: the one that has waited longest.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        is_available: impl Fn(K) -> bool,
    ) -> Option<(usize, Duration, Probe<T>)> {
        self.sleeps_until = None;
        let due = self.ready(is_available).filter(|(_, task)| task.due <= now);
        let (index, _) = due.min_by_key(|(index, task)| (task.due, *index))?;
        let task = &mut self.tasks[index];
        let probe = task.probe.take()?;
        task.has_second = task.began.is_some();
        task.due = now + if task.has_second { task.pace.period } else { task.pace.first };
        (task.began, task.asked) = (Some(now), false);
        if let Some(wanted) = self.wanted.filter(|wanted| task.pace.aligned && *wanted > now) {
            task.due = task.due.min(wanted.max(now + MIN_GAP));
        }
        Some((index, task.limit, probe))
    }

    /// A source was read. Returns which one it is.
    pub(super) fn end(&mut self, task: usize, probe: Probe<T>) -> K {
        let task = &mut self.tasks[task];
        task.probe = Some(probe);
        task.kind
    }

    /// Notes that the thread sleeps, and until when: none if there is nothing to read.
    pub(super) fn sleep(&mut self, is_available: impl Fn(K) -> bool) -> Option<Instant> {
        self.sleeps_until = self.ready(is_available).map(|(_, task)| task.due).min();
        self.sleeps_until
    }

    /// Makes some sources due.
    pub(super) fn refresh(&mut self, is_wanted: impl Fn(K) -> bool, now: Instant) {
        for task in self.tasks.iter_mut().filter(|task| is_wanted(task.kind)) {
            task.due = task.due.min(now.max(task.earliest()));
            task.asked = true;
        }
    }

    /// Makes one source due.
    pub(super) fn refresh_task(&mut self, task: usize, now: Instant) {
        self.tasks[task].due = now;
    }

    /// Values will be taken at that moment. Returns whether a thread that sleeps has to wake up for it earlier. It
    /// does not have to for less than half of the lead: each heartbeat says anew when the next one is, and the thread
    /// wakes a little later than it wants to.
    pub(super) fn expect(&mut self, at: Instant, now: Instant) -> bool {
        let Some(wanted) = at.checked_sub(LEAD) else { return false };
        self.wanted = Some(wanted);
        let mut earliest = None;
        for task in self.tasks.iter_mut().filter(|task| task.pace.aligned) {
            task.asked |= wanted <= now;
            let wanted = wanted.max(task.earliest());
            // Nothing postpones the second reading, one that somebody asked for, or one beyond the period.
            task.due = match task.began {
                Some(began) if task.has_second && !task.asked => wanted.min(began + task.pace.period),
                _ => wanted.min(task.due),
            };
            earliest = Some(earliest.map_or(task.due, |other: Instant| other.min(task.due)));
        }
        let limit = earliest.map(|due| due + LEAD / 2);
        limit.zip(self.sleeps_until).is_some_and(|(limit, until)| limit < until)
    }

    /// The sources that can be read.
    fn ready(&self, is_available: impl Fn(K) -> bool) -> impl Iterator<Item = (usize, &Task<K, T>)> {
        let ready = move |(_, task): &(usize, &Task<K, T>)| task.probe.is_some() && is_available(task.kind);
        self.tasks.iter().enumerate().filter(ready)
    }
}

impl<K, T> Task<K, T> {
    /// When it may be read again.
    fn earliest(&self) -> Instant {
        let gap = if self.pace.aligned { MIN_GAP } else { Duration::ZERO };
        self.began.map_or_else(|| self.due, |began| began + gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LIMIT: Duration = Duration::from_secs(2);

    type Named = Plan<&'static str, ()>;

    fn plan(now: Instant, sources: &[(&'static str, Pace)]) -> Named {
        let mut plan = Named::default();
        for (name, pace) in sources {
            plan.add(name, *pace, LIMIT, Box::new(|| ()), now);
        }
        plan
    }

    /// The source that is read at that moment, which takes no time.
    fn read(plan: &mut Named, now: Instant) -> Option<&'static str> {
        let (task, _, probe) = plan.begin(now, |_| true)?;
        Some(plan.end(task, probe))
    }

    #[test]
    fn each_source_has_its_pace_and_the_one_that_waited_longest_is_first() {
        let begin = Instant::now();
        let slow = Pace::every(SECOND * 3);
        let mut plan = plan(begin, &[("a", Pace::every(SECOND)), ("b", slow)]);
        let at = |seconds: u32| begin + SECOND * seconds;
        assert_eq!([read(&mut plan, begin), read(&mut plan, begin)], [Some("a"), Some("b")]);
        assert_eq!((read(&mut plan, begin), plan.sleep(|_| true)), (None, Some(at(1))));
        assert_eq!([read(&mut plan, at(1)), read(&mut plan, at(1))], [Some("a"), None]);
        // The thread was held up.
        assert_eq!([0, 1, 2].map(|_| read(&mut plan, at(7))), [Some("a"), Some("b"), None]);
        assert_eq!(plan.sleep(|_| true), Some(at(8)));
        plan.refresh(|kind| kind == "b", at(7));
        assert_eq!([read(&mut plan, at(7)), read(&mut plan, at(7))], [Some("b"), None]);
        assert_eq!(plan.sleep(|kind| kind == "b"), Some(at(10)));
        assert_eq!(plan.sleep(|_| false), None, "nothing can be read");
    }

    #[test]
    fn values_are_read_shortly_before_each_heartbeat_and_no_thread_is_woken_for_it() {
        let begin = Instant::now();
        let mut plan = plan(begin, &[("proc", Pace::before_each_taking(SECOND * 10))]);
        assert_eq!(read(&mut plan, begin), Some("proc"));
        // The first connection. Rates need a second reading, which is not postponed.
        assert_eq!(plan.sleep(|_| true), Some(begin + MIN_GAP));
        assert!(!plan.expect(begin + SECOND / 10 + SECOND * 10, begin));
        assert_eq!(plan.sleep(|_| true), Some(begin + MIN_GAP));
        assert_eq!(read(&mut plan, begin + MIN_GAP), Some("proc"));
        let mut beat = begin + SECOND * 10;
        assert!(plan.expect(beat, begin + MIN_GAP) || plan.sleep(|_| true) == Some(beat - LEAD));
        for _ in 0..1000 {
            let wake = plan.sleep(|_| true).unwrap();
            assert!(wake <= beat - LEAD / 2 && wake >= beat - LEAD, "{:?}", beat - wake);
            // The thread wakes a little later than it wants to.
            let late = wake + Duration::from_millis(2);
            assert_eq!((read(&mut plan, late), read(&mut plan, late)), (Some("proc"), None));
            plan.sleep(|_| true);
            beat += SECOND * 10;
            assert!(!plan.expect(beat, late), "nobody has to be woken up");
        }
    }

    #[test]
    fn an_earlier_heartbeat_wakes_the_thread_and_a_later_one_does_not() {
        let begin = Instant::now();
        let mut plan =
            plan(begin, &[("proc", Pace::before_each_taking(SECOND * 10)), ("b", Pace::every(SECOND))]);
        for now in [begin, begin, begin + MIN_GAP] {
            read(&mut plan, now);
        }
        read(&mut plan, begin + SECOND);
        assert_eq!(plan.sleep(|_| true), Some(begin + SECOND * 2), "for the other source");
        let now = begin + SECOND;
        assert!(!plan.expect(begin + SECOND * 9, now));
        assert!(!plan.expect(begin + SECOND * 2 + LEAD, now));
        assert!(plan.expect(begin + SECOND * 3 / 2, now));
        assert_eq!(plan.sleep(|_| true), Some(begin + SECOND * 3 / 2 - LEAD));
        // At once, for the first heartbeat of a connection, which says at once when the next one is.
        assert!(plan.expect(now, now));
        plan.expect(now + SECOND * 10, now);
        assert_eq!(read(&mut plan, now), Some("proc"));
        plan.expect(now, now);
        assert_eq!(plan.sleep(|_| true), Some(now + MIN_GAP), "not again at once");
    }

    #[test]
    fn no_value_is_older_than_its_period_if_heartbeats_are_rarer() {
        let begin = Instant::now();
        let mut plan = plan(begin, &[("proc", Pace::before_each_taking(SECOND * 30))]);
        for now in [begin, begin + MIN_GAP] {
            read(&mut plan, now);
        }
        plan.expect(begin + SECOND * 100, begin + MIN_GAP);
        let mut times = Vec::new();
        while times.len() < 5 {
            let wake = plan.sleep(|_| true).unwrap();
            assert_eq!(read(&mut plan, wake), Some("proc"));
            times.push((wake - begin).as_millis());
        }
        assert_eq!(times, [30_250, 60_250, 90_250, 99_950, 129_950], "and shortly before the heartbeat");
        // What somebody asked for is not postponed by a heartbeat that is far away.
        let now = begin + SECOND * 140;
        plan.refresh(|_| true, now);
        plan.expect(begin + SECOND * 200, now);
        assert_eq!(read(&mut plan, now), Some("proc"));
    }
}
