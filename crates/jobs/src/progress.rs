//! The progress of a command, as it is written to the job's log. These types define a format on disk.

use serde::{Deserialize, Serialize};

/// Most test scripts whose results go into [`TestsPart::results`].
pub const MAX_TEST_RESULTS: usize = 8;

/// Progress of the `test` command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestProgress {
    /// Number of the running script, from 1; at the end that of the last script.
    pub current: u32,
    /// Number of scripts.
    pub total: u32,
    /// Scripts that have passed so far.
    pub passed: u32,
    /// False once the last script has ended.
    pub running: bool,
    /// Summary, only at the end, such as `4/5 passed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

/// Progress of the parts of a command. An absent part has not changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationProgress {
    /// The parts that changed.
    pub progress: Parts,
}

/// The parts of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Parts {
    /// Pull of the checkout: four steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull: Option<Part>,
    /// Update of flake.lock: one step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<Part>,
    /// Rebuild of the system, three steps: evaluate, build, activate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<Part>,
    /// The test scripts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tests: Option<TestsPart>,
}

/// Progress of one part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Number of steps that are complete.
    pub current: u32,
    /// Number of steps.
    pub total: u32,
    /// State of the part.
    pub status: PartState,
    /// Current phase, such as `build`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// Detail of the phase, such as `3/41 derivations`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// State of a part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    /// Not started.
    #[default]
    Pending,
    /// Running.
    InProgress,
    /// Completed.
    Complete,
    /// Failed, or stopped.
    Error,
}

/// Progress of the test scripts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestsPart {
    /// Number of scripts that have ended.
    pub current: u32,
    /// Number of scripts.
    pub total: u32,
    /// Results of the first [`MAX_TEST_RESULTS`] scripts, in order.
    pub results: Vec<TestResult>,
    /// State of the part.
    pub status: PartState,
}

/// Result of a test script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestResult {
    /// It ended with exit code 0.
    Pass,
    /// It ended with another exit code or by a signal.
    Fail,
    /// It has not ended.
    Pending,
}
