//! How far the command of a job has got, by the entries that were taken from its log.

use nixfleet_jobs::journal::Entry;
use nixfleet_jobs::progress::{Part, TestsPart};

/// The parts of a command, in the order in which they run.
const PARTS: [&str; 4] = ["pull", "lock", "system", "tests"];

/// What the newest progress says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Complete steps, and all steps, of each part that was reported.
    steps: [Option<(u32, u32)>; PARTS.len()],
    detail: Option<String>,
}

impl Seen {
    /// These entries were taken. After a lost connection they may be older than others before them.
    pub(super) fn note(&mut self, entries: &[Entry]) {
        if let Some(newest) = entries.iter().rev().find(|entry| !entry.is_text()) {
            self.detail = how_far(newest);
        }
        for reported in entries.iter().filter_map(|entry| entry.operation.as_deref()) {
            let parts = &reported.progress;
            let steps = |part: &Part| (part.current, part.total);
            let tests = |part: &TestsPart| (part.current, part.total);
            let now = [
                parts.pull.as_ref().map(steps),
                parts.lock.as_ref().map(steps),
                parts.system.as_ref().map(steps),
                parts.tests.as_ref().map(tests),
            ];
            for (known, now) in self.steps.iter_mut().zip(now) {
                *known = now.or(*known);
            }
        }
    }

    /// Name, complete steps and all steps of each part that was reported.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&'static str, u32, u32)> + use<> {
        PARTS.into_iter().zip(self.steps).filter_map(|(part, steps)| steps.map(|(done, of)| (part, done, of)))
    }

    /// How far the part is that runs, for people; none if it does not say.
    pub(super) fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }
}

/// How far the command is, as that entry says.
fn how_far(progress: &Entry) -> Option<String> {
    match (&progress.test, &progress.operation) {
        (Some(test), _) => test.how_far(),
        (None, Some(operation)) => operation.progress.how_far(),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use nixfleet_jobs::journal::Source;
    use nixfleet_jobs::progress::{OperationProgress, PartState, Parts};

    use super::*;

    #[test]
    fn a_part_that_is_not_mentioned_keeps_its_steps() {
        let entry = |pull: Option<u32>, system: Option<u32>| {
            let part = |name: &str, current: u32, total: u32| Part {
                current,
                total,
                status: PartState::InProgress,
                phase: String::new(),
                detail: format!("{name} {current}"),
            };
            let pull = pull.map(|current| part("pull", current, 4));
            let system = system.map(|current| part("system", current, 3));
            let progress = Parts { pull, system, ..Parts::default() };
            let operation = Some(Box::new(OperationProgress { progress }));
            Entry { operation, ..Entry::new(1, String::new(), Source::System, String::new()) }
        };
        let mut seen = Seen::default();
        assert_eq!(seen.parts().count(), 0);
        seen.note(&[entry(Some(0), Some(0)), entry(Some(4), None)]);
        seen.note(&[Entry::new(3, String::new(), Source::Stdout, "a line".to_owned()), entry(None, Some(1))]);
        assert_eq!(seen.parts().collect::<Vec<_>>(), [("pull", 4, 4), ("system", 1, 3)]);
        assert_eq!(seen.detail(), Some("system 1"), "a line of text says nothing about it");
    }
}
