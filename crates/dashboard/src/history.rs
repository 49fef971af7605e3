//! The last hour of a host, for plots: one point for each step of ten seconds.
//!
//! Steps are counted by the monotonic clock, so that a clock that is set moves no point. Only what is asked for has
//! times of the wall clock.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::figures::{Figures, rounded};
use crate::moment::Moment;

/// What a plot shows.
const SPAN_S: u64 = 3600;

/// Seconds of a step: 360 points are as many as a small plot has pixels. A host that beats less often has longer ones.
const STEP_S: u64 = 10;

/// Values of a point, in the order of `Series`.
const VALUES: usize = 7;

/// Those of them, from the first on, of which a point has the mean. Of the others it has the highest.
const MEANS: usize = 4;

/// Digits behind the point: shares in thousandths, degrees and milliseconds in tenths.
const DIGITS: [i32; VALUES] = [3, 3, 3, 3, 1, 1, 1];

/// What the points of all hosts may have together. With more than about 1,600 hosts each has less than an hour.
const BYTES: usize = 16 * 1024 * 1024;

/// Points that a history begins with.
const FIRST_ROOM: usize = 4;

/// Not a number: nothing is known.
type Point = [f32; VALUES];

const NOTHING: Point = [f32::NAN; VALUES];

/// How many points each host may have.
pub(super) fn points_for(hosts: usize) -> usize {
    (BYTES / size_of::<Point>() / hosts.max(1)).max(1)
}

/// The last hour of one host.
#[derive(Debug)]
pub(super) struct History {
    /// The begin of step 0.
    origin: Instant,
    step_s: u64,
    points: VecDeque<Point>,
    /// The step of the newest point.
    newest: u64,
    /// How many values the means of the newest point are of.
    counts: [u16; MEANS],
    /// Arrival of the newest beat, and on which connection.
    beat: Option<(Instant, u64)>,
}

/// The answer.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Plot {
    /// Seconds from one point to the next.
    pub(super) step_s: u64,
    /// When the first point begins, in Unix seconds.
    pub(super) start: i64,
    pub(super) series: Series,
}

/// A value for each point, null where none is known.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Series {
    pub(super) cpu: Vec<Option<f64>>,
    pub(super) memory: Vec<Option<f64>>,
    pub(super) disk: Vec<Option<f64>>,
    pub(super) gpu: Vec<Option<f64>>,
    pub(super) gpu_temp: Vec<Option<f64>>,
    pub(super) rtt_ms: Vec<Option<f64>>,
    /// How much later than due the beats came.
    pub(super) late_ms: Vec<Option<f64>>,
}

impl Default for Plot {
    /// That of a host without a heartbeat.
    fn default() -> Self {
        Self { step_s: STEP_S, start: 0, series: Series::default() }
    }
}

