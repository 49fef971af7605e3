//! The progress of a command, as a message.

use std::time::SystemTime;

use nixfleet_jobs::{lines, progress};
use nixfleet_protocol::{
    CommandActivity, MAX_LINE_BYTES, MAX_TEST_RESULTS, OperationProgress, Part, PartState, Parts,
    TestProgress, TestResult, TestsPart,
};

use crate::jobs::follower::Activity;

// Lines and test results of a job fit into a message without being cut.
const _: () = assert!(lines::MAX_LINE_BYTES <= MAX_LINE_BYTES);
const _: () = assert!(progress::MAX_TEST_RESULTS <= MAX_TEST_RESULTS);

/// What the running command does, in a heartbeat that is made at `now`.
pub fn activity(seen: Activity, now: SystemTime) -> CommandActivity {
    // A time in the future is that of a clock that was set back.
    let age = |at: SystemTime| now.duration_since(at).unwrap_or_default().as_secs();
    CommandActivity {
        phase: seen.phase,
        phase_age_s: seen.phase_since.map(age),
        silent_s: seen.last_output.map(age),
    }
}

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ages_are_whole_seconds_and_a_clock_that_was_set_back_makes_none() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        let seen = Activity {
            phase: "build".to_owned(),
            phase_since: Some(now - Duration::from_millis(720_900)),
            last_output: Some(now + Duration::from_secs(3600)),
        };
        let told = activity(seen.clone(), now);
        assert_eq!(
            told,
            CommandActivity { phase: "build".to_owned(), phase_age_s: Some(720), silent_s: Some(0) }
        );
        let unknown = activity(Activity { phase_since: None, last_output: None, ..seen }, now);
        assert_eq!((unknown.phase_age_s, unknown.silent_s), (None, None));
    }
}
