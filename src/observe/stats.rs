//! The agent's counters.
//!
//! Plain numbers that the agent's loop owns: counting is an addition, without a lock, an atomic or an
//! allocation. Other tasks ask the loop for a report. Causes and outcomes are counted by name; no heartbeat
//! touches those maps.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use nixfleet_jobs::spec::Outcome;
use nixfleet_os::short;

/// Upper bounds of the buckets in milliseconds. 1 is the resolution of a timer, 50 is a delay that people
/// begin to notice, 5,000 is half of the time limit for an acknowledgement.
pub const BOUNDS_MS: [u64; 7] = [1, 5, 20, 50, 250, 1000, 5000];

/// A heartbeat counts as late beyond this delay: the shortest interval, and the unit in which dashboards show
/// when a host was last seen.
pub const LATE: Duration = Duration::from_secs(1);

/// Counters by name.
pub type Counts = BTreeMap<Cow<'static, str>, u64>;

/// A histogram of durations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Upper bounds of the buckets in milliseconds; the last bucket has none.
    pub at_most_ms: [u64; BOUNDS_MS.len()],
    /// Count of each bucket, without those of the buckets before it.
    pub counts: [u64; BOUNDS_MS.len() + 1],
    /// Sum of all durations, in seconds.
    pub sum_s: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { at_most_ms: BOUNDS_MS, counts: Default::default(), sum_s: 0.0 }
    }
}

impl Histogram {
    /// Adds a duration.
    pub fn add(&mut self, took: Duration) {
        let bucket = BOUNDS_MS.partition_point(|bound| Duration::from_millis(*bound) < took);
        self.counts[bucket] += 1;
        self.sum_s += took.as_secs_f64();
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The lowest bound that `share` (0 to 1) of the durations do not exceed; none if the histogram is empty or
    /// no bound is high enough.
    pub fn at_most(&self, share: f64) -> Option<Duration> {
        let wanted = (self.count() as f64 * share).ceil();
        let mut seen = 0;
        self.counts.iter().zip(self.at_most_ms).find_map(|(count, bound)| {
            seen += count;
            (seen > 0 && seen as f64 >= wanted).then(|| Duration::from_millis(bound))
        })
    }
}

/// All counters, since the agent started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Heartbeats made.
    pub beats: u64,
    /// Of these: more than [`LATE`] after they were due.
    pub beats_late: u64,
    /// Of these: replaced by a newer one before they were written.
    pub beats_skipped: u64,
    /// Delay of scheduled heartbeats.
    pub lateness: Histogram,
    /// Time from a heartbeat to its acknowledgement.
    pub ack_rtt: Histogram,
    /// Heartbeats without acknowledgement, although a later one was acknowledged.
    pub acks_missing: u64,
    /// Registrations that the dashboard accepted.
    pub registrations: u64,
    /// Reconnects, by cause.
    pub reconnects: Counts,
    /// Answers dropped because too many waited.
    pub messages_dropped: u64,
    /// Messages of the dashboard that were ignored, by reason.
    pub messages_ignored: Counts,
    /// Log lines that the dashboard caused and that were left out, because there were too many.
    pub log_lines_left_out: u64,
    /// Lines of output sent, repeats included.
    pub lines_sent: u64,
    /// Lines of output that fell out of a job's log before they were sent.
    pub lines_dropped: u64,
    /// Commands accepted.
    pub jobs_started: u64,
    /// Commands that ended, by outcome.
    pub jobs_ended: Counts,
}

