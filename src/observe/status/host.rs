//! What a report says about the host's software.

use serde::{Deserialize, Serialize};

use nixfleet_protocol::{HostSystem, UpdateState, UpdateStatus, Verdict};

use crate::facts::{self, Facts};

/// The host's software, as the next heartbeat would tell of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostReport {
    /// The commit that is reported as the generation; may be empty.
    pub generation: String,
    /// Version of nixpkgs, or `unknown`.
    pub nixpkgs_version: String,
    /// Commit that the running agent was built from, or `unknown`.
    pub source_commit: String,
    /// How up to date the host is.
    pub lights: Lights,
    /// The running, the booted and the next system, and the commit of the checkout.
    pub system: HostSystem,
    /// Another system than the running one and the booted one waits for the next boot.
    pub waits_for_boot: bool,
}

/// How up to date the parts of the host are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lights {
    /// The checkout. The agent has no opinion: only the dashboard knows the remote.
    pub git: Light,
    /// flake.lock.
    pub lock: Light,
    /// The running system.
    pub system: Light,
    /// The tests.
    pub tests: Light,
}

/// How up to date one part is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Light {
    /// One of [`LIGHTS`]; empty without an opinion.
    pub status: String,
    /// Why; may be empty.
    pub message: String,
    /// When it was examined, RFC 3339; empty when it was not.
    pub checked_at: String,
}

impl HostReport {
    /// Of these facts, with the lights of a heartbeat.
    pub fn new(facts: &Facts, lights: UpdateStatus) -> Self {
        let UpdateStatus { git, lock, system, tests } = lights;
        Self {
            generation: facts.generation.clone(),
            nixpkgs_version: facts.nixpkgs_version.clone(),
            source_commit: facts.source_commit.clone(),
            lights: Lights { git: git.into(), lock: lock.into(), system: system.into(), tests: tests.into() },
            system: facts.system.clone(),
            waits_for_boot: facts.waits_for_boot,
        }
    }

    /// Sets whether the host needs a reboot, as far as that was measured.
    pub fn measured(&mut self, measured: Option<bool>) {
        self.system.reboot_required = facts::reboot_required(self.waits_for_boot, measured);
    }
}

/// Every light that a part can have.
pub const LIGHTS: [&str; 5] = ["ok", "outdated", "error", "unknown", "working"];

impl From<Verdict> for Light {
    fn from(Verdict { status, message, checked_at }: Verdict) -> Self {
        let status = match status {
            UpdateState::None => "",
            UpdateState::Ok => "ok",
            UpdateState::Outdated => "outdated",
            UpdateState::Error => "error",
            UpdateState::Unknown => "unknown",
            UpdateState::Working => "working",
        };
        Self { status: status.to_owned(), message, checked_at }
    }
}
