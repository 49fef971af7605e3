//! The first clone of the repository, which nobody has to ask for (T09). The agent reports all the
//! while: a clone that fails is a status that people see, not a host that they do not.

use std::time::Duration;

use tokio::time::Instant;

use crate::job::spec::Outcome;

/// When to try again after the first failure; each further one doubles it.
const FIRST_RETRY: Duration = Duration::from_secs(30);

/// The longest pause. A repository that is put right is there within the hour.
const LONGEST_RETRY: Duration = Duration::from_secs(3600);

/// When to look again while something else runs, or nothing may.
const BUSY: Duration = Duration::from_secs(10);

/// When to clone.
#[derive(Debug, Default)]
pub(super) struct FirstClone {
    /// The agent keeps a clone of its own.
    wanted: bool,
    due: Option<Instant>,
    failures: u32,
}

impl FirstClone {
    /// At once, where the agent keeps a clone of its own.
    pub(super) fn new(wanted: bool, now: Instant) -> Self {
        Self { wanted, due: wanted.then_some(now), failures: 0 }
    }

    /// When [`Self::take`] has something to decide.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether to start a clone now.
    pub(super) fn take(&mut self, missing: bool, idle: bool, now: Instant) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        self.due = (missing && !idle).then_some(now + BUSY);
        missing && idle
    }

    /// A command ended that makes a clone where there is none. `random` is in 0..1: hosts that were
    /// started together do not come back together.
    pub(super) fn ended(&mut self, outcome: Outcome, random: f64, now: Instant) {
        if outcome == Outcome::Ok {
            self.failures = 0;
        } else if self.wanted {
            let pause = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST_RETRY);
            self.failures = self.failures.saturating_add(1);
            self.due = Some(now + pause.mul_f64((1.0 + random) / 2.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(now: Instant, seconds: u64) -> Instant {
        now + Duration::from_secs(seconds)
    }

    #[test]
    fn it_is_tried_at_once_and_only_where_there_is_none() {
        let now = Instant::now();
        assert_eq!(FirstClone::new(false, now).due(), None, "somebody else's checkout");
        let mut clone = FirstClone::new(true, now);
        assert!(clone.take(true, true, now));
        assert_eq!(clone.due(), None, "it runs");
        let mut clone = FirstClone::new(true, now);
        assert!(!clone.take(false, true, now));
        assert_eq!(clone.due(), None, "it is there");
    }

    #[test]
    fn it_waits_for_its_turn() {
        let now = Instant::now();
        let mut clone = FirstClone::new(true, now);
        assert!(!clone.take(true, false, now));
        assert_eq!(clone.due(), Some(after(now, 10)));
        assert!(!clone.take(true, true, after(now, 9)));
        assert!(clone.take(true, true, after(now, 10)));
    }

    #[test]
    fn it_is_tried_again_ever_more_seldom() {
        let now = Instant::now();
        let mut clone = FirstClone::new(true, now);
        for (random, seconds) in [(1.0, 30), (1.0, 60), (0.0, 60), (1.0, 240)] {
            clone.ended(Outcome::Failed, random, now);
            assert_eq!(clone.due(), Some(after(now, seconds)));
        }
        for _ in 0..100 {
            clone.ended(Outcome::Failed, 1.0, now);
        }
        assert_eq!(clone.due(), Some(after(now, 3600)));
        assert!(clone.take(true, true, after(now, 3600)));
        clone.ended(Outcome::Ok, 1.0, now);
        assert_eq!(clone.due(), None, "done");
        clone.ended(Outcome::Failed, 1.0, now);
        assert_eq!(clone.due(), Some(after(now, 30)), "from the beginning");
        let mut plain = FirstClone::new(false, now);
        plain.ended(Outcome::Failed, 1.0, now);
        assert_eq!(plain.due(), None);
    }
}
