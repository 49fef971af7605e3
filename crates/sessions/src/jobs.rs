//! Which lines and ends of jobs have been seen, so that repeats are not counted twice.
//!
//! An agent delivers at least once: after a reconnect it repeats what may have been lost.

use std::collections::VecDeque;

/// Jobs remembered for each host. Repeats come with the next reconnect, so a few would be enough.
const REMEMBERED: usize = 64;

#[derive(Debug)]
struct Job {
    id: String,
    /// Highest `seq` seen. Lines of a job arrive in order, so everything up to it is a repeat.
    last_seq: u64,
    ended: bool,
}

/// The newest jobs of one host.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    newest_first: VecDeque<Job>,
    /// Count of lines and ends that had been seen before.
    pub(super) repeats: u64,
    /// Count of lines seen for the first time.
    pub(super) lines: u64,
}

impl Jobs {
    /// Whether this line is new. A line without job and `seq`, from an older agent, is always new.
    pub(super) fn is_new_line(&mut self, job: Option<&str>, seq: Option<u64>) -> bool {
        let new = match (job, seq) {
            (Some(job), Some(seq)) => {
                let job = self.entry(job);
                let new = seq > job.last_seq;
                job.last_seq = job.last_seq.max(seq);
                new
            }
            _ => true,
        };
        if new {
            self.lines += 1;
        } else {
            self.repeats += 1;
        }
        new
    }

    /// Whether this job had not ended before.
    pub(super) fn is_new_end(&mut self, job: Option<&str>) -> bool {
        let Some(job) = job else { return true };
        let new = !std::mem::replace(&mut self.entry(job).ended, true);
        self.repeats += u64::from(!new);
        new
    }

    /// Whether the job is known.
    pub(super) fn knows(&self, job: &str) -> bool {
        self.newest_first.iter().any(|known| known.id == job)
    }

    fn entry(&mut self, id: &str) -> &mut Job {
        let at = match self.newest_first.iter().position(|job| job.id == id) {
            Some(at) => at,
            None => {
                self.newest_first.truncate(REMEMBERED - 1);
                self.newest_first.push_front(Job { id: id.to_owned(), last_seq: 0, ended: false });
                0
            }
        };
        &mut self.newest_first[at]
    }
}
