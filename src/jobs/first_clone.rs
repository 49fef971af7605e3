//! The automatic clone of the repository, where the agent keeps a checkout of its own. Heartbeats go on
//! meanwhile: a clone that fails is reported as a status and does not make the host look offline.

use std::time::Duration;

use tokio::time::Instant;

use nixfleet_jobs::spec::Outcome;

use crate::facts::Facts;

/// The pause after the first failure. Each further failure doubles it.
const FIRST_RETRY: Duration = Duration::from_secs(30);

/// The longest pause: a repository that works again is cloned within the hour.
const LONGEST_RETRY: Duration = Duration::from_secs(3600);

/// The pause while another command runs, during maintenance, and while it is not known whether the checkout
/// exists.
const RECHECK: Duration = Duration::from_secs(10);

/// How often to check whether an existing checkout is still there: somebody may move it away to get a new
/// one. Facts are updated far more often than this.
const WATCH: Duration = Duration::from_secs(60);

/// What is known about the checkout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checkout {
    /// It is not known yet whether it exists.
    Unknown,
    /// It does not exist, or it cannot be read.
    Missing,
    /// It exists.
    Present,
}

impl Checkout {
    /// The state of the checkout according to `facts`.
    pub(crate) fn of(facts: &Facts) -> Self {
        match facts.system.repo_commit {
            Some(_) => Self::Present,
            None if facts.complete => Self::Missing,
            None => Self::Unknown,
        }
    }
}

/// Decides when to clone.
#[derive(Debug, Default)]
pub(crate) struct FirstClone {
    /// The agent keeps a checkout of its own.
    wanted: bool,
    /// When to decide next; none while a clone runs.
    due: Option<Instant>,
    /// Failures in a row.
    failures: u32,
    /// A command that makes a clone succeeded, and the checkout has not been seen since.
    unseen: bool,
}

impl FirstClone {
    /// `wanted`: the agent keeps a checkout of its own. The first decision is due at once.
    pub(crate) fn new(wanted: bool, now: Instant) -> Self {
        Self { wanted, due: wanted.then_some(now), failures: 0, unseen: false }
    }

    /// When to call [`Self::take`] next; none if no clone is wanted or one is running.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The host slept for so long. A repository may be within reach by now.
    pub(crate) fn slept(&mut self, time: Duration, now: Instant) {
        self.due = self.due.map(|due| due.checked_sub(time).unwrap_or(now));
    }

    /// Whether to start a clone now. `idle`: a command may start now.
    pub(crate) fn take(&mut self, checkout: Checkout, idle: bool, now: Instant) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        let pause = match checkout {
            Checkout::Present => {
                self.unseen = false;
                WATCH
            }
            // A clone succeeded, but its checkout cannot be seen: git has more ways to store HEAD than the
            // agent reads. Another clone would not change that, and there would be one every minute.
            Checkout::Missing if self.unseen => WATCH,
            Checkout::Missing if idle => {
                self.due = None;
                return true;
            }
            Checkout::Missing | Checkout::Unknown => RECHECK,
        };
        self.due = Some(now + pause);
        false
    }

    /// A command that clones a missing checkout has ended. `random` is in `0.0..1.0` and spreads the retries
    /// of hosts that were started at the same time.
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
        assert!(!clone.take(Checkout::Present, true, now));
    }

    #[test]
    fn nothing_is_decided_before_somebody_has_looked() {
        let mut facts = Facts::default();
        assert_eq!(Checkout::of(&facts), Checkout::Unknown);
        facts.complete = true;
        assert_eq!(Checkout::of(&facts), Checkout::Missing);
        facts.system.repo_commit = Some("1d91f2b".to_owned());
        assert_eq!(Checkout::of(&facts), Checkout::Present);
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
            assert!(!clone.take(Checkout::Present, true, then));
        }
        assert!(!clone.take(Checkout::Missing, true, after(now, 179)));
        assert!(clone.take(Checkout::Missing, true, after(now, 180)));
        clone.ended(Outcome::Ok, 1.0, after(now, 200));
        assert!(!clone.take(Checkout::Present, true, after(now, 260)));
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

    #[test]
    fn the_pause_goes_on_while_the_host_sleeps() {
        let now = Instant::now();
        let mut clone = FirstClone::new(true, now);
        assert!(clone.take(Checkout::Missing, true, now));
        clone.slept(LONGEST_RETRY, now);
        assert_eq!(clone.due(), None, "it runs");
        clone.ended(Outcome::Failed, 1.0, now);
        clone.slept(Duration::from_secs(10), now);
        assert_eq!(clone.due(), Some(now + FIRST_RETRY - Duration::from_secs(10)));
        clone.slept(LONGEST_RETRY, now);
        assert!(clone.take(Checkout::Missing, true, now), "overdue");
    }
}
