//! How far a command is, as its log has it. These types are a format on disk; the agent turns them into
//! messages.

use serde::{Deserialize, Serialize};

/// Test scripts whose results go into [`TestsPart::results`].
pub const MAX_TEST_RESULTS: usize = 8;

/// How far the `test` command is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestProgress {
    /// Number of the script that runs, from 1; that of the last one at the end.
    pub current: u32,
    /// Scripts in all.
    pub total: u32,
    /// Scripts that have passed so far.
    pub passed: u32,
    /// False once the last script has ended.
    pub running: bool,
    /// At the end, such as `4/5 passed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

/// How far the parts of a command are. A part that is absent is as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationProgress {
    /// By part.
    pub progress: Parts,
}

/// The parts of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Parts {
    /// The checkout: four steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull: Option<Part>,
    /// flake.lock: one step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<Part>,
    /// The system: evaluate, build, activate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<Part>,
    /// The test scripts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tests: Option<TestsPart>,
}

/// How far one part is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Steps that are done.
    pub current: u32,
    /// Steps in all.
    pub total: u32,
    /// In one word.
    pub status: PartState,
    /// What is being done, such as `build`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// More about it, such as `3/41 derivations`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// How far a part is, in one word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    /// Not begun.
    #[default]
    Pending,
    /// At it.
    InProgress,
    /// Done.
    Complete,
    /// Failed, or stopped.
    Error,
}

/// How far the test scripts are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestsPart {
    /// Scripts that have ended.
    pub current: u32,
    /// Scripts in all.
    pub total: u32,
    /// Of each script, the first [`MAX_TEST_RESULTS`] of them.
    pub results: Vec<TestResult>,
    /// In one word.
    pub status: PartState,
}

/// How a test script ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestResult {
    /// With exit code 0.
    Pass,
    /// With another one, or by a signal.
    Fail,
    /// Not yet.
    Pending,
}
