//! Progress of commands, in messages from the agent.

use serde::{Deserialize, Serialize};

/// Progress of the `test` command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TestProgress {
    /// Number of the running script, from 1; the number of the last script at the end.
    pub current: u32,
    /// Count of scripts.
    pub total: u32,
    /// Count of scripts that have passed so far.
    pub passed: u32,
    /// False once the last script has ended.
    pub running: bool,
    /// Summary such as `4/5 passed`, at the end only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

/// Progress of the parts of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OperationProgress {
    /// The parts that changed. An absent part is unchanged.
    pub progress: Parts,
}

/// The parts of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Parts {
    /// The checkout, in four steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull: Option<Part>,
    /// flake.lock, in one step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<Part>,
    /// The system, in three steps: evaluate, build, activate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<Part>,
    /// The test scripts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tests: Option<TestsPart>,
}

impl Parts {
    /// Replaces each part that `newer` has, and keeps the others.
    pub fn merge(&mut self, newer: &Self) {
        let Self { pull, lock, system, tests } = newer.clone();
        self.pull = pull.or(self.pull.take());
        self.lock = lock.or(self.lock.take());
        self.system = system.or(self.system.take());
        self.tests = tests.or(self.tests.take());
    }
}

/// Progress of one part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Part {
    /// Count of completed steps.
    pub current: u32,
    /// Count of steps.
    pub total: u32,
    /// The state in one word.
    pub status: PartState,
    /// The current activity, such as `build` (additive).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// Details of the current activity, such as `3/41 derivations` (additive).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// The state of a part, in one word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    /// Not started.
    #[default]
    Pending,
    /// Running.
    InProgress,
    /// Completed.
    Complete,
    /// Failed or stopped.
    Error,
}

/// Progress of the test scripts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TestsPart {
    /// Count of scripts that have ended.
    pub current: u32,
    /// Count of scripts.
    pub total: u32,
    /// One result for each of the first 8 scripts.
    pub results: Vec<TestResult>,
    /// The state in one word.
    pub status: PartState,
}

/// The result of a test script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TestResult {
    /// It ended with exit code 0.
    Pass,
    /// It ended with another exit code, or by a signal.
    Fail,
    /// It has not ended yet.
    Pending,
}
