//! Moments, for ages and for rates.

use std::{ops::Deref, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// The clock that goes on while the host sleeps, where there is one.
#[cfg(target_os = "linux")]
const WITH_SLEEP: ClockId = ClockId::Boottime;
/// macOS's monotonic clock is of that kind.
#[cfg(not(target_os = "linux"))]
const WITH_SLEEP: ClockId = ClockId::Monotonic;

/// A moment on two clocks, neither of which is ever set. One goes on while the host sleeps: a sample
/// from before the lid was closed is hours old. The other stands still meanwhile, as the kernel's own
/// counters do: a rate over a sleep must not be divided by its hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    passed: Duration,
    awake: Duration,
}

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        Self { passed: read(WITH_SLEEP), awake: read(ClockId::Monotonic) }
    }

    /// Time since then, sleep included. Zero if it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        self.passed.saturating_sub(earlier.passed)
    }

    /// Time since then in which the host was awake.
    pub fn awake_since(self, earlier: Self) -> Duration {
        self.awake.saturating_sub(earlier.awake)
    }

    /// A later moment.
    #[must_use]
    pub fn after(self, awake: Duration, asleep: Duration) -> Self {
        Self { passed: self.passed + awake + asleep, awake: self.awake + awake }
    }
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    // Neither part is negative on a clock that counts from the boot.
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}

/// A value and when it was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timed<T> {
    /// The value, which `*` and `.` reach without naming it.
    pub value: T,
    /// When its source was read.
    pub taken_at: Moment,
}

impl<T> Timed<T> {
    /// How old it is.
    pub fn age(&self, now: Moment) -> Duration {
        now.since(self.taken_at)
    }
}

impl<T> Deref for Timed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// What is no older than the limit.
pub(super) fn fresh<T>(timed: Option<Timed<T>>, now: Moment, limit: Duration) -> Option<Timed<T>> {
    timed.filter(|timed| timed.age(now) <= limit)
}
