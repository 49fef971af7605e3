//! Which units failed because of a switch, which had failed before, and which have recovered.

use std::collections::{BTreeMap, BTreeSet};

use nixfleet_os::short;
use nixfleet_os::unit_states::UnitState;

use crate::supervisor::switch_lines::{FailedJob, SwitchLines};
use crate::system_state::MAX_UNITS;

/// What is known about the units after a switch. Names are in alphabetical order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Units {
    /// Failed now, and not before.
    pub(super) newly_failed: Vec<String>,
    /// Named as failed, and no longer.
    pub(super) recovered: Vec<String>,
    /// Named as failed, and failed before as well.
    pub(super) old: Vec<String>,
    /// Done with units that did not fail themselves.
    pub(super) jobs: Vec<FailedJob>,
    /// Stopped for the activation, and not started again.
    pub(super) left_stopped: Vec<String>,
    /// Systemd said which units failed.
    pub(super) known: bool,
}

/// The units that were stopped for an activation which ended before it started units again.
pub(super) fn unstarted(lines: &SwitchLines) -> &[String] {
    if lines.started { &[] } else { &lines.stopped }
}

/// The units to look at more closely: those that the rebuild named as failed, and those that failed since then.
pub(super) fn suspects(
    lines: &SwitchLines,
    before: Option<&[String]>,
    after: Option<&[String]>,
) -> BTreeSet<String> {
    let before = before.unwrap_or_default();
    let starts = lines.failed_jobs.iter().filter(|job| job.verb.starts()).map(|job| &job.unit);
    let new = after.unwrap_or_default().iter().filter(|unit| !before.contains(unit));
    short::gather(lines.failed_units.iter().chain(starts).chain(new).take(MAX_UNITS).cloned())
}

/// Sorts the units. `twice`: this is the second look, and what the rebuild named had time to recover. `before` and
/// `after` are the failed units, None if they are unknown; `states` those of the [`suspects`] and of the [`unstarted`]
/// ones, as far as systemd told them.
pub(super) fn sort(
    lines: &SwitchLines,
    before: Option<&[String]>,
    after: Option<&[String]>,
    states: &BTreeMap<String, UnitState>,
    twice: bool,
) -> Units {
    let mut units = Units { known: after.is_some(), ..Units::default() };
    for unit in suspects(lines, before, after) {
        let listed = lines.failed_units.contains(&unit);
        let failed = match (after, states.get(&unit)) {
            (Some(after), _) if after.contains(&unit) => true,
            (_, Some(state)) if state.runs() => false,
            // A unit that was not started is inactive, too: only one that had failed may have ended its work since.
            (_, Some(state)) => !(listed && state.is_done()),
            // Without its state, a unit that was named may be between two starts.
            (Some(_), None) => !(listed && twice),
            (None, None) => true,
        };
        let had_failed = before.is_some_and(|before| before.contains(&unit));
        let list = match (failed, had_failed) {
            (true, false) => &mut units.newly_failed,
            (true, true) => &mut units.old,
            (false, _) => &mut units.recovered,
        };
        list.push(unit);
    }
    let stopped = |unit: &&String| states.get(*unit).is_some_and(UnitState::is_stopped);
    let left_stopped =
        unstarted(lines).iter().filter(stopped).filter(|unit| !units.newly_failed.contains(unit));
    units.left_stopped = left_stopped.cloned().collect();
    let is_told = |unit: &String| units.newly_failed.contains(unit) || units.old.contains(unit);
    let jobs = lines.failed_jobs.iter().filter(|job| !job.verb.starts() && !is_told(&job.unit));
    units.jobs = jobs.cloned().collect();
    units
}
