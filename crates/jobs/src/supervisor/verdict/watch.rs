//! Looks at the machine before a command that replaces its system, and behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nixfleet_os::error::chain;
use nixfleet_os::subprocess::ProgramError;
use nixfleet_os::unit_states;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::active::Active;
use super::rebuilds;
use super::texts::names;
use super::units::{Units, sort, suspects, unstarted};
use crate::Settings;
use crate::history::deploys;
use crate::journal::Writer;
use crate::settings::SystemPaths;
use crate::spec::Outcome;
use crate::supervisor::done::Done;
use crate::supervisor::stop::Stop;
use crate::supervisor::switch_lines::SwitchLines;
use crate::system_state::{SystemChange, SystemState};

/// When to look again at units that failed. A unit with `Restart=always` is counted as failed while it is between two
/// starts: systemd's default pause is 100 ms, and modules of NixOS set up to 10 s and more; then it has to start.
const SECOND_LOOK: Duration = Duration::from_secs(30);

/// What was seen around the programs of a command.
#[derive(Debug)]
pub(in crate::supervisor) struct Watch {
    /// The machine, if the command replaces its system.
    pub(super) change: Option<Box<SystemChange>>,
    pub(super) units: Units,
    /// Why systemd did not say which units failed.
    pub(super) unknown: Option<String>,
    /// What the last program said.
    pub(super) lines: SwitchLines,
    /// The line that explains best why it failed; may be empty.
    pub(super) why: String,
    /// The last program that was started is the rebuild.
    pub(super) in_rebuild: bool,
    /// Number of the programs.
    pub(in crate::supervisor) steps: usize,
    /// The program `systemctl`.
    pub(super) systemctl: PathBuf,
    /// When to look again at units that failed.
    pub(super) pause: Duration,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            change: None,
            units: Units::default(),
            unknown: None,
            lines: SwitchLines::default(),
            why: String::new(),
            in_rebuild: false,
            steps: 0,
            systemctl: PathBuf::from("systemctl"),
            pause: SECOND_LOOK,
        }
    }
}

impl Watch {
    /// Looks at the machine before the first of the programs. `steps` is their number.
    pub(in crate::supervisor) fn begin(
        &mut self,
        settings: &Settings,
        command: &str,
        steps: usize,
        log: &Writer,
    ) {
        self.steps = steps;
        if steps == 0 || !rebuilds(command) {
            return;
        }
        let paths = &settings.system;
        let before = if asks_systemd(command, log) {
            SystemState::look(paths, &self.systemctl).0
        } else {
            SystemState::of_links(paths)
        };
        self.change = Some(Box::new(SystemChange { before, ..SystemChange::default() }));
    }

    /// Looks at the machine behind the programs. Returns whether to look at its units [again](Self::look_again): some
    /// failed, or nobody knows.
    pub(in crate::supervisor) fn end(
        &mut self,
        settings: &Settings,
        command: &str,
        done: &Done,
        lines: SwitchLines,
        stop: &Stop,
        log: &Writer,
    ) -> bool {
        self.in_rebuild = rebuilds(command) && done.step + 1 == self.steps;
        self.why.clone_from(&done.why);
        self.lines = lines;
        let Some(change) = &mut self.change else { return false };
        change.after = SystemState::of_links(&settings.system);
        if !self.in_rebuild || !asks_systemd(command, log) {
            return false;
        }
        let active = Active::of(change, &self.lines) != Active::No;
        // Without a system that was activated, or with one that was cut short, nothing can recover.
        let ended = matches!(done.outcome, Outcome::Ok | Outcome::Failed) && stop.is_final().is_none();
        self.look(settings, false);
        active && ended && (self.unknown.is_some() || (self.units.known && !self.suspects().is_empty()))
    }

    /// Looks at the units again after [`SECOND_LOOK`]. A stop or a shutdown ends the wait; then the first look counts.
    pub(in crate::supervisor) fn look_again(
        &mut self,
        settings: &Settings,
        stop: &mut Stop,
        log: &mut Writer,
    ) {
        let suspects = self.suspects();
        let what = match suspects.len() {
            0 => "systemd does not say which units failed".to_owned(),
            _ => format!("failed: {}", names(suspects.iter().map(String::as_str))),
        };
        log.remark(&format!("{what}; looking again in {:?}", self.pause));
        log.flush();
        if !wait(stop, log, self.pause) {
            log.remark("the second look at the units is left out, because the command is to end");
            return;
        }
        self.look(settings, true);
        if let [_, ..] = &self.units.recovered[..] {
            let recovered = names(self.units.recovered.iter().map(String::as_str));
            log.remark(&format!("recovered: {recovered}"));
        }
    }

    /// Looks at the units, and sorts them.
    fn look(&mut self, settings: &Settings, twice: bool) {
        let Some(change) = &mut self.change else { return };
        let look = Look::take(&settings.system, &self.systemctl, &self.lines, change);
        let before = change.before.failed_units.as_deref();
        self.units = sort(&self.lines, before, look.failed.as_deref(), &look.states, twice);
        self.unknown = look.error.map(|err| chain(&err));
        change.after.failed_units = look.failed;
        change.newly_failed.clone_from(&self.units.newly_failed);
        change.recovered.clone_from(&self.units.recovered);
    }

    /// The units that may have failed because of the command.
    fn suspects(&self) -> BTreeSet<String> {
        let Some(change) = &self.change else { return BTreeSet::new() };
        let (before, after) = (&change.before.failed_units, &change.after.failed_units);
        suspects(&self.lines, before.as_deref(), after.as_deref())
    }

    /// What the result of the job keeps.
    pub(super) fn into_change(self) -> Option<Box<SystemChange>> {
        self.change
    }
}

/// Whether to ask systemd for failed units. A simulated host has none.
fn asks_systemd(command: &str, log: &Writer) -> bool {
    deploys(command) && log.processes().simulation().is_none()
}

/// One look at the units.
struct Look {
    failed: Option<Vec<String>>,
    states: BTreeMap<String, unit_states::UnitState>,
    error: Option<ProgramError>,
}

impl Look {
    fn take(paths: &SystemPaths, systemctl: &Path, lines: &SwitchLines, change: &SystemChange) -> Self {
        let (state, error) = SystemState::look(paths, systemctl);
        let failed = state.failed_units;
        let suspects = suspects(lines, change.before.failed_units.as_deref(), failed.as_deref());
        let asked: Vec<String> = suspects.into_iter().chain(unstarted(lines).iter().cloned()).collect();
        // Without an answer, the list of failed units decides alone.
        let states = unit_states::read(&paths.systemd, systemctl, &asked);
        Self { failed, states: states.ok().flatten().unwrap_or_default(), error }
    }
}

/// Waits for that long. Returns false as soon as the command is to end.
fn wait(stop: &mut Stop, log: &Writer, time: Duration) -> bool {
    let until = stop.now() + time;
    loop {
        if stop.is_requested() {
            return false;
        }
        let left = until.saturating_duration_since(stop.now());
        if left.is_zero() {
            return true;
        }
        if let Some(programs) = log.processes().simulation() {
            programs.wait(Some(left));
        } else {
            let mut fds: Vec<PollFd<'_>> =
                stop.fds().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
            // An error is an interruption by a signal, which is looked at next.
            poll(&mut fds, Timespec::try_from(left).ok().as_ref()).ok();
        }
        // Processes that were left behind end meanwhile. Their signal would end every further wait.
        stop.child_ended();
    }
}
