//! What the command of a job does, and since when it has said nothing.
//!
//! Both come from the folder of the job and not from the items: the session may be behind with those, or there is no
//! connection and nobody takes them.

use std::time::SystemTime;

use jiff::Timestamp;

use nixfleet_jobs::spec::State;
use nixfleet_jobs::{JobDir, journal};

/// What a running command does, by the clock of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// The phase of a rebuild, or else the step.
    pub phase: String,
    /// When that began.
    pub phase_since: Option<SystemTime>,
    /// When its last line or its last progress was logged.
    pub last_output: Option<SystemTime>,
}

impl Activity {
    /// What the folder of a job says. None before the first step, and of the supervisor of an earlier version.
    pub(super) fn read(dir: &JobDir, state: &State) -> Option<Self> {
        let (phase, since) = state.activity()?;
        Some(Self {
            phase: phase.to_owned(),
            phase_since: since.parse::<Timestamp>().ok().map(SystemTime::from),
            last_output: journal::last_written(dir).ok(),
        })
    }
}
