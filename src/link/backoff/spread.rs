//! The window over which a dashboard wants its agents to spread their return.
//!
//! When a connection is lost, a host draws a moment within the window. From then on it tries at that moment and whole
//! windows later, and at no other time, whatever happens: refused attempts, attempts that take long, `Retry-After`, a
//! network of its own that was gone. Each host has one moment in each window, and the moments of all hosts are random
//! and independent of what they wait for. So whenever an outage ends, and however long it was, N hosts come back
//! at a rate of N / window, and a dashboard that is down gets attempts at that rate.
//!
//! A delay that is drawn anew after each attempt has no such bound. With delays between zero and the window, twice as
//! many come in the first second after an outage; with the usual back-off those that have just failed, within a second
//! or two.

use std::time::Duration;

use tokio::time::Instant;

use super::Terms;

/// The moments of this host.
#[derive(Debug, Clone, Default)]
pub(super) struct Spread(Option<Moments>);

#[derive(Debug, Clone, Copy)]
struct Moments {
    window: Duration,
    /// One of them; the others are whole windows away.
    one: Instant,
}

impl Spread {
    /// A connection lasted this long after its registration. Behind one that was longer than the window, moments are
    /// drawn anew, so that no host is late after every outage. Behind a shorter one they stay: the other hosts have not
    /// been through the window yet.
    pub(super) fn lasted(&mut self, time: Duration) {
        self.0.take_if(|moments| moments.window <= time);
    }

    /// The delay up to the first moment of this host that is not before `delay` is over; without a window, `delay`.
    pub(super) fn delay(&mut self, delay: Duration, terms: Terms) -> Duration {
        let Terms { now, window, draw } = terms;
        if window.is_zero() {
            self.0 = None;
            return delay;
        }
        // An agent also has none if its window began during an outage: with the end of a trial.
        let Moments { one, .. } = match self.0 {
            Some(moments) if moments.window == window => moments,
            _ => *self.0.insert(Moments { window, one: now + window.mul_f64(draw) }),
        };
        let earliest = now + delay;
        let behind = earliest.saturating_duration_since(one).as_nanos();
        let windows = u32::try_from(behind.div_ceil(window.as_nanos())).unwrap_or(u32::MAX);
        one + window.saturating_mul(windows) - now
    }
}
