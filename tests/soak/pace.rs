//! When heartbeats have to come, as a dashboard can compute it.

use std::time::Duration;

use tokio::time::Instant;

/// Resolution of a timer.
const TICK: Duration = Duration::from_millis(1);

/// Heartbeats come at `start + n x interval`, and directly behind a status.
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Duration,
    start: Instant,
    /// The number n of the next one.
    n: u32,
    last: Instant,
    /// The message before was a status.
    behind_status: bool,
}

impl Pace {
    /// The first one is due now.
    pub(crate) fn begin(interval: Duration) -> Self {
        let now = Instant::now();
        Self { interval, start: now, n: 0, last: now, behind_status: false }
    }

    fn due(&self) -> Instant {
        self.start + self.interval * self.n
    }

    /// A status has come.
    pub(crate) fn status(&mut self) {
        self.in_time();
        self.behind_status = true;
    }

    /// A heartbeat has come.
    pub(crate) fn beat(&mut self) {
        self.in_time();
        let now = Instant::now();
        if now >= self.due() {
            self.n += 1;
        } else {
            let early = self.due() - now;
            assert!(self.behind_status || now == self.last, "a beat {early:?} before it was due: {self:?}");
        }
        (self.last, self.behind_status) = (now, false);
    }

    /// Fails if a heartbeat should have come by now.
    pub(crate) fn in_time(&self) {
        assert!(Instant::now() <= self.due() + TICK, "no beat in time: {self:?}, {:?}", self.due().elapsed());
    }

    /// The dashboard wants another interval from now on.
    pub(crate) fn change(&mut self, interval: Duration) {
        if interval != self.interval {
            (self.interval, self.start, self.n) = (interval, self.last, 1);
        }
    }
}
