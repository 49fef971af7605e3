//! The progress of a command, as a message.

use nixfleet_jobs::{lines, progress};
use nixfleet_protocol::{
    MAX_LINE_BYTES, MAX_TEST_RESULTS, OperationProgress, Part, PartState, Parts, TestProgress, TestResult,
    TestsPart,
};

// Lines and test results of a job fit into a message without being cut.
const _: () = assert!(lines::MAX_LINE_BYTES <= MAX_LINE_BYTES);
const _: () = assert!(progress::MAX_TEST_RESULTS <= MAX_TEST_RESULTS);

/// The message for the progress of the `test` command.
pub fn test(seen: progress::TestProgress) -> TestProgress {
    let progress::TestProgress { current, total, passed, running, result } = seen;
    TestProgress { current, total, passed, running, result }
}

/// The message for the progress of a command's parts.
pub fn operation(seen: progress::OperationProgress) -> OperationProgress {
    let progress::Parts { pull, lock, system, tests } = seen.progress;
    OperationProgress {
        progress: Parts {
            pull: pull.map(part),
            lock: lock.map(part),
            system: system.map(part),
            tests: tests.map(|tests| TestsPart {
                current: tests.current,
                total: tests.total,
                results: tests.results.into_iter().map(result).collect(),
                status: state(tests.status),
            }),
        },
    }
}

fn part(seen: progress::Part) -> Part {
    let progress::Part { current, total, status, phase, detail } = seen;
    Part { current, total, status: state(status), phase, detail }
}

fn state(seen: progress::PartState) -> PartState {
    match seen {
        progress::PartState::Pending => PartState::Pending,
        progress::PartState::InProgress => PartState::InProgress,
        progress::PartState::Complete => PartState::Complete,
        progress::PartState::Error => PartState::Error,
    }
}

fn result(seen: progress::TestResult) -> TestResult {
    match seen {
        progress::TestResult::Pass => TestResult::Pass,
        progress::TestResult::Fail => TestResult::Fail,
        progress::TestResult::Pending => TestResult::Pending,
    }
}
