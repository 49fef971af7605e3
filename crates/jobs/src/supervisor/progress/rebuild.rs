//! A running rebuild: its phases, and how often they are reported.

use std::time::Instant;

use super::POLL_INTERVAL;
use super::phases::{Phase, Phases};
use super::throttle::Throttle;
use crate::progress::{Part, PartState};
use crate::spec::Step;

/// Reported steps of the part `system`: its phases.
pub(super) const SYSTEM_STEPS: u32 = Phase::ALL.len() as u32;

/// Options of nix that show build logs live.
const LIVE_LOGS: &[&str] = &["-L", "--print-build-logs"];

/// Progress of a running rebuild.
pub(super) struct Rebuild {
    pub(super) phases: Phases,
    pub(super) throttle: Throttle,
    /// When to look for an activation that writes nothing.
    pub(super) poll_at: Instant,
}

impl Rebuild {
    /// A step begins that rebuilds the system. Its first state is to be reported.
    pub(super) fn begin(step: &Step, now: Instant) -> Self {
        let live = step.argv.iter().any(|arg| LIVE_LOGS.contains(&arg.as_str()));
        let (phases, throttle) = (Phases::new(live), Throttle::default());
        let mut rebuild = Self { phases, throttle, poll_at: now + POLL_INTERVAL };
        let part = rebuild.part();
        rebuild.throttle.update(part, now);
        rebuild
    }

    /// The progress to report.
    pub(super) fn part(&self) -> Part {
        let phase = self.phases.phase();
        Part {
            current: phase.before(),
            total: SYSTEM_STEPS,
            status: PartState::InProgress,
            phase: phase.name().to_owned(),
            detail: self.phases.detail(),
        }
    }

    /// Whether to look for an activation.
    pub(super) fn polls(&self) -> bool {
        self.phases.phase() < Phase::Activate
    }
}
