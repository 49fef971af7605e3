//! What the programs of a rebuild say about their own work: switch-to-configuration, the installer of the boot
//! loader, the activation script, and programs that find no room. Facts only; [`verdict`](super::verdict) decides what
//! they mean.
//!
//! Pure code that sees each line once, while it passes by. Both wordings are known: that of the older programs in
//! Perl and of `systemctl`, which they called, and that of the newer ones. A build may print any of these texts; its
//! lines begin with its name, so that only lines of the rebuild itself match.

use std::collections::VecDeque;

use nixfleet_os::text::one_line;

use crate::journal::Source;
use crate::lines::Piece;

#[cfg(feature = "test-util")]
pub mod fuzzing;
mod room;
mod units;

pub(super) use room::{NoRoom, no_room};
pub(super) use units::FailedJob;

#[cfg(test)]
mod tests;

/// Most lines kept in front of the line that names a failed check. A check that says more has said the important
/// things last, or its advice is long.
const MAX_CHECK_LINES: usize = 16;

/// Longest line kept, in characters.
const MAX_LINE: usize = 200;

/// Most names kept in one list. A switch after which more units failed needs attention in any case.
const MAX_NAMES: usize = crate::system_state::MAX_UNITS;

/// How many lines may follow a line about missing room so that this line still explains a failure: a trace of the boot
/// loader's installer and the closing lines of a rebuild are fewer.
const EXPLAINS_FOR: usize = 40;

/// A check of the new system that refused it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Check {
    /// Its name; empty if nothing named it.
    pub(super) name: String,
    /// What it wrote, without its general advice.
    pub(super) lines: Vec<String>,
    /// It advises to boot into the new system instead.
    pub(super) advises_boot: bool,
}

/// What the lines of one program say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SwitchLines {
    /// The check that refused the new system.
    pub(super) check: Option<Check>,
    /// Somebody else activates a system.
    pub(super) busy: bool,
    /// The boot loader could not be installed.
    pub(super) boot_loader_failed: bool,
    /// The running system cannot be replaced by the new one.
    pub(super) needs_reboot: bool,
    /// Units that were stopped before the activation.
    pub(super) stopped: Vec<String>,
    /// The activation script was started.
    pub(super) activating: bool,
    /// The work on the units, which follows the activation script, has begun.
    pub(super) handling_units: bool,
    /// The units that were stopped were started again, as far as they could be.
    pub(super) started: bool,
    /// Snippets of the activation script that failed, with their exit codes.
    pub(super) snippets: Vec<String>,
    /// The activation script failed.
    pub(super) script_failed: bool,
    /// Units that the program found failed at its end.
    pub(super) failed_units: Vec<String>,
    /// Units that could not be started, reloaded and so on.
    pub(super) failed_jobs: Vec<FailedJob>,
    /// Units of users that failed.
    pub(super) user_units: Vec<String>,
    /// Users whose units could not be brought up to date.
    pub(super) users: Vec<String>,
    /// The error with which switch-to-configuration gave up, and its causes.
    pub(super) error: String,
    /// A file system without room.
    no_room: Option<NoRoom>,
    /// Lines since then.
    since_no_room: usize,
    /// The newest lines of each stream, as they were written.
    recent: [VecDeque<String>; 2],
    /// The next line is a cause of `error`.
    causes: bool,
    /// Causes of it that were read.
    causes_taken: u32,
    /// The next piece of a stream continues a line.
    inside: [bool; 2],
}

impl SwitchLines {
    /// Reads a piece of a line. A long line counts by its beginning.
    pub(super) fn read(&mut self, source: Source, piece: &Piece<'_>) {
        let stream = usize::from(source == Source::Stderr);
        if !std::mem::replace(&mut self.inside[stream], piece.cont) {
            // nix indents what stands in the middle of its own messages: the text of a `throw`, a trace.
            let is_inside = piece.text.starts_with([' ', '\t']);
            self.line(stream, piece.text.trim(), is_inside);
        }
    }

