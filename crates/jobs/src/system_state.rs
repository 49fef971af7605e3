//! What the machine runs, and what a command that replaces its system has changed.

use std::path::{Path, PathBuf};

use nixfleet_os::failed_units;
use nixfleet_os::subprocess::ProgramError;
use serde::{Deserialize, Serialize};

use crate::boot_entry;
use crate::outcome::Outcome;
use crate::settings::SystemPaths;

/// Most names of units kept in a list. A host on which more failed needs attention in any case.
pub const MAX_UNITS: usize = 64;

/// What the machine runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SystemState {
    /// Target of `/run/current-system`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<PathBuf>,
    /// The system of the profile `/nix/var/nix/profiles/system`, from which the boot loader's entries are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<PathBuf>,
    /// What the next boot runs, as the boot loader's files say. None if that is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boots: Option<PathBuf>,
    /// Units in systemd's state "failed", in alphabetical order, all of them. None if they are unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_units: Option<Vec<String>>,
}

impl SystemState {
    /// Looks at the links. No program is started, and the failed units are unknown.
    pub fn of_links(paths: &SystemPaths) -> Self {
        let running = std::fs::read_link(&paths.running).ok();
        // It is a link to a link of the generation.
        let profile = std::fs::canonicalize(&paths.profile).ok();
        Self { running, profile, boots: boot_entry::read(paths).ok(), failed_units: None }
    }

    /// Looks at the machine. Asks systemd for the failed units, by the program `systemctl`; also returns why it did
    /// not say them. Without systemd, they are unknown without an error.
    pub fn look(paths: &SystemPaths, systemctl: &Path) -> (Self, Option<ProgramError>) {
        let links = Self::of_links(paths);
        match failed_units::read(&paths.systemd, systemctl) {
            Ok(failed_units) => (Self { failed_units, ..links }, None),
            Err(err) => (links, Some(err)),
        }
    }
}

/// The machine before and after a command that replaces its system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SystemChange {
    /// Before the command.
    pub before: SystemState,
    /// Behind it.
    pub after: SystemState,
    /// Units that failed by the end of the command, and had not before; at most [`MAX_UNITS`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub newly_failed: Vec<String>,
    /// Of those that the command named as failed, the units that were no longer when they were looked at again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recovered: Vec<String>,
}

impl SystemChange {
    /// The system that a command with this outcome has put into the profile without activating it. A profile that had
    /// it before may have it from somebody else, unless the command was to put it there and succeeded, or says that
    /// it takes effect at the next boot.
    pub fn staged(&self, outcome: Outcome) -> Option<&Path> {
        let profile = self.after.profile.as_deref()?;
        let says_so = matches!(outcome, Outcome::Ok | Outcome::NeedsReboot);
        let is_ours = says_so || self.before.profile.as_deref() != Some(profile);
        (is_ours && self.after.running.as_deref() != Some(profile)).then_some(profile)
    }
}
