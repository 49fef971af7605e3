//! From counters to rates, for whatever counts two directions for each of several devices.

use std::{collections::BTreeMap, time::Duration};

use super::clock::Moment;

/// Time for which it is believed what kind of device a name means. A name can be given to another
/// device, and a device can get another master.
const BELIEVED: Duration = Duration::from_secs(60);

/// Two counters for each device, both since the boot, in one unit.
pub type Counters = BTreeMap<String, [u64; 2]>;

/// What both counters grew by in a second, all devices together. A device that is new, or whose
/// counters stepped back (its driver started anew), is skipped once. None if no device is left: that
/// is no standstill, it is not known.
pub fn per_second(earlier: &Counters, later: &Counters, elapsed: Duration) -> Option<[f64; 2]> {
    let mut sum: Option<[u128; 2]> = None;
    for (name, [first, second]) in later {
        let Some(before) = earlier.get(name) else { continue };
        let (Some(first), Some(second)) = (first.checked_sub(before[0]), second.checked_sub(before[1]))
        else {
            continue;
        };
        let [sum_first, sum_second] = sum.get_or_insert_default();
        *sum_first += u128::from(first);
        *sum_second += u128::from(second);
    }
    let seconds = elapsed.as_secs_f64();
    let sum = sum.filter(|_| seconds > 0.0)?;
    Some(sum.map(|grown| grown as f64 / seconds))
}

/// Remembers the last counters, and which devices count.
#[derive(Debug, Default)]
pub(super) struct Meter {
    previous: Option<(Moment, Counters)>,
    physical: BTreeMap<String, bool>,
    asked_at: Option<Moment>,
}

impl Meter {
    /// Keeps the devices that count. Who counts is asked for new names, and for all once a minute.
    pub(super) fn chosen(
        &mut self,
        mut all: Counters,
        now: Moment,
        physical: impl Fn(&str) -> bool,
    ) -> Counters {
        if self.asked_at.is_none_or(|asked| now.since(asked) > BELIEVED) {
            self.asked_at = Some(now);
            self.physical.clear();
        }
        self.physical.retain(|name, _| all.contains_key(name));
        all.retain(|name, _| match self.physical.get(name) {
            Some(counts) => *counts,
            None => *self.physical.entry(name.clone()).or_insert(physical(name)),
        });
        all
    }

    /// The rates since the last call; none at the first one.
    pub(super) fn rates(&mut self, counters: Counters, now: Moment) -> Option<[f64; 2]> {
        let (then, earlier) = self.previous.replace((now, counters))?;
        let (_, counters) = self.previous.as_ref()?;
        per_second(&earlier, counters, now.awake_since(then))
    }
}