    /// The line about missing room, if it explains a failure at the end of the output.
    pub(super) fn no_room(&self) -> Option<&NoRoom> {
        self.no_room.as_ref().filter(|_| self.since_no_room <= EXPLAINS_FOR)
    }

    /// Whether the activation has begun.
    pub(super) fn has_begun(&self) -> bool {
        self.activating || self.handling_units
    }

    /// Reads the beginning of a line. `is_inside`: it is indented.
    fn line(&mut self, stream: usize, text: &str, is_inside: bool) {
        self.since_no_room = self.since_no_room.saturating_add(1);
        if room::is_of_a_build(text) {
            // The checks have not begun yet.
            self.recent[stream].clear();
            return;
        }
        if is_of_nix(text) && !self.has_begun() {
            // nix is still at work, so what looked like words of a switch was text of the configuration.
            self.check = None;
            (self.busy, self.boot_loader_failed, self.needs_reboot) = (false, false, false);
        }
        self.find_room(text);
        self.causes(text);
        if !is_inside {
            self.about_the_switch(stream, text);
        }
        self.keep(stream, text);
    }

    /// Takes what switch-to-configuration and the programs that it runs say. None of them indents it.
    fn about_the_switch(&mut self, stream: usize, text: &str) {
        let after = |beginning: &str| text.strip_prefix(beginning);
        if let Some(rest) = after("Pre-switch check '") {
            if let Some(name) = rest.strip_suffix("' failed") {
                self.refused(stream, name);
            }
        } else if text == "Pre-switch checks failed" {
            self.check.get_or_insert_default();
        } else if is_lock_held(text) {
            self.busy = true;
        } else if after("Failed to install bootloader").is_some() {
            self.boot_loader_failed = true;
        } else if text.contains("NixOS configuration has an ‘init’ that is") {
            self.needs_reboot = true;
        } else if text == "activating the configuration..." {
            self.activating = true;
        } else if let Some(rest) = after("Activation script snippet '") {
            if let Some((name, code)) = rest.split_once("' failed") {
                push(&mut self.snippets, one_line(&format!("`{name}`{code}"), MAX_LINE));
            }
        } else if text == "Failed to run activate script" {
            self.script_failed = true;
        } else {
            self.about_units(text);
        }
    }

    /// Takes what the output says about units.
    fn about_units(&mut self, text: &str) {
        let after = |beginning: &str| text.strip_prefix(beginning);
        if let Some(list) = after("stopping the following units: ") {
            units::list(list).for_each(|name| push(&mut self.stopped, name));
        } else if let Some(list) = after("warning: the following units failed: ") {
            self.handling_units = true;
            self.started = true;
            units::list(list).for_each(|name| push(&mut self.failed_units, name));
        } else if let Some(list) = after("warning: the following user units failed: ") {
            units::list(list).for_each(|name| push(&mut self.user_units, name));
        } else if let Some(rest) = after("warning: user activation for ") {
            if let Some(name) = rest.strip_suffix(" failed") {
                push(&mut self.users, one_line(name, MAX_LINE));
            }
        } else if let Some((of_user, job)) = units::failed_job(text) {
            if of_user {
                push(&mut self.user_units, job.unit);
            } else if self.has_begun() {
                push(&mut self.failed_jobs, job);
            }
        } else if self.activating && units::handles(text) {
            self.handling_units = true;
            self.started |= units::starts(text);
        }
    }

    /// A check has refused the new system.
    fn refused(&mut self, stream: usize, name: &str) {
        let lines = self.recent[stream].iter();
        let advises_boot = lines.clone().any(|line| is_advice_to_boot(line));
        let lines = lines.filter(|line| !is_general(line)).map(|line| one_line(line, MAX_LINE));
        let lines = lines.filter(|line| !line.is_empty()).collect();
        self.check = Some(Check { name: one_line(name, MAX_LINE), lines, advises_boot });
    }

