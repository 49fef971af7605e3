//! Rates from counters, for sources that count two directions for each of several devices.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Moment;

/// Time after which it is checked again which devices are physical. A name can move to another device, and a
/// device can get another master.
const RECHECK: Duration = Duration::from_secs(60);

/// Two counters for each device, both since the boot and in the same unit.
pub type Counters = BTreeMap<String, [u64; 2]>;

/// Growth of both counters per second, all devices together. A device that is new, or whose counters became
/// smaller (its driver was restarted), is skipped once. None if no device remains: the rate is unknown then,
/// not 0.
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

/// Remembers the previous counters, and which devices are physical.
#[derive(Debug, Default)]
pub(super) struct Meter {
    previous: Option<(Moment, Counters)>,
    physical: BTreeMap<String, bool>,
    checked_at: Option<Moment>,
}

impl Meter {
    /// Keeps the physical devices. New names are checked at once, all names once a minute.
    pub(super) fn select(
        &mut self,
        mut all: Counters,
        now: Moment,
        is_physical: impl Fn(&str) -> bool,
    ) -> Counters {
        if self.checked_at.is_none_or(|checked| now.since(checked) > RECHECK) {
            self.checked_at = Some(now);
            self.physical.clear();
        }
        self.physical.retain(|name, _| all.contains_key(name));
        all.retain(|name, _| match self.physical.get(name) {
            Some(counts) => *counts,
            None => *self.physical.entry(name.clone()).or_insert(is_physical(name)),
        });
        all
    }

    /// The rates since the previous call; None at the first one.
    pub(super) fn rates(&mut self, counters: Counters, now: Moment) -> Option<[f64; 2]> {
        let (then, earlier) = self.previous.replace((now, counters))?;
        let (_, counters) = self.previous.as_ref()?;
        per_second(&earlier, counters, now.awake_since(then))
    }
}
