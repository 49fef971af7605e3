//! Orders to end the running command, and which of them nothing has answered.

use tokio::time::Instant;

use nixfleet_jobs::{JobId, Urgency};

use super::job::Phase;
use super::{JobTable, Stage, Unanswered};

impl JobTable {
    /// Orders the end of the current command, because the command `asked`, such as `stop`, was sent. If its
    /// status was not sent at `until`, [`Self::unanswered`] tells. Returns false if no command runs.
    pub fn end(&mut self, urgency: Urgency, asked: &str, until: Instant) -> bool {
        let Some(id) = self.current_record().map(|record| record.id.clone()) else { return false };
        let Some(job) = self.jobs.iter_mut().find(|job| job.record.id == id) else { return false };
        job.stops.add(urgency, asked, until);
        if matches!(job.phase, Phase::Following(_)) {
            job.span.in_scope(|| self.executor.end(&job.record.instance(), urgency, asked));
        }
        true
    }

    /// A request to end a job was answered.
    pub fn stop_answered(&mut self, id: &JobId, asked: &str) {
        if let Some(job) = self.find(id) {
            job.stops.answered(asked);
        }
    }

    /// When to call [`Self::unanswered`].
    pub fn unanswered_at(&self) -> Option<Instant> {
        self.jobs.iter().filter(|job| !job.finished).filter_map(|job| job.stops.due()).min()
    }

    /// Takes the requests to end a command that nothing has answered in time.
    pub fn unanswered(&mut self, now: Instant) -> Vec<Unanswered> {
        let mut due = Vec::new();
        for job in self.jobs.iter_mut().filter(|job| !job.finished) {
            let stage = match &job.phase {
                _ if !job.runs() => Stage::Ended,
                Phase::Launching => Stage::Launching,
                Phase::Following(_) | Phase::Failed(_) | Phase::Decided => Stage::Running,
            };
            let asked = job.stops.take_due(now);
            due.extend(asked.map(|asked| Unanswered { asked, command: job.record.command.clone(), stage }));
        }
        due
    }
}
