//! Moments on two clocks: for ages and for rates.

use std::ops::Deref;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The clock that also counts while the host sleeps.
#[cfg(target_os = "linux")]
const WITH_SLEEP: ClockId = ClockId::Boottime;
/// The monotonic clock of macOS counts sleep.
#[cfg(not(target_os = "linux"))]
const WITH_SLEEP: ClockId = ClockId::Monotonic;

/// A moment on two clocks, which are never set. One counts sleep, for ages: a sample from before the lid was
/// closed is hours old. The other does not, as the kernel's counters do not, for rates: they must not be
/// divided by the hours of sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    elapsed: Duration,
    awake: Duration,
}

impl Moment {
    /// The moment of the boot.
    pub const BOOT: Self = Self { elapsed: Duration::ZERO, awake: Duration::ZERO };

    /// This moment.
    pub fn now() -> Self {
        Self { elapsed: read(WITH_SLEEP), awake: read(ClockId::Monotonic) }
    }

    /// Time since `earlier`, including sleep. Zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.elapsed.saturating_sub(earlier.elapsed)
    }

    /// Time since `earlier` in which the host was awake. Zero if `earlier` is later.
    pub fn awake_since(self, earlier: Self) -> Duration {
        self.awake.saturating_sub(earlier.awake)
    }

    /// The moment after so much time awake and so much time asleep.
    #[must_use]
    pub fn after(self, awake: Duration, asleep: Duration) -> Self {
        Self { elapsed: self.elapsed + awake + asleep, awake: self.awake + awake }
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
    /// The value. `*` and `.` on `Timed` reach it directly.
    pub value: T,
    /// When its source was read.
    pub taken_at: Moment,
}

impl<T> Timed<T> {
    /// Age of the value at `now`, including sleep.
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

/// The value, unless it is older than the limit.
pub(super) fn fresh<T>(timed: Option<Timed<T>>, now: Moment, limit: Duration) -> Option<Timed<T>> {
    timed.filter(|timed| timed.age(now) <= limit)
}
