//! What the machine runs, and what a command that replaces its system has changed.

use std::path::{Path, PathBuf};

use nixfleet_os::failed_units;
use serde::{Deserialize, Serialize};

use crate::boot_entry;
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
    /// Looks at the machine.
    pub fn read(paths: &SystemPaths) -> Self {
        let failed_units = failed_units::read(&paths.systemd, Path::new("systemctl")).ok().flatten();
        Self { failed_units, ..Self::without_units(paths) }
    }

    /// Looks at the machine, but does not ask for its units.
    pub fn without_units(paths: &SystemPaths) -> Self {
        Self {
            running: std::fs::read_link(&paths.running).ok(),
            // It is a link to a link of the generation.
            profile: std::fs::canonicalize(&paths.profile).ok(),
            boots: boot_entry::read(paths).ok(),
            failed_units: None,
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
