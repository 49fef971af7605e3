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

impl TestProgress {
    /// How far it is, for people; none at the end.
    pub fn how_far(&self) -> Option<String> {
        self.running.then(|| format!("test {} of {}", self.current, self.total))
    }
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

impl Parts {
    /// How far the part is that runs, for people, such as `3/41 derivations`; none if it does not say.
    pub fn how_far(&self) -> Option<String> {
        let parts = [&self.pull, &self.lock, &self.system].into_iter().flatten();
        let running = parts.rev().find(|part| part.status == PartState::InProgress);
        let tests = self.tests.as_ref().filter(|tests| tests.status == PartState::InProgress);
        match (tests, running) {
            (Some(tests), _) => Some(format!("{} of {} tests", tests.current, tests.total)),
            (None, Some(part)) => Some(part.detail.clone()).filter(|detail| !detail.is_empty()),
            (None, None) => None,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_a_command_is_follows_from_the_part_that_runs() {
        let part = |status, detail: &str| {
            Some(Part { current: 1, total: 3, status, phase: "build".to_owned(), detail: detail.to_owned() })
        };
        let (runs, over) = (PartState::InProgress, PartState::Complete);
        let tests = |status| Some(TestsPart { current: 1, total: 5, results: Vec::new(), status });
        for (parts, wanted) in [
            (Parts::default(), None),
            (Parts { pull: part(runs, "45%"), ..Parts::default() }, Some("45%")),
            (Parts { pull: part(over, "45%"), system: part(runs, "3/41"), ..Parts::default() }, Some("3/41")),
            (Parts { system: part(runs, ""), ..Parts::default() }, None),
            (Parts { system: part(over, "41/41"), ..Parts::default() }, None),
            (Parts { tests: tests(runs), ..Parts::default() }, Some("1 of 5 tests")),
            (Parts { tests: tests(over), ..Parts::default() }, None),
        ] {
            assert_eq!(parts.how_far().as_deref(), wanted, "{parts:?}");
        }
        let test = |running| TestProgress { current: 2, total: 5, passed: 1, running, result: None };
        assert_eq!((test(true).how_far().as_deref(), test(false).how_far()), (Some("test 2 of 5"), None));
    }
}