impl Default for Stats {
    fn default() -> Self {
        // Every name is present from the start: Prometheus computes a rate only between two samples.
        let zero = |names: &[&'static str]| short::gather(names.iter().map(|name| (Cow::Borrowed(*name), 0)));
        Self {
            beats: 0,
            beats_late: 0,
            beats_skipped: 0,
            lateness: Histogram::default(),
            ack_rtt: Histogram::default(),
            acks_missing: 0,
            registrations: 0,
            reconnects: zero(&CAUSES),
            messages_dropped: 0,
            messages_ignored: zero(&IGNORED),
            log_lines_left_out: 0,
            lines_sent: 0,
            lines_dropped: 0,
            jobs_started: 0,
            jobs_ended: zero(&Outcome::ALL.map(Outcome::as_str)),
        }
    }
}

/// Every reason to ignore a message of the dashboard.
pub const IGNORED: [&str; 4] = ["malformed", "unknown_type", "binary", "unexpected"];

/// Every cause of a reconnect: first those of failed attempts, then those of connections that ended.
pub const CAUSES: [&str; 20] = [
    "token",
    "certificates",
    "client_certificate",
    "tls",
    "no_thread",
    "unreachable",
    "proxy",
    "slow",
    "refused_token",
    "forbidden",
    "busy",
    "no_websocket",
    "handshake",
    "closed",
    "broken",
    "stalled",
    "silent",
    "unacknowledged",
    "not_registered",
    "slept",
];

impl Stats {
    /// A scheduled heartbeat was made `by` after it was due.
    pub fn late(&mut self, by: Duration) {
        self.lateness.add(by);
        self.beats_late += u64::from(by > LATE);
    }

    /// The agent has to connect again.
    pub fn reconnect(&mut self, cause: &'static str) {
        count(&mut self.reconnects, cause);
    }

    /// A message of the dashboard was ignored, for a reason of [`IGNORED`].
    pub fn ignored(&mut self, reason: &'static str) {
        count(&mut self.messages_ignored, reason);
    }

    /// A command ended; `dropped` lines were cut out of its log.
    pub fn job_ended(&mut self, outcome: Outcome, dropped: u64) {
        count(&mut self.jobs_ended, outcome.as_str());
        self.lines_dropped += dropped;
    }
}

fn count(counts: &mut Counts, name: &'static str) {
    *counts.entry(Cow::Borrowed(name)).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        for (micros, bucket) in [
            (0, 0),
            (1_000, 0),
            (1_001, 1),
            (5_000, 1),
            (20_000, 2),
            (50_000, 3),
            (50_001, 4),
            (250_000, 4),
            (1_000_000, 5),
            (5_000_000, 6),
            (5_000_001, 7),
            (u64::MAX, 7),
        ] {
            let mut histogram = Histogram::default();
            histogram.add(Duration::from_micros(micros));
            let mut wanted = [0; 8];
            wanted[bucket] = 1;
            assert_eq!(histogram.counts, wanted, "{micros} us");
        }
    }

    #[test]
    fn the_share_below_a_bound_is_told_if_there_is_such_a_bound() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.at_most(0.5), None);
        for millis in [1, 1, 1, 6000] {
            histogram.add(Duration::from_millis(millis));
        }
        assert_eq!(histogram.at_most(0.75), Some(Duration::from_millis(1)));
        assert_eq!(histogram.at_most(1.0), None, "one took longer than any bound");
        assert!((histogram.sum_s - 6.003).abs() < 1e-9);
    }

    #[test]
    fn beats_count_as_late_beyond_a_second() {
        let mut stats = Stats::default();
        for by in [Duration::ZERO, LATE, LATE + Duration::from_millis(1)] {
            stats.late(by);
        }
        assert_eq!((stats.beats_late, stats.lateness.count()), (1, 3));
    }

    #[test]
    fn every_cause_and_outcome_is_there_before_it_happens() {
        let mut stats = Stats::default();
        assert_eq!((stats.reconnects.len(), stats.jobs_ended.len()), (CAUSES.len(), Outcome::ALL.len()));
        for outcome in Outcome::ALL {
            stats.job_ended(outcome, 2);
        }
        assert_eq!(stats.jobs_ended.len(), Outcome::ALL.len());
        assert!(stats.jobs_ended.values().all(|count| *count == 1));
        assert_eq!(stats.lines_dropped, 2 * Outcome::ALL.len() as u64);
    }
}
