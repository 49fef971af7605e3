//! How a job ended, in one word.

use serde::{Deserialize, Serialize};

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every step ended with exit code 0.
    Ok,
    /// The new system is active, but some of its units or activation scripts failed.
    ActivatedWithFailures,
    /// The new system is active and its units run, although the program that activated it failed.
    ActivatedDespiteError,
    /// The new system cannot replace the running one. It was not activated, and takes effect at the next boot.
    NeedsReboot,
    /// The new system was refused by one of its checks, before anything was changed.
    Refused,
    /// Somebody else is activating a system. Nothing was changed.
    Busy,
    /// There was no room on a file system that the command needs.
    NoSpace,
    /// The boot loader could not be installed. The machine may boot another system than the one that runs.
    BootloaderFailed,
    /// The new system was active, was not confirmed, and the one before it was activated again.
    RolledBack,
    /// Stopped on request.
    Stopped,
    /// Stopped because it ran longer than its timeout.
    TimedOut,
    /// No program could be run.
    NotStarted,
    /// The supervisor vanished without a result.
    Lost,
    /// The machine went down while the command ran.
    InterruptedByReboot,
    /// A step ended with another exit code or by a signal that was not requested. Also the fallback for an
    /// outcome that this version does not know; exit code and message are then those of the newer version.
    #[serde(other)]
    Failed,
}

impl Outcome {
    /// All outcomes, in the order in which they are documented.
    pub const ALL: [Self; 15] = [
        Self::Ok,
        Self::Failed,
        Self::ActivatedWithFailures,
        Self::ActivatedDespiteError,
        Self::NeedsReboot,
        Self::Refused,
        Self::Busy,
        Self::NoSpace,
        Self::BootloaderFailed,
        Self::RolledBack,
        Self::Stopped,
        Self::TimedOut,
        Self::NotStarted,
        Self::Lost,
        Self::InterruptedByReboot,
    ];

    /// The name in files, messages and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::ActivatedWithFailures => "activated_with_failures",
            Self::ActivatedDespiteError => "activated_despite_error",
            Self::NeedsReboot => "needs_reboot",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::NoSpace => "no_space",
            Self::BootloaderFailed => "bootloader_failed",
            Self::RolledBack => "rolled_back",
            Self::Stopped => "stopped",
            Self::TimedOut => "timed_out",
            Self::NotStarted => "not_started",
            Self::Lost => "lost",
            Self::InterruptedByReboot => "interrupted_by_reboot",
        }
    }

    /// Whether a command that replaces the system left the new one running.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Ok | Self::ActivatedWithFailures | Self::ActivatedDespiteError)
    }
}
