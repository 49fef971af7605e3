//! Times of heartbeats: arrivals, due times, and the difference.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::{SystemTime, UNIX_EPOCH};

use nixfleet_dashboard::Handle;

use crate::dashboard::POLL;

/// Interval between heartbeats, in milliseconds.
const INTERVAL_MS: i64 = 1000;

/// Unix time in milliseconds, with a fraction.
pub(crate) fn unix_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

/// The most likely time of an arrival: the dashboard cuts off the fraction of the millisecond.
pub(crate) fn middle(at_ms: i64) -> f64 {
    at_ms as f64 + 0.5
}

/// A phase of the run, in Unix milliseconds.
pub(crate) struct Window {
    from: f64,
    to: f64,
}

impl Window {
    pub(crate) fn contains(&self, at_ms: i64) -> bool {
        (self.from..self.to).contains(&(at_ms as f64))
    }

    /// The number of heartbeats that are due in it.
    pub(crate) fn beats(&self) -> usize {
        ((self.to - self.from) / INTERVAL_MS as f64).floor() as usize
    }
}

pub(crate) fn timed<T>(run: impl FnOnce() -> T) -> (Window, T) {
    let from = unix_ms();
    let result = run();
    (Window { from, to: unix_ms() }, result)
}

/// Records the arrival times of heartbeats. It polls the state of the host, because a flood of output removes
/// heartbeats from the dashboard's record.
pub(crate) struct Beats {
    seen: Arc<Mutex<Vec<i64>>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Beats {
    pub(crate) fn watch(handle: Handle, host: &str) -> Self {
        let host = host.to_owned();
        let seen: Arc<Mutex<Vec<i64>>> = Arc::default();
        let stop: Arc<AtomicBool> = Arc::default();
        let (sink, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut newest = None;
            while !stopped.load(Relaxed) {
                let last_seen = handle.host(&host).and_then(|host| host.last_seen);
                if last_seen != newest {
                    let at = last_seen.as_deref().and_then(|at| at.parse::<jiff::Timestamp>().ok());
                    sink.lock().expect("no panic").extend(at.map(jiff::Timestamp::as_millisecond));
                    newest = last_seen;
                }
                sleep(POLL);
            }
        });
        Self { seen, stop, thread }
    }

    pub(crate) fn finish(self) -> Vec<i64> {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("no panic");
        std::mem::take(&mut *self.seen.lock().expect("no panic"))
    }
}

/// How much earlier than its due time a heartbeat may arrive, in milliseconds. The due times come from the
/// earliest heartbeat of the idle phase only.
pub(crate) const EARLY_MS: i64 = 5;

/// The due times of heartbeats: `t0 + n x interval`.
pub(crate) struct Grid {
    t0: i64,
}

impl Grid {
    /// Fits `t0` to heartbeats of a phase without commands, so that all of them are scheduled ones.
    pub(crate) fn fit(beats: &[i64]) -> Self {
        let first = beats.first().copied().unwrap_or(0);
        let offset = |&beat: &i64| {
            let number = (beat - first + INTERVAL_MS / 2).div_euclid(INTERVAL_MS);
            beat - number * INTERVAL_MS
        };
        Self { t0: beats.iter().map(offset).min().unwrap_or(first) }
    }

    /// Lateness in milliseconds of the heartbeat for each due time in the window. If there are two for one due time,
    /// the later one follows a status and is ignored.
    pub(crate) fn lateness(&self, beats: &[i64], window: &Window) -> Vec<f64> {
        let mut at: BTreeMap<i64, i64> = BTreeMap::new();
        for beat in beats {
            let number = (beat - self.t0 + EARLY_MS).div_euclid(INTERVAL_MS);
            let late = beat - self.t0 - number * INTERVAL_MS;
            let least = at.entry(number).or_insert(late);
            *least = (*least).min(late);
        }
        let inside = |number: &i64| window.contains(self.t0 + number * INTERVAL_MS);
        at.into_iter().filter(|(number, _)| inside(number)).map(|(_, late)| late as f64).collect()
    }
}

/// The longest time in the window between two heartbeats beyond one interval, in milliseconds. Over a slow link a
/// heartbeat may be later than its successor is due, so that its arrival does not tell which one it is; the silence
/// does not need that.
pub(crate) fn longest_silence(beats: &[i64], window: &Window) -> f64 {
    let inside = beats.iter().copied().filter(|&beat| window.contains(beat)).map(|beat| beat as f64);
    let mut seen = vec![window.from];
    seen.extend(inside);
    seen.push(window.to);
    let silences = seen.windows(2).map(|pair| pair[1] - pair[0] - INTERVAL_MS as f64);
    silences.fold(0.0, f64::max)
}

pub(crate) fn percentile(values: &mut [f64], percent: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1).min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}
