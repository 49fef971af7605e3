//! When to leave a GPU alone.
//!
//! A GPU that may sleep does so after some seconds in which nobody asked it anything, so a meter that
//! asks every few seconds is what keeps it awake: some 10 W on a laptop for the sake of a 0.
//!
//! ```text
//! watched --- idle for IDLE_FOR ---> resting --- REST over, or it slept and was woken ---> watched
//! ```

use std::time::{Duration, Instant};

use super::card::Power;

/// Below this share of time a GPU has nothing to do. Not 0: the kernel's own bookkeeping shows.
const IDLE: f64 = 0.01;

/// A pause between two batches of work is no idleness.
const IDLE_FOR: Duration = Duration::from_secs(10);

/// Longer than drivers wait before they let a GPU sleep: amdgpu 5 s, i915 10 s, NVIDIA's some 6 s after
/// the last program let go. Short enough that work which begins meanwhile shows in the next beat but one.
const REST: Duration = Duration::from_secs(30);

/// One GPU's.
#[derive(Debug, Default)]
pub(super) struct Rest {
    idle_since: Option<Instant>,
    resting_since: Option<Instant>,
}

impl Rest {
    /// Whether not to ask it now. One that never sleeps gains nothing by it.
    pub(super) fn leaves_alone(&self, power: Power, now: Instant) -> bool {
        let rests = self.resting_since.is_some_and(|since| now.saturating_duration_since(since) < REST);
        rests && power == Power::MaySleep
    }

    /// It was found asleep. Whoever wakes it has work for it, so it is asked at once then.
    pub(super) fn slept(&mut self) {
        *self = Self::default();
    }

    /// It was asked. Where its usage is not known it counts as idle: what can be read of such a GPU is
    /// not worth keeping it awake.
    pub(super) fn asked(&mut self, usage: Option<f64>, now: Instant) {
        if usage.is_some_and(|usage| usage >= IDLE) {
            *self = Self::default();
            return;
        }
        let since = *self.idle_since.get_or_insert(now);
        let long = now.saturating_duration_since(since) >= IDLE_FOR;
        self.resting_since = long.then_some(now);
    }
}
