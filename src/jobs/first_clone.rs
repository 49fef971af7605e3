//! The first clone of the repository, which nobody has to ask for (T09). The agent reports all the
//! while: a clone that fails is a status that people see, not a host that they do not.

use std::time::Duration;

use tokio::time::Instant;

use crate::facts::Facts;
use nixfleet_jobs::spec::Outcome;

/// When to try again after the first failure; each further one doubles it.
const FIRST_RETRY: Duration = Duration::from_secs(30);

/// The longest pause. A repository that is put right is there within the hour.
const LONGEST_RETRY: Duration = Duration::from_secs(3600);

/// When to look again while something else runs, or nothing may, or nobody has looked yet.
const BUSY: Duration = Duration::from_secs(10);

/// When to look again at a checkout that is there: somebody may move it away to have a new one. They do
/// not wait for it with a watch, and whatever looks at files does so far more often.
const WATCH: Duration = Duration::from_secs(60);

/// What is known of the checkout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checkout {
    /// Nobody has looked yet.
    Unknown,
    /// There is none, or none that can be seen.
    Missing,
    /// It is there.
    There,
}

impl Checkout {
    /// As the facts tell.
    pub(crate) fn of(facts: &Facts) -> Self {
        match facts.system.repo_commit {
            Some(_) => Self::There,
            None if facts.complete => Self::Missing,
            None => Self::Unknown,
        }
    }
}

/// When to clone.
#[derive(Debug, Default)]
pub(crate) struct FirstClone {
    /// The agent keeps a clone of its own.
    wanted: bool,
    due: Option<Instant>,
    failures: u32,
    /// A command that makes a clone has ended well, and the checkout was not to be seen since.
    unseen: bool,
}

impl FirstClone {
    /// At once, where the agent keeps a clone of its own.
    pub(crate) fn new(wanted: bool, now: Instant) -> Self {
        Self { wanted, due: wanted.then_some(now), failures: 0, unseen: false }
    }

    /// When [`Self::take`] has something to decide.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether to start a clone now. The agent's clone is watched as long as the agent runs.
    pub(crate) fn take(&mut self, checkout: Checkout, idle: bool, now: Instant) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        let pause = match checkout {
            Checkout::There => {
                self.unseen = false;
                WATCH
            }
            // A clone that went well and does not show (git knows more ways to keep HEAD than are read
            // here) would not show the next time either, and there would be one every minute.
            Checkout::Missing if self.unseen => WATCH,
            Checkout::Missing if idle => {
                self.due = None;
                return true;
            }
            Checkout::Missing | Checkout::Unknown => BUSY,
        };
        self.due = Some(now + pause);
        false
    }

    /// A command ended that makes a clone where there is none. `random` is in 0..1: hosts that were
    /// started together do not come back together.
    pub(crate) fn ended(&mut self, outcome: Outcome, random: f64, now: Instant) {
        if !self.wanted {
            return;
        }
        if outcome == Outcome::Ok {
            self.failures = 0;
            self.unseen = true;
            self.due = Some(now + WATCH);
        } else {
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
        assert!(clone.take(Checkout::Missing, true, now));
        assert_eq!(clone.due(), None, "it runs");
        let mut clone = FirstClone::new(true, now);
        assert!(!clone.take(Checkout::There, true, now));
    }

    #[test]
    fn nothing_is_decided_before_somebody_has_looked() {
        let mut facts = Facts::default();
        assert_eq!(Checkout::of(&facts), Checkout::Unknown);
        facts.complete = true;
        assert_eq!(Checkout::of(&facts), Checkout::Missing);
        facts.system.repo_commit = Some("1d91f2b".to_owned());
        assert_eq!(Checkout::of(&facts), Checkout::There);
        let now = Instant::now();
        let mut clone = FirstClone::new(true, now);
        assert!(!clone.take(Checkout::Unknown, true, now));
        assert_eq!(clone.due(), Some(after(now, 10)));
        assert!(clone.take(Checkout::Missing, true, after(now, 10)));
    }

    #[test]
    fn a_checkout_that_is_moved_away_is_cloned_again() {
        let now = Instant::now();
        let mut clone = FirstClone::new(true, now);
        for minute in 0..3 {
            let then = after(now, minute * 60);
            assert_eq!(clone.due(), Some(then));
            assert!(!clone.take(Checkout::There, true, then));
        }
        assert!(!clone.take(Checkout::Missing, true, after(now, 179)));
        assert!(clone.take(Checkout::Missing, true, after(now, 180)));
        clone.ended(Outcome::Ok, 1.0, after(now, 200));
        assert!(!clone.take(Checkout::There, true, after(now, 260)));
        assert!(clone.take(Checkout::Missing, true, after(now, 320)), "and again");
    }

    #[test]
    fn a_clone_that_went_well_and_does_not_show_is_not_made_again() {
        let now = Instant::now();
        let mut clone = FirstClone::new(true, now);
        assert!(clone.take(Checkout::Missing, true, now));
        clone.ended(Outcome::Ok, 1.0, now);
        for minute in 1..100 {
            let then = after(now, minute * 60);
            assert_eq!(clone.due(), Some(then));
            assert!(!clone.take(Checkout::Missing, true, then));
        }
    }

    #[test]
    fn it_waits_for_its_turn() {
        let now = Instant::now();
        let mut clone = FirstClone::new(true, now);
        assert!(!clone.take(Checkout::Missing, false, now));
        assert_eq!(clone.due(), Some(after(now, 10)));
        assert!(!clone.take(Checkout::Missing, true, after(now, 9)));
        assert!(clone.take(Checkout::Missing, true, after(now, 10)));
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
        assert!(clone.take(Checkout::Missing, true, after(now, 3600)));
        clone.ended(Outcome::Ok, 1.0, now);
        assert_eq!(clone.due(), Some(after(now, 60)), "done, and watched");
        clone.ended(Outcome::Failed, 1.0, now);
        assert_eq!(clone.due(), Some(after(now, 30)), "from the beginning");
        let mut plain = FirstClone::new(false, now);
        for outcome in [Outcome::Failed, Outcome::Ok] {
            plain.ended(outcome, 1.0, now);
            assert_eq!(plain.due(), None);
        }
    }
}
