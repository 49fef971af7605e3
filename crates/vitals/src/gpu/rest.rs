//! When an idle GPU is not queried.
//!
//! A GPU that may sleep does so after some seconds without a query. A reader that queries it every few
//! seconds would keep it awake, which costs about 10 W on a laptop only to read a usage of 0.
//!
//! ```text
//! queried --- idle for IDLE_FOR ---> resting --- after REST, or after it slept and was woken ---> queried
//! ```

use std::time::{Duration, Instant};

use super::card::Power;

/// A usage below this share counts as idle. It is not 0 because the kernel's own work is part of the usage.
const IDLE: f64 = 0.01;

/// How long a GPU must be idle before it rests. A pause between two batches of work is shorter.
const IDLE_FOR: Duration = Duration::from_secs(10);

/// How long a GPU is not queried. It is longer than drivers wait before a GPU sleeps: amdgpu 5 s, i915 10 s,
/// NVIDIA about 6 s after the last program has closed it. It is short enough that work which begins meanwhile
/// is visible two heartbeats later at most.
const REST: Duration = Duration::from_secs(30);

/// The rest of one GPU.
#[derive(Debug, Default)]
pub(super) struct Rest {
    idle_since: Option<Instant>,
    resting_since: Option<Instant>,
}

impl Rest {
    /// Whether the GPU must not be queried now. A GPU that never sleeps is always queried.
    pub(super) fn is_resting(&self, power: Power, now: Instant) -> bool {
        let rests = self.resting_since.is_some_and(|since| now.saturating_duration_since(since) < REST);
        rests && power == Power::MaySleep
    }

    /// The GPU was found asleep. A program that wakes it has work for it, so it is queried at once then.
    pub(super) fn slept(&mut self) {
        *self = Self::default();
    }

    /// The GPU was queried. An unknown usage counts as idle: the other values are not worth keeping the GPU
    /// awake.
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
