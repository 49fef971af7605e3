//! How much output may be on its way, and in what pieces.
//!
//! A heartbeat that is due waits behind all output that is on its way, so this may be as much as the link carries
//! within [`QUEUE`] beyond its round trip, and not more. Both are measured: a pong tells that all bytes up to its ping
//! were read, and how long that took.
//!
//! ```text
//! the time was longer than round trip + QUEUE      as much as fits into that time, at the rate of this measurement
//! it was shorter, and more would fit               as much as fits, at most twice of what was on its way
//! the shortest round trip is old                   nothing more until the link is empty, so that it shows once again
//! ```

use std::time::Duration;

use tokio::time::Instant;

/// How long output may take on its way beyond the round trip of an empty link. A batch comes on top, so that a
/// heartbeat waits for less than half a second; and a dashboard that is busy for so long slows nothing down.
const QUEUE: Duration = Duration::from_millis(200);

/// Bytes that may be on their way before anything is known about the link: 0.4 s, with a batch, at 20 kB/s.
/// If the link is fast, each round trip doubles it, so that [`MOST`] takes six of them.
const FIRST: usize = 6 * 1024;

/// The least. At 2 kB/s it takes two seconds; less would make of each line a message with a ping of its own.
const LEAST: usize = 4 * 1024;

/// The most: enough for 2.5 MB/s at a round trip of 100 ms. It bounds how late a heartbeat can be when a fast link
/// becomes a slow one at once.
pub(super) const MOST: usize = 256 * 1024;

/// A batch is this part of the window, so that the link always carries some while others are confirmed. With the largest
/// window that is more than a follower passes on at once: nothing is cut on a fast link.
const PART: usize = 4;

/// How old the shortest round trip may be. Output that flows for longer than this pauses for one round trip.
const AGE: Duration = Duration::from_secs(30);

/// The limit on output that is on its way.
#[derive(Debug)]
pub struct Window {
    bytes: usize,
    /// The shortest round trip, and when it was measured.
    shortest: Option<(Duration, Instant)>,
}

impl Default for Window {
    fn default() -> Self {
        Self { bytes: FIRST, shortest: None }
    }
}

impl Window {
    /// Whether more output may follow while so many bytes are on their way.
    pub fn has_room(&self, in_flight: usize, now: Instant) -> bool {
        in_flight == 0 || (in_flight < self.bytes && !self.is_old(now))
    }

    /// How many bytes the next batch may have. One that is to measure the round trip has few: the time that the link
    /// takes for itself counts as a part of it.
    pub fn batch(&self, now: Instant) -> usize {
        let measures = self.shortest.is_none() || self.is_old(now);
        if measures { LEAST / PART } else { self.bytes / PART }
    }

    /// A ping was answered: `bytes` of output were on their way when it was queued, those directly in front of it,
    /// `own`, among them.
    pub fn measured(&mut self, bytes: usize, own: usize, took: Duration, now: Instant) {
        let empty = bytes == own;
        if self.shortest.is_none_or(|(shortest, _)| took <= shortest) || (empty && self.is_old(now)) {
            self.shortest = Some((took, now));
        } else if bytes > 0 && bytes <= LEAST && self.shortest.is_some_and(|(time, _)| took > time + QUEUE) {
            // So few bytes are no queue: the way itself takes longer now.
            self.shortest = Some((took, now));
        }
        let Some((shortest, _)) = self.shortest.filter(|_| bytes > 0) else { return };
        let may_take = shortest + QUEUE;
        // At most some 2^18 bytes and 2^26 microseconds.
        let fits = bytes as u128 * may_take.as_micros() / took.as_micros().max(1);
        let fits = usize::try_from(fits).unwrap_or(MOST);
        if took > may_take {
            self.bytes = fits.clamp(LEAST, MOST);
        } else {
            self.bytes = self.bytes.max(fits.min(2 * bytes)).min(MOST);
        }
    }

    fn is_old(&self, now: Instant) -> bool {
        self.shortest.is_some_and(|(_, at)| now.saturating_duration_since(at) >= AGE)
    }
}

#[cfg(test)]
mod tests;