impl History {
    /// The history of a host whose first beat has arrived.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            origin: now,
            step_s: STEP_S,
            points: VecDeque::new(),
            newest: 0,
            counts: [0; MEANS],
            beat: None,
        }
    }

    /// Adds a beat of a host that beats once in `interval` seconds. `most` is how many points it may have.
    pub(super) fn beat(
        &mut self,
        now: Instant,
        connection: u64,
        interval: u64,
        figures: &Figures,
        most: usize,
    ) {
        self.set_step(interval.max(STEP_S), most);
        // The first beat of a connection is due at no time.
        let late_ms = self.beat.filter(|(_, before)| *before == connection).map(|(before, _)| {
            let due = before + Duration::from_secs(interval);
            now.saturating_duration_since(due).as_secs_f64() * 1000.0
        });
        self.beat = Some((now, connection));
        let Figures { cpu, memory, disk, gpu, gpu_temp, rtt_ms } = *figures;
        let values = [cpu, memory, disk, gpu, gpu_temp, rtt_ms, late_ms];
        self.add(self.step_at(now), values.map(|value| value.map_or(f32::NAN, |value| value as f32)), most);
    }

    fn step_at(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.origin).as_secs() / self.step_s
    }

    /// How many points are an hour, or as much of it as there is room for.
    fn room(&self, most: usize) -> usize {
        most.min(usize::try_from(SPAN_S / self.step_s).unwrap_or(1)).max(1)
    }

    fn add(&mut self, step: u64, values: Point, most: usize) {
        let room = self.room(most);
        if self.points.is_empty() || step > self.newest {
            let empty = if self.points.is_empty() { 0 } else { step - self.newest - 1 };
            let empty = usize::try_from(empty).unwrap_or(usize::MAX);
            if empty >= room {
                self.points.clear();
            }
            for _ in 0..(if empty >= room { 0 } else { empty }) {
                self.push(NOTHING, room);
            }
            self.push(NOTHING, room);
            (self.newest, self.counts) = (step, [0; MEANS]);
        }
        let Some(point) = self.points.back_mut() else { return };
        for (at, (kept, value)) in point.iter_mut().zip(values).enumerate() {
            // The highest of a number and of none is the number.
            let Some(count) = self.counts.get_mut(at) else {
                *kept = kept.max(value);
                continue;
            };
            if value.is_nan() {
                continue;
            }
            *count = count.saturating_add(1);
            *kept = if kept.is_nan() { value } else { *kept + (value - *kept) / f32::from(*count) };
        }
    }

    fn push(&mut self, point: Point, room: usize) {
        while self.points.len() >= room {
            self.points.pop_front();
        }
        if self.points.capacity() > 2 * room.max(FIRST_ROOM) {
            self.points.shrink_to(room);
        }
        if self.points.len() == self.points.capacity() {
            // No more than there will ever be: a list that doubles would have 512 places for 360 points.
            let more = self.points.len().max(FIRST_ROOM).min(room - self.points.len());
            self.points.reserve_exact(more);
        }
        self.points.push_back(point);
    }

    /// Puts what is known into steps of another length.
    fn set_step(&mut self, step_s: u64, most: usize) {
        if self.step_s == step_s {
            return;
        }
        let first = self.newest + 1 - self.points.len() as u64;
        let (points, before) = (std::mem::take(&mut self.points), self.step_s);
        self.step_s = step_s;
        for (step, point) in (first..).zip(points) {
            self.add(step * before / step_s, point, most);
        }
    }

    /// How many points are kept, and for how many there is memory.
    #[cfg(test)]
    pub(super) fn room_used(&self) -> (usize, usize) {
        (self.points.len(), self.points.capacity())
    }

    /// The last hour up to this moment.
    pub(super) fn plot(&self, moment: Moment, most: usize) -> Plot {
        let (room, now) = (self.room(most) as u64, self.step_at(moment.now));
        let first = self.newest + 1 - self.points.len() as u64;
        let from = first.max((now + 1).saturating_sub(room));
        let points: Vec<&Point> = (from..=now)
            .map(|step| {
                let at = usize::try_from(step - first).unwrap_or(usize::MAX);
                self.points.get(at).unwrap_or(&NOTHING)
            })
            .collect();
        let since = moment.now.saturating_duration_since(self.origin);
        let origin_ms = moment.unix_ms - i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        let begin = i64::try_from(from * self.step_s).unwrap_or(i64::MAX);
        let series = |at: usize| {
            let shown = |value: f32| value.is_finite().then(|| rounded(value.into(), DIGITS[at]));
            points.iter().map(|point| shown(point[at])).collect()
        };
        Plot {
            step_s: self.step_s,
            start: origin_ms.div_euclid(1000).saturating_add(begin),
            series: Series {
                cpu: series(0),
                memory: series(1),
                disk: series(2),
                gpu: series(3),
                gpu_temp: series(4),
                rtt_ms: series(5),
                late_ms: series(6),
            },
        }
    }
}
