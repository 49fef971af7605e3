//! Pre-warm signals: a GPU is under stress, so another machine or program should get ready to take over work.
//!
//! ```text
//! calm --mean usage or temperature above the upper limit--> stressed     at most one start a minute
//!   ^------------both below the lower limits-----------------'
//! ```
//!
//! The mean over a window decides, not one reading: the usage of a GPU jumps between 0 and 100 % many times a
//! second. The upper and lower limits differ, because otherwise a GPU at the limit would send signals without
//! end.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

pub use hook::Hook;
pub use watcher::{Notice, Watcher, watch};

mod hook;
mod watcher;

/// Shortest time from one start of stress to the next: one start per minute at most.
pub const START_INTERVAL: Duration = Duration::from_secs(60);

/// Most readings kept of each value: the longest window of ten minutes at the fastest pace, two readings per
/// second.
const READINGS: usize = 1200;

/// A pause between readings after which the time before counts as unknown: twice the slowest pace of 5 s,
/// each with 3 s for a slow driver, rounded up.
const GAP: Duration = Duration::from_secs(20);

/// When the stress of a GPU begins, and when it ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Mean usage above which stress begins, 0 to 1. The default is 0.8.
    pub usage: f64,
    /// Mean usage below which stress can end, 0 to 1. The default is 0.65.
    pub usage_low: f64,
    /// Mean temperature above which stress begins, in degrees Celsius. The default is 80.
    pub temperature: f64,
    /// Mean temperature below which stress can end, in degrees Celsius. The default is 75.
    pub temperature_low: f64,
    /// Time over which readings are averaged. The default is 15 s, the longest useful one 10 minutes.
    pub window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            usage: 0.80,
            usage_low: 0.65,
            temperature: 80.0,
            temperature_low: 75.0,
            window: Duration::from_secs(15),
        }
    }
}

/// The load of a GPU. For several GPUs, the highest value of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Load {
    /// Busy share, 0 to 1.
    pub usage: Option<f64>,
    /// Temperature in degrees Celsius.
    pub temperature: Option<f64>,
}

/// Whether stress has begun or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Stress has begun.
    Start,
    /// Stress has ended.
    End,
}

impl Phase {
    /// The name in messages and for hooks: `start` or `end`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::End => "end",
        }
    }
}

/// Stress has begun or ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// Whether it has begun or ended.
    pub phase: Phase,
    /// The mean values that decided.
    pub load: Load,
    /// Explanation for people.
    pub reason: String,
}

/// The readings of one value within the window.
#[derive(Debug, Default)]
struct Series {
    readings: VecDeque<(Instant, f64)>,
    /// Begin of the time in which the value is known without a gap.
    since: Option<Instant>,
    last: Option<Instant>,
}

impl Series {
    fn add(&mut self, value: Option<f64>, now: Instant, window: Duration) {
        let begin = now.checked_sub(window);
        self.readings.retain(|(at, _)| begin.is_none_or(|begin| *at >= begin));
        let gap = self.last.is_none_or(|last| now.duration_since(last) > GAP);
        self.last = Some(now);
        if value.is_none() || gap {
            self.since = None;
        }
        if let Some(value) = value {
            self.since.get_or_insert(now);
            if self.readings.len() >= READINGS {
                self.readings.pop_front();
            }
            self.readings.push_back((now, value));
        }
    }

    fn mean(&self) -> Option<f64> {
        let sum: f64 = self.readings.iter().map(|(_, value)| value).sum();
        (!self.readings.is_empty()).then(|| sum / self.readings.len() as f64)
    }

    fn spans(&self, window: Duration, now: Instant) -> bool {
        self.since.is_some_and(|since| now >= since + window)
    }
}

/// Decides about signals from a series of readings. It reads no clock: the caller gives the time of each
/// reading.
#[derive(Debug)]
pub struct Prewarm {
    limits: Limits,
    usage: Series,
    temperature: Series,
    stressed: bool,
    started: Option<Instant>,
}

