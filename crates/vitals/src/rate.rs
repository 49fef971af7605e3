//! Rates from counters, for sources that count two directions for each of several devices.

use std::collections::BTreeMap;
use std::time::Duration;

use nixfleet_os::short;

use crate::clock::Moment;

/// Time after which it is checked again which devices are counted. A name can move to another device, and a
/// device can get another master.
const RECHECK: Duration = Duration::from_secs(60);

/// Two counters for each device, both since the boot and in the same unit.
pub type Counters = BTreeMap<String, [u64; 2]>;

/// Highest plausible rate of one device, in units per second: a tebibyte, five times the fastest network
/// adapters of 2025. More than that is a counter that jumped, such as one below zero.
const MAX_RATE: f64 = (1_u64 << 40) as f64;

/// Growth of both counters per second, all devices together. A device that is new, whose counters became
/// smaller (its driver was restarted, or a counter of 32 bits began anew), or which grew faster than any device
/// can, is skipped once. None if no device remains: the rate is unknown then, not 0.
pub fn per_second(earlier: &Counters, later: &Counters, elapsed: Duration) -> Option<[f64; 2]> {
    let seconds = elapsed.as_secs_f64();
    if seconds <= 0.0 {
        return None;
    }
    let mut sum: Option<[f64; 2]> = None;
    for (name, counters) in later {
        let Some(grown) = earlier.get(name).and_then(|before| grown(before, counters)) else { continue };
        let rates = grown.map(|grown| grown as f64 / seconds);
        if rates.iter().any(|rate| *rate > MAX_RATE) {
            continue;
        }
        let sum = sum.get_or_insert_default();
        sum[0] += rates[0];
        sum[1] += rates[1];
    }
    sum
}

/// Growth of both counters of one device; None if one became smaller.
fn grown(earlier: &[u64; 2], later: &[u64; 2]) -> Option<[u64; 2]> {
    Some([later[0].checked_sub(earlier[0])?, later[1].checked_sub(earlier[1])?])
}

/// Remembers the previous counters.
#[derive(Debug, Default)]
pub(super) struct Meter {
    previous: Option<(Moment, Counters)>,
    /// Counters of devices that stepped back at the previous reading, as they were before it.
    before_step: Counters,
}

impl Meter {
    /// The rates since the previous call; None at the first one. A device whose counters stepped back and
    /// returned to where they were is skipped twice: otherwise all that it ever counted would be of this time.
    pub(super) fn rates(&mut self, counters: Counters, now: Moment) -> Option<[f64; 2]> {
        let (then, mut earlier) = self.previous.replace((now, counters))?;
        let (_, counters) = self.previous.as_ref()?;
        for (name, before) in std::mem::take(&mut self.before_step) {
            if counters.get(&name).is_some_and(|later| grown(&before, later).is_some()) {
                earlier.remove(&name);
            }
        }
        let rates = per_second(&earlier, counters, now.awake_since(then));
        earlier.retain(|name, before| counters.get(name).is_some_and(|later| grown(before, later).is_none()));
        self.before_step = earlier;
        rates
    }
}

/// Remembers which devices are counted.
#[derive(Debug, Default)]
pub(super) struct Selection {
    counted: BTreeMap<String, bool>,
    checked_at: Option<Moment>,
}

impl Selection {
    /// The counters of those devices that are counted. New names are checked at once, all names once a
    /// minute.
    pub(super) fn of(
        &mut self,
        all: &Counters,
        now: Moment,
        mut counts: impl FnMut(&str) -> bool,
    ) -> Counters {
        if self.checked_at.is_none_or(|checked| now.since(checked) > RECHECK) {
            self.checked_at = Some(now);
            self.counted.clear();
        }
        self.counted.retain(|name, _| all.contains_key(name));
        let counted = all.iter().filter(|(name, _)| match self.counted.get(*name) {
            Some(counted) => *counted,
            None => *self.counted.entry((*name).clone()).or_insert_with(|| counts(name)),
        });
        short::gather(counted.map(|(name, counters)| (name.clone(), *counters)))
    }
}
