//! From what was seen to the outcome and the message. No I/O.
//!
//! The exit code decides little. switch-to-configuration ends with its own codes, with the number of an error of the
//! operating system, and with 1 after a time-out of D-Bus; older releases of nixos-rebuild make 1 of every code. So the
//! system before and after, and the lines of the programs, come first.

use std::path::Path;

use super::Watch;
use super::active::Active;
use super::texts::{joined, names, quoted, system, systemctl_status};
use crate::Settings;
use crate::spec::{JobResult, Outcome, capitalized};
use crate::supervisor::switch_lines::{NoRoom, SwitchLines};
use crate::system_state::SystemChange;

/// Exit codes of switch-to-configuration: the activation script failed; units failed; the running system cannot be
/// replaced.
const SCRIPT_FAILED: i32 = 2;
const UNITS_FAILED: i32 = 4;
const NEEDS_REBOOT: i32 = 100;

/// A command that has ended, and what was seen of it.
pub(super) struct Case<'a> {
    pub(super) settings: &'a Settings,
    pub(super) command: &'a str,
    pub(super) result: &'a JobResult,
    pub(super) watch: &'a Watch,
}

impl Case<'_> {
    /// The outcome and the message.
    pub(super) fn decide(&self) -> (Outcome, String) {
        let message = self.result.message.clone();
        let is_nixos = self.settings.host_type == "nixos";
        let change = self.watch.change.as_deref().filter(|_| self.watch.in_rebuild && is_nixos);
        match (self.result.outcome, change) {
            (Outcome::Ok, Some(change)) if self.is_cut_unnoticed(change) => self.cut(change),
            (Outcome::Ok, Some(_)) => (Outcome::Ok, joined([&*message, &*self.failed_since()])),
            (Outcome::Failed, Some(change)) => match Active::of(change, &self.watch.lines) {
                Active::No => self.unchanged(change),
                Active::Cut => self.cut(change),
                active => self.activated(active, change),
            },
            (Outcome::Failed, None) => match self.watch.lines.no_room() {
                Some(found) => self.no_room(found, ""),
                None => self.unknown_system(),
            },
            (Outcome::Stopped | Outcome::TimedOut | Outcome::InterruptedByReboot, Some(change)) => {
                (self.result.outcome, joined([&*message, cut_short(Active::of(change, &self.watch.lines))]))
            }
            (outcome, _) => (outcome, message),
        }
    }

    fn subject(&self) -> String {
        capitalized(self.command)
    }

    /// ` (exit code 4)`. A signal is told in another place.
    fn end(&self) -> String {
        match self.result.signal {
            Some(_) => String::new(),
            None => format!(" (exit code {})", self.result.exit_code),
        }
    }

    /// The line that explains the failure: that of switch-to-configuration, or of the failed program.
    fn line(&self) -> &str {
        let Watch { lines, why, .. } = self.watch;
        if lines.error.is_empty() { why } else { &lines.error }
    }

    /// A rebuild of a host that is not NixOS. Its programs have other exit codes and other lines.
    fn unknown_system(&self) -> (Outcome, String) {
        let change = self.watch.change.as_deref().filter(|_| self.watch.in_rebuild);
        let is_new = change.is_some_and(|change| Active::of(change, &SwitchLines::default()) == Active::New);
        if !is_new {
            return (Outcome::Failed, self.result.message.clone());
        }
        let message = joined([&*self.result.message, "the new system is active all the same"]);
        (Outcome::ActivatedWithFailures, message)
    }

    /// Units that failed although the rebuild succeeded: they were started, and failed later.
    fn failed_since(&self) -> String {
        match &self.watch.units.newly_failed[..] {
            [] => String::new(),
            units => {
                let failed = names(units.iter().map(String::as_str));
                format!("failed behind it: {failed}; {}", systemctl_status(units))
            }
        }
    }

    /// The rebuild failed, and the new system was activated.
    fn activated(&self, active: Active, change: &SystemChange) -> (Outcome, String) {
        let (units, end) = (&self.watch.units, self.end());
        let what = match active {
            Active::New => "the new system is active",
            Active::Again => "the running system was activated once more",
            Active::Probably | Active::Cut | Active::No => {
                "the new system was activated, but which one runs is unknown"
            }
        };
        let recovered = match &units.recovered[..] {
            [] => String::new(),
            list => format!("had failed and recovered: {}", names(list.iter().map(String::as_str))),
        };
        let old = match &units.old[..] {
            [] => String::new(),
            list => format!("failed as before this command: {}", names(list.iter().map(String::as_str))),
        };
        let failures = self.failures();
        let profile = other_profile(change);
        if failures.is_empty() {
            let mut message = format!("{}: {what}", self.subject());
            if recovered.is_empty() && old.is_empty() {
                message += " and no unit failed, although the rebuild failed";
            } else {
                message += " and no unit failed because of it";
            }
            message += &end;
            if !self.line().is_empty() && recovered.is_empty() && old.is_empty() {
                message += &format!(": {}", self.line());
            }
            let message = joined([&*message, &*recovered, &*old, &*profile]);
            return (Outcome::ActivatedDespiteError, message);
        }
        let to_see = match (&units.newly_failed[..], units.jobs.is_empty()) {
            ([], true) if self.watch.lines.script_failed || !self.watch.lines.snippets.is_empty() => {
                "the output has the reason".to_owned()
            }
            ([], false) => {
                let of_jobs: Vec<String> = units.jobs.iter().map(|job| job.unit.clone()).collect();
                systemctl_status(&of_jobs)
            }
            ([], true) if !units.left_stopped.is_empty() => systemctl_status(&units.left_stopped),
            (failed, _) => systemctl_status(failed),
        };
        let message = format!("{}: {what}, but {failures}{end}", self.subject());
        (Outcome::ActivatedWithFailures, joined([&*message, &*to_see, &*recovered, &*old, &*profile]))
    }

    /// What failed in an activation; empty if nothing is known to have failed.
    fn failures(&self) -> String {
        let Watch { lines, units, unknown, .. } = self.watch;
        let mut parts = Vec::new();
        match &lines.snippets[..] {
            [] if lines.script_failed => parts.push("the activation script failed".to_owned()),
            [] => {}
            snippets => {
                let snippets = names(snippets.iter().map(String::as_str));
                parts.push(format!("the activation script failed in {snippets}"));
            }
        }
        if let [_, ..] = &units.newly_failed[..] {
            parts.push(format!("{} failed", names(units.newly_failed.iter().map(String::as_str))));
        }
        for job in &units.jobs {
            parts.push(format!("{} failed to {}", job.unit, job.verb));
        }
        if let [_, ..] = &units.left_stopped[..] {
            let stopped = names(units.left_stopped.iter().map(String::as_str));
            parts.push(format!("the rebuild gave up before it had started {stopped} again"));
        }
        if let [_, ..] = &lines.user_units[..] {
            let failed = names(lines.user_units.iter().map(String::as_str));
            parts.push(format!("units of users failed: {failed}"));
        } else if let [_, ..] = &lines.users[..] {
            let users = names(lines.users.iter().map(String::as_str));
            parts.push(format!("the user units of {users} are not up to date"));
        }
        if let Some(signal) = self.result.signal {
            parts.push(format!("its activation was cut short by signal {signal}"));
        }
        if parts.is_empty()
            && let Some(why) = unknown
        {
            parts.push(format!("systemd does not say which units failed ({why})"));
        }
        // Without a line and without systemd, the exit code is all there is.
        if parts.is_empty() && !units.known && units.recovered.is_empty() {
            match self.result.exit_code {
                SCRIPT_FAILED => parts.push("the activation script failed".to_owned()),
                UNITS_FAILED => parts.push("some units failed".to_owned()),
                _ => {}
            }
        }
        names(parts.iter().map(String::as_str))
    }

    /// The rebuild ended well, and the system that it put into the profile does not run: `systemd-run` ends with 0 if
    /// somebody on the host has stopped its unit.
    fn is_cut_unnoticed(&self, change: &SystemChange) -> bool {
        let lines = &self.watch.lines;
        let is_cut = match Active::of(change, lines) {
            Active::Cut => true,
            Active::No => !lines.stopped.is_empty(),
            Active::New | Active::Again | Active::Probably => false,
        };
        is_cut && change.before.profile != change.after.profile
    }

    /// The activation began, and the old system is still the running one.
    fn cut(&self, change: &SystemChange) -> (Outcome, String) {
        let stopped = match &self.watch.lines.stopped[..] {
            [] => String::new(),
            units => {
                let stopped = names(units.iter().map(String::as_str));
                format!("{stopped} may be stopped")
            }
        };
        let running = change.after.running.as_deref().map(system).unwrap_or_default();
        let still = format!("the activation was cut short; {running} still runs");
        let end = match self.result.outcome {
            Outcome::Ok => format!("{}: the rebuild ended with exit code 0", self.subject()),
            _ => self.result.message.clone(),
        };
        (Outcome::Failed, joined([&*end, &*still, &*stopped]))
    }

    /// The rebuild failed, and nothing was activated.
    fn unchanged(&self, change: &SystemChange) -> (Outcome, String) {
        let (lines, subject) = (&self.watch.lines, self.subject());
        let stays = stays(change);
        if let Some(check) = &lines.check {
            let by = match &*check.name {
                "" => "by a pre-switch check".to_owned(),
                name => format!("by the pre-switch check `{name}`"),
            };
            let said = quoted(&check.lines);
            let said = if said.is_empty() { said } else { format!(": {said}") };
            let next = if check.advises_boot {
                "send `boot` and then `reboot`: the new system cannot replace the running one safely"
            } else {
                "change the configuration so that the check passes, and send the command again"
            };
            let message = format!("{subject}: refused {by}{said}");
            return (Outcome::Refused, joined([&*message, stays, next]));
        }
        if lines.busy {
            let lock = self.settings.system.lock.display();
            let message = format!("{subject}: somebody else is activating a system (lock {lock})");
            return (Outcome::Busy, joined([&*message, stays, "send the command again when that has ended"]));
        }
        let room = lines.no_room();
        let on_boot = room.is_some_and(|found| self.is_on_boot(found));
        // `boot` sets the profile before it installs the boot loader, and does nothing behind that.
        let prepared = self.command == "boot" && change.before.profile != change.after.profile;
        if lines.boot_loader_failed || on_boot || prepared {
            return self.boot_loader(room, change);
        }
        // nix ends with 100, too, when a build failed. A profile that was set shows that all was built.
        let is_set = change.after.profile.is_some() && change.before.profile != change.after.profile;
        let says_so = self.result.exit_code == NEEDS_REBOOT && is_set;
        if lines.needs_reboot || says_so {
            // On trial, it is not in the profile yet.
            let is_staged = change.after.profile.is_none() || change.after.profile != change.after.running;
            let (when, next) = match is_staged {
                true => (", and takes effect at the next boot", "send `reboot`"),
                false => ("", "send `boot` and then `reboot`"),
            };
            let code = self.result.exit_code;
            let message =
                format!("{subject}: the new system cannot replace the running one{when} (exit code {code})");
            return (Outcome::NeedsReboot, joined([&*message, "nothing was activated", next]));
        }
        match room {
            Some(found) => self.no_room(found, stays),
            None => (Outcome::Failed, joined([&*self.result.message, stays])),
        }
    }

    fn is_on_boot(&self, found: &NoRoom) -> bool {
        found.path.as_ref().is_some_and(|path| Path::new(path).starts_with(&self.settings.system.boot))
    }

    /// The boot loader could not be installed.
    fn boot_loader(&self, room: Option<&NoRoom>, change: &SystemChange) -> (Outcome, String) {
        let boot = self.settings.system.boot.display();
        let why = match room {
            Some(found) if self.is_on_boot(found) => format!("no room on {boot}: {}", found.line),
            Some(found) => found.line.clone(),
            None => self.line().to_owned(),
        };
        let why = if why.is_empty() { why } else { format!(" ({why})") };
        let message = format!("{}: the boot loader could not be installed{why}", self.subject());
        let after = &change.after;
        let boots = match (after.running.as_deref(), after.profile.as_deref(), after.boots.as_deref()) {
            (Some(running), profile, Some(boots)) => {
                let named = match profile.filter(|profile| *profile != boots) {
                    Some(profile) => format!(", the profile names {}", system(profile)),
                    None => String::new(),
                };
                let (running, boots) = (system(running), system(boots));
                format!("nothing was activated: {running} runs{named}, and the next boot runs {boots}")
            }
            (Some(running), Some(profile), None) if running != profile => format!(
                "nothing was activated: {} runs, the profile names {}, and the next boot starts what the boot loader \
                 had before, if it is intact",
                system(running),
                system(profile)
            ),
            (Some(running), _, None) => {
                format!(
                    "nothing was activated: {} runs, and should boot if the boot loader is intact",
                    system(running)
                )
            }
            (None, ..) => "nothing was activated".to_owned(),
        };
        let next = if room.is_some() {
            format!(
                "make room on {boot}, for example by deleting old generations, and send the command again before a reboot"
            )
        } else {
            "mend it and send the command again before a reboot".to_owned()
        };
        (Outcome::BootloaderFailed, joined([&*message, &*boots, &*next]))
    }

    /// A file system has no room.
    fn no_room(&self, found: &NoRoom, stays: &str) -> (Outcome, String) {
        let store = |path: &str| path.starts_with("/nix/");
        let (place, next) = match (found.path.as_deref(), &self.settings.repo.dir) {
            (Some(path), _) if store(path) => (
                "on /nix".to_owned(),
                "make room, for example with `nix-collect-garbage`, and send the command again",
            ),
            (Some(path), _) => {
                (format!("for {path}"), "make room on its file system, and send the command again")
            }
            (None, Some(repo)) if !self.watch.in_rebuild => (
                format!("for {}", repo.display()),
                "make room on its file system, and send the command again",
            ),
            (None, _) => (
                "on a file system that the output does not name".to_owned(),
                "look at `df -h /nix /tmp /var`, make room, and send the command again",
            ),
        };
        let message = format!("{}: no room {place}{}: {}", self.subject(), self.end(), found.line);
        (Outcome::NoSpace, joined([&*message, stays, next]))
    }
}

/// What a command that was ended left behind.
fn cut_short(active: Active) -> &'static str {
    match active {
        Active::New => "the new system runs, but its activation may be incomplete",
        Active::Again | Active::Cut | Active::Probably => "the activation may be incomplete",
        Active::No => "",
    }
}

/// What a rebuild that activated nothing left behind.
fn stays(change: &SystemChange) -> &'static str {
    let SystemChange { before, after, .. } = change;
    let same_profile = before.profile == after.profile;
    match (&before.running, same_profile) {
        (Some(_), true) if before.profile.is_some() => "nothing was changed",
        // The profile is set before the checks.
        (Some(_), false) if after.profile.is_some() => {
            "nothing was activated, and the profile names the new system"
        }
        _ => "nothing was activated",
    }
}

/// A new system runs until the next boot only.
fn other_profile(change: &SystemChange) -> String {
    let SystemChange { before, after, .. } = change;
    match (&after.running, &after.profile) {
        (Some(running), Some(profile)) if running != profile && before.profile == after.profile => {
            format!("the profile still names {}, which the next boot starts", system(profile))
        }
        _ => String::new(),
    }
}
