//! The clock, as a handle: that of the machine, or that of a simulated one.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

/// What a simulated machine has in place of the clock and of chance.
pub trait Time: fmt::Debug + Send + Sync {
    /// The time of day. It may be set, also back.
    fn now(&self) -> Timestamp;
    /// A time that never goes back.
    fn instant(&self) -> Instant;
    /// Waits.
    fn sleep(&self, duration: Duration);
    /// Random bytes.
    fn random(&self) -> [u8; 10];
}

/// The time of a machine. A clone is the same clock.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<dyn Time>>);

impl Clock {
    /// The clock of this machine.
    pub fn real() -> Self {
        Self(None)
    }

    /// The clock of a simulated machine.
    pub fn simulated(time: Arc<dyn Time>) -> Self {
        Self(Some(time))
    }

    /// The simulated clock; none on a real machine.
    pub fn simulation(&self) -> Option<&Arc<dyn Time>> {
        self.0.as_ref()
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        self.0.as_ref().map_or_else(Timestamp::now, |time| time.now())
    }

    /// The time of day, in the type of the standard library.
    pub fn system_time(&self) -> SystemTime {
        self.now().into()
    }

    /// The current time as RFC 3339 in UTC with milliseconds: the form of all times in files and messages.
    pub fn timestamp(&self) -> String {
        format!("{:.3}", self.now())
    }

    /// A time that never goes back, to measure how long something takes.
    pub fn instant(&self) -> Instant {
        self.0.as_ref().map_or_else(Instant::now, |time| time.instant())
    }

    /// How long ago `then` was.
    pub fn elapsed(&self, then: Instant) -> Duration {
        self.instant().saturating_duration_since(then)
    }

    /// Waits.
    pub fn sleep(&self, duration: Duration) {
        match &self.0 {
            None => thread::sleep(duration),
            Some(time) => time.sleep(duration),
        }
    }
}