    /// Keeps a line, in case it is that of a check. Lines of what runs before the checks end what was kept.
    fn keep(&mut self, stream: usize, text: &str) {
        let recent = &mut self.recent[stream];
        if is_before_checks(text) {
            recent.clear();
            return;
        }
        let mut line =
            if recent.len() < MAX_CHECK_LINES { None } else { recent.pop_front() }.unwrap_or_default();
        line.clear();
        line.extend(text.chars().take(MAX_LINE));
        recent.push_back(line);
    }

    fn find_room(&mut self, text: &str) {
        let Some(found) = no_room(text) else { return };
        let known = self.no_room.as_ref().is_some_and(|before| before.path.is_some());
        if !known || found.path.is_some() {
            self.no_room = Some(found);
        }
        self.since_no_room = 0;
    }

    /// Takes the error with which a program of NixOS ends: one line, and below "Caused by:" its causes.
    fn causes(&mut self, text: &str) {
        if let Some(error) = text.strip_prefix("Error: ") {
            self.error = one_line(error, MAX_LINE);
            self.causes = false;
        } else if text == "Caused by:" {
            self.causes = !self.error.is_empty();
            self.causes_taken = 0;
        } else if self.causes && !text.is_empty() {
            // Several causes are numbered: `0: text`. A line without a number is the only one.
            let numbered = text.split_once(": ").filter(|(number, _)| number.parse::<u8>().is_ok());
            let first = self.causes_taken == 0;
            if numbered.is_some() || first {
                let cause = one_line(numbered.map_or(text, |(_, cause)| cause), MAX_LINE);
                self.error = one_line(&format!("{}: {cause}", self.error), MAX_LINE);
            }
            self.causes = numbered.is_some();
            self.causes_taken += 1;
        }
    }
}

/// Adds to a list with [`MAX_NAMES`] entries at most, without repeats.
fn push<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if list.len() < MAX_NAMES && !list.contains(&item) {
        list.push(item);
    }
}

/// switch-to-configuration could not take its lock, or its unit runs.
fn is_lock_held(text: &str) -> bool {
    let lock = text.strip_prefix("Could not acquire lock");
    let unit = "Unit nixos-rebuild-switch-to-configuration.service was already loaded";
    // In Perl, the error and the place in the program follow.
    lock.is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')) || text.contains(unit)
}

fn is_advice_to_boot(line: &str) -> bool {
    line.contains("nixos-rebuild boot")
}

/// Lines of the switch inhibitors that are the same for every host. One of them tells how to override the check, which
/// is no advice for a host that nobody sits at.
fn is_general(line: &str) -> bool {
    const GENERAL: &[&str] = &[
        "hecking switch inhibitors...",
        "here are changes to critical components of the system",
        "witching into this system is not recommended",
        "nixos-rebuild boot",
        "f you really want to switch into this configuration directly",
        "NIXOS_NO_CHECK=1",
        "WARNING: doing so might cause the switch to fail",
    ];
    GENERAL.iter().any(|text| line.contains(text))
}

/// Whether only nix writes such a line, while it evaluates and builds: not nixos-rebuild, and no check of a system.
fn is_of_nix(text: &str) -> bool {
    const BEGINNINGS: &[&str] =
        &["error: ", "building '", "copying path '", "evaluation warning:", "trace: "];
    text == "error:" || BEGINNINGS.iter().any(|beginning| text.starts_with(beginning))
}

/// Whether the line is one of nix or nixos-rebuild, which run before the checks, or of a check that passed.
fn is_before_checks(text: &str) -> bool {
    const BEGINNINGS: &[&str] = &[
        "building '",
        "building the system configuration",
        "building Nix",
        "copying path '",
        "evaluating ",
        "unpacking ",
        "evaluation warning:",
        "trace: ",
        "warning: Git tree",
        "rolling back",
        "switching profile from",
    ];
    let announces = text.ends_with(" will be built:") || text.contains(" will be fetched (");
    let is_path = text.starts_with("/nix/store/") && !text.contains(' ');
    announces
        || is_path
        || BEGINNINGS.iter().any(|beginning| text.starts_with(beginning))
        || text.ends_with("hecking switch inhibitors... done")
}