impl Prewarm {
    /// No reading is known yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            usage: Series::default(),
            temperature: Series::default(),
            stressed: false,
            started: None,
        }
    }

    /// Adds a reading, and returns a signal if stress begins or ends with it.
    pub fn observe(&mut self, load: Load, now: Instant) -> Option<Signal> {
        let window = self.limits.window;
        self.usage.add(load.usage, now, window);
        self.temperature.add(load.temperature, now, window);
        let mean = Load { usage: self.usage.mean(), temperature: self.temperature.mean() };
        let reason = if self.stressed {
            self.calm(mean)?
        } else {
            let may_start = self.started.is_none_or(|at| now >= at + START_INTERVAL);
            // A mean over less than the whole window does not prove stress.
            let known = |series: &Series, mean: Option<f64>| mean.filter(|_| series.spans(window, now));
            let proven = Load {
                usage: known(&self.usage, mean.usage),
                temperature: known(&self.temperature, mean.temperature),
            };
            self.stress(proven).filter(|_| may_start)?
        };
        self.stressed = !self.stressed;
        let phase = if self.stressed { Phase::Start } else { Phase::End };
        if self.stressed {
            self.started = Some(now);
        }
        Some(Signal { phase, load: mean, reason })
    }

    fn stress(&self, mean: Load) -> Option<String> {
        let Limits { usage, temperature, window, .. } = self.limits;
        let over = window.as_secs();
        if let Some(mean) = mean.usage.filter(|mean| *mean > usage) {
            return Some(format!(
                "GPU usage {:.0} % over {over} s, above {:.0} %",
                mean * 100.0,
                usage * 100.0
            ));
        }
        let mean = mean.temperature.filter(|mean| *mean > temperature)?;
        Some(format!("GPU at {mean:.0} °C over {over} s, above {temperature:.0} °C"))
    }

    fn calm(&self, mean: Load) -> Option<String> {
        let Limits { usage_low, temperature_low, .. } = self.limits;
        match (mean.usage, mean.temperature) {
            (None, None) => Some("the GPU gives no readings any more".to_owned()),
            (usage, temperature) => {
                let low = usage.is_none_or(|usage| usage < usage_low)
                    && temperature.is_none_or(|temperature| temperature < temperature_low);
                low.then(|| "GPU is calm again".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usage(usage: f64) -> Load {
        Load { usage: Some(usage), temperature: Some(50.0) }
    }

    /// Adds one reading per second from `start` on; returns the changes and their seconds.
    fn play(
        prewarm: &mut Prewarm,
        start: Instant,
        loads: impl IntoIterator<Item = Load>,
    ) -> Vec<(u64, Phase)> {
        let mut changes = Vec::new();
        for (second, load) in (0..).zip(loads) {
            let signal = prewarm.observe(load, start + Duration::from_secs(second));
            changes.extend(signal.map(|signal| (second, signal.phase)));
        }
        changes
    }

    fn times(load: Load, count: usize) -> impl Iterator<Item = Load> {
        std::iter::repeat_n(load, count)
    }

    #[test]
    fn stress_begins_after_a_window_and_ends_below_the_lower_limit() {
        let mut prewarm = Prewarm::new(Limits::default());
        let loads = times(usage(0.9), 30).chain(times(usage(0.7), 60)).chain(times(usage(0.2), 30));
        let changes = play(&mut prewarm, Instant::now(), loads);
        assert_eq!(changes[0], (15, Phase::Start));
        // 0.7 is neither stress nor calm; four readings of 0.2 among sixteen bring the mean below 0.65.
        assert_eq!(changes[1..], [(91, Phase::End)]);
    }

    #[test]
    fn one_peak_is_no_stress() {
        let mut prewarm = Prewarm::new(Limits::default());
        let peaks = (0..600).map(|n| usage(if n % 4 == 0 { 1.0 } else { 0.3 }));
        assert_eq!(play(&mut prewarm, Instant::now(), peaks), []);
    }

    #[test]
    fn heat_alone_is_stress_and_holds_until_it_has_cooled_down() {
        let mut prewarm = Prewarm::new(Limits::default());
        let at = |temperature| Load { usage: None, temperature: Some(temperature) };
        let loads = times(at(85.0), 20).chain(times(at(77.0), 60)).chain(times(at(60.0), 30));
        let start = Instant::now();
        let changes = play(&mut prewarm, start, loads);
        assert_eq!(changes.iter().map(|(_, phase)| *phase).collect::<Vec<_>>(), [Phase::Start, Phase::End]);
        assert!(changes[1].0 >= 80, "{changes:?}");
    }

    #[test]
    fn starts_are_a_minute_apart_at_least() {
        let mut prewarm = Prewarm::new(Limits::default());
        let waves = (0..600).map(|n| usage(if n / 20 % 2 == 0 { 1.0 } else { 0.0 }));
        let changes = play(&mut prewarm, Instant::now(), waves);
        let starts: Vec<u64> =
            changes.iter().filter(|(_, p)| *p == Phase::Start).map(|(at, _)| *at).collect();
        assert!(starts.len() >= 5, "{starts:?}");
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= 60), "{starts:?}");
    }

    #[test]
    fn a_gap_starts_over_and_a_silent_gpu_is_calm() {
        let mut prewarm = Prewarm::new(Limits::default());
        let start = Instant::now();
        assert_eq!(play(&mut prewarm, start, times(usage(1.0), 10)), []);
        let later = start + Duration::from_secs(3600);
        assert_eq!(play(&mut prewarm, later, times(usage(1.0), 15)), [], "the hour was not seen");
        let more = later + Duration::from_secs(15);
        assert_eq!(play(&mut prewarm, more, times(usage(1.0), 1)), [(0, Phase::Start)]);
        let off = more + Duration::from_secs(1);
        let changes = play(&mut prewarm, off, times(Load::default(), 30));
        assert_eq!(changes, [(15, Phase::End)]);
    }

    #[test]
    fn a_gpu_that_wakes_for_one_reading_is_not_stressed() {
        let mut prewarm = Prewarm::new(Limits::default());
        let asleep = Load { usage: None, temperature: Some(40.0) };
        let loads = times(asleep, 30).chain(times(usage(1.0), 3)).chain(times(asleep, 30));
        assert_eq!(play(&mut prewarm, Instant::now(), loads), []);
    }

    #[test]
    fn a_short_window_works_at_the_slowest_pace() {
        let limits = Limits { window: Duration::from_secs(5), ..Limits::default() };
        let mut prewarm = Prewarm::new(limits);
        let start = Instant::now();
        let signal = |n: u64, prewarm: &mut Prewarm| {
            prewarm.observe(usage(1.0), start + Duration::from_millis(5100) * u32::try_from(n).unwrap())
        };
        assert_eq!(signal(0, &mut prewarm), None);
        assert_eq!(signal(1, &mut prewarm).unwrap().phase, Phase::Start);
    }

    #[test]
    fn reasons_name_the_figure_and_its_limit() {
        let hot = Load { usage: Some(0.5), temperature: Some(91.0) };
        for (load, wanted) in [
            (usage(0.934), "GPU usage 93 % over 15 s, above 80 %"),
            (hot, "GPU at 91 °C over 15 s, above 80 °C"),
        ] {
            let mut prewarm = Prewarm::new(Limits::default());
            let start = Instant::now();
            let signal = (0..=15).find_map(|s| prewarm.observe(load, start + Duration::from_secs(s)));
            assert_eq!(signal.unwrap().reason, wanted);
        }
    }

    proptest! {
        #[test]
        fn signals_alternate_and_starts_keep_their_distance(
            steps in prop::collection::vec((0..120u64, 0.0..1.0f64, prop::option::of(20.0..110.0f64)), 1..400)
        ) {
            let mut prewarm = Prewarm::new(Limits::default());
            let mut now = Instant::now();
            let mut last: Option<Phase> = None;
            let mut started: Option<Instant> = None;
            for (pause, usage, temperature) in steps {
                now += Duration::from_secs(pause);
                let Some(signal) = prewarm.observe(Load { usage: Some(usage), temperature }, now) else { continue };
                prop_assert_ne!(last, Some(signal.phase));
                prop_assert!(last.is_some() || signal.phase == Phase::Start);
                if signal.phase == Phase::Start {
                    prop_assert!(started.is_none_or(|at| now >= at + START_INTERVAL));
                    started = Some(now);
                }
                last = Some(signal.phase);
            }
        }
    }
}
