//! Which lines and ends of one host's jobs are new.

use std::collections::BTreeMap;

/// Jobs that are remembered. Repeats come when a host connects again, and are of the newest jobs.
const REMEMBERED: usize = 64;

/// What was seen of a job.
#[derive(Debug, Default)]
struct Job {
    last_seq: u64,
    ended: bool,
}

/// The newest jobs of a host. Ids of later jobs sort behind earlier ones.
#[derive(Debug, Default)]
pub(crate) struct Seen(BTreeMap<String, Job>);

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// It has come before.
    Repeat,
    /// The next one.
    Next,
    /// These numbers before it have not come: the first and the last one.
    Behind(u64, u64),
}

impl Seen {
    /// The line of this number.
    pub(crate) fn line(&mut self, job: &str, seq: u64) -> Line {
        let Some(job) = self.job(job) else { return Line::Repeat };
        if seq <= job.last_seq {
            return Line::Repeat;
        }
        let expected = job.last_seq + 1;
        job.last_seq = seq;
        if seq == expected { Line::Next } else { Line::Behind(expected, seq - 1) }
    }

    /// Whether an end is new. One without a job always is.
    pub(crate) fn is_new_end(&mut self, job: Option<&str>) -> bool {
        let Some(job) = job else { return true };
        self.job(job).is_some_and(|job| !std::mem::replace(&mut job.ended, true))
    }

    /// Whether this job is new.
    pub(crate) fn is_new_job(&self, job: &str) -> bool {
        !self.0.contains_key(job)
    }

    /// The number of the last line of a job that has come.
    pub(crate) fn last_line(&self, job: &str) -> u64 {
        self.0.get(job).map_or(0, |job| job.last_seq)
    }

    /// None for a job that is older than all that are remembered.
    fn job(&mut self, id: &str) -> Option<&mut Job> {
        if !self.0.contains_key(id) {
            if self.0.len() == REMEMBERED {
                if self.0.first_key_value().is_some_and(|(oldest, _)| id < oldest.as_str()) {
                    return None;
                }
                self.0.pop_first();
            }
            self.0.insert(id.to_owned(), Job::default());
        }
        self.0.get_mut(id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn repeats_and_gaps_are_found() {
        let mut seen = Seen::default();
        assert_eq!(seen.line("a", 1), Line::Next);
        assert_eq!(seen.line("a", 1), Line::Repeat);
        assert_eq!(seen.line("a", 5), Line::Behind(2, 4));
        assert_eq!(seen.line("a", 3), Line::Repeat);
        assert_eq!(seen.line("b", 1), Line::Next);
        assert_eq!(seen.last_line("a"), 5);
        assert!(seen.is_new_end(Some("a")) && !seen.is_new_end(Some("a")));
        assert!(seen.is_new_end(None) && seen.is_new_end(None));
        assert!(seen.is_new_job("c") && !seen.is_new_job("b"));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_forgotten_is_no_news() {
        let mut seen = Seen::default();
        for job in 0..1000 {
            assert_eq!(seen.line(&format!("{job:04}"), 1), Line::Next);
        }
        assert_eq!(seen.0.len(), REMEMBERED);
        assert_eq!(seen.line("0001", 1), Line::Repeat);
        assert!(!seen.is_new_end(Some("0001")));
    }

    proptest! {
        #[test]
        fn however_lines_are_repeated_each_is_new_once(cuts in proptest::collection::vec((0..20u64, 1..8u64), 0..30)) {
            let mut seen = Seen::default();
            let mut shown = Vec::new();
            let mut last = 0;
            for (back, count) in cuts {
                // A connection begins again at most where the last one was.
                let first = last + 1 - back.min(last);
                for seq in first..first + count {
                    if seen.line("job", seq) != Line::Repeat {
                        shown.push(seq);
                    }
                }
                last = last.max(first + count - 1);
            }
            prop_assert_eq!(shown, (1..=last).collect::<Vec<_>>());
        }
    }
}
