//! What this gateway has done, as numbers that only grow.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the classes of acknowledgement times, in milliseconds.
pub(crate) const ACK_MS: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];

/// One number.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// One more.
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// How many there were.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Heartbeats that were given to NATS.
    pub(crate) beats_passed: Count,
    /// Heartbeats that were dropped, because NATS was away or slow.
    pub(crate) beats_dropped: Count,
    /// Messages about commands that NATS has stored.
    pub(crate) stored: Count,
    /// Attempts to store that failed and are made again.
    pub(crate) store_failures: Count,
    /// Messages that NATS will never store, which were dropped.
    pub(crate) unstorable: Count,
    /// Frames of agents that could not be read.
    pub(crate) ignored: Count,
    /// Registrations of a new connection that NATS knows of.
    pub(crate) registrations: Count,
    /// Those that replaced a connection on another gateway.
    pub(crate) moves: Count,
    /// Registrations that failed.
    pub(crate) registration_failures: Count,
    /// Connections that ended because a newer one of their host is somewhere else.
    pub(crate) evictions: Count,
    /// Connections that ended because too much waited for NATS.
    pub(crate) overflows: Count,
    /// Requests that were refused while NATS was away or the gateway ended.
    pub(crate) turned_away: Count,
    /// Requests without a valid token or certificate.
    pub(crate) unauthorized: Count,
    /// Connections that were dropped because there were too many.
    pub(crate) no_room: Count,
    /// Commands that were sent to an agent.
    pub(crate) commands: Count,
    /// Commands that were refused here.
    pub(crate) refused_commands: Count,
    /// How long NATS took to store.
    pub(crate) acknowledgements: Times,
}

/// Durations in classes.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// How many were in each class of [`ACK_MS`], and above all of them.
    classes: [Count; ACK_MS.len() + 1],
    sum_us: AtomicU64,
}

impl Times {
    /// Notes one.
    pub(crate) fn note(&self, took: Duration) {
        let class = ACK_MS.iter().position(|&bound| took <= Duration::from_millis(bound));
        self.classes[class.unwrap_or(ACK_MS.len())].add();
        self.sum_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// How many were in each class.
    pub(crate) fn classes(&self) -> impl Iterator<Item = u64> + '_ {
        self.classes.iter().map(Count::get)
    }

    /// All of them together, in seconds.
    pub(crate) fn sum(&self) -> f64 {
        Duration::from_micros(self.sum_us.load(Relaxed)).as_secs_f64()
    }
}
