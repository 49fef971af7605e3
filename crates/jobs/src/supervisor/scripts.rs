//! Progress of the `test` command.

use crate::progress::TestProgress;

/// Counts the scripts of the `test` command that passed.
pub(super) struct Tests {
    pub(super) passed: u32,
    pub(super) total: u32,
}

impl Tests {
    pub(super) fn before(&self, index: usize) -> TestProgress {
        TestProgress {
            current: u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1),
            total: self.total,
            passed: self.passed,
            running: true,
            result: None,
        }
    }

    pub(super) fn after(&self, index: usize) -> TestProgress {
        let progress = self.before(index);
        if progress.current < self.total {
            return progress;
        }
        TestProgress { running: false, result: Some(self.summary()), ..progress }
    }

    fn summary(&self) -> String {
        format!("{}/{} passed", self.passed, self.total)
    }

    pub(super) fn message(&self) -> String {
        if self.total == 0 { "Test: no tests".to_owned() } else { format!("Test: {}", self.summary()) }
    }
}
