//! Requests by the id that the dashboard gave them: what was answered, and what has the same id.

use nixfleet_jobs::JobId;
use nixfleet_jobs::record::Record;
use nixfleet_os::planted;
use nixfleet_protocol::{CommandRequest, Status, StatusKind};
use tokio::time::Instant;

use super::job::Phase;
use super::{JobTable, UNREAD_LIMIT, Unread};
use crate::jobs::answered::Answered;

impl JobTable {
    /// Answers of an earlier agent, which could be read only now.
    pub fn found_answers(&mut self, older: Answered) {
        self.answered.add_older(older);
        if let Some(unread) = &mut self.unread {
            unread.answers = false;
            for job in std::mem::take(&mut unread.delivered) {
                self.answered.delivered(&job);
            }
        }
        self.repair();
        self.executor.keep_answered(self.answered.file());
    }

    /// Files of an earlier agent could not be read, perhaps that of the answers: until they are, or `UNREAD_LIMIT` is
    /// over, no request is accepted that may be one of its.
    pub fn wait_for_unread(&mut self, now: Instant, answers: bool) {
        self.unread = Some(Unread { until: now + UNREAD_LIMIT, answers, delivered: Vec::new() });
    }

    /// Everything of an earlier agent was read.
    pub fn found_all(&mut self) {
        self.unread = None;
    }

    /// Whether a request may be one that an earlier agent has accepted and whose job is not known yet.
    pub fn is_unread(&self, command_id: Option<&str>, now: Instant) -> bool {
        let Some(unread) = &self.unread else { return false };
        let is_open = || command_id.is_some_and(|id| self.answered.is_open(id)) && !self.knows(command_id);
        now < unread.until && (unread.answers || is_open()) && !planted!("accept-while-unread")
    }

    /// Whether there is a job for the request with this id.
    fn knows(&self, command_id: Option<&str>) -> bool {
        self.jobs.iter().any(|job| job.record.command_id.as_deref() == command_id)
    }

    /// Repairs the records of jobs that an earlier agent left, from what is known of their requests; and what is known
    /// of these from the records.
    pub(super) fn repair(&mut self) {
        // Else the file says which of them are open.
        let is_read = self.unread.as_ref().is_none_or(|unread| !unread.answers);
        let mut reopened = false;
        for job in self.jobs.iter_mut().filter(|job| !job.over && !job.finished) {
            let is_repaired = self.answered.repair(&mut job.record);
            reopened |= is_read && !job.record.announced && self.answered.accepted(&job.record);
            if !is_repaired {
                continue;
            }
            job.span = job.record.span();
            job.span.in_scope(|| {
                tracing::info!("The record of the job is complete again: its request is known.");
                self.executor.save(job.record.clone());
            });
            if job.record.decided().is_some() {
                job.phase = Phase::Decided;
            }
        }
        if reopened {
            self.executor.keep_answered(self.answered.file());
        }
    }

    /// The status of success of a reboot, which is sent before the reboot starts.
    pub fn rebooting() -> Status {
        Status::answer("reboot", StatusKind::Ok, 0, "Reboot: the machine is going down")
    }

    /// The status of success of a restart, which is sent before the restart.
    pub fn restarting() -> Status {
        Status::answer("restart", StatusKind::Ok, 0, "Restart: the agent is starting again")
    }

    /// The announced job succeeded. Its status was sent before, so it is forgotten.
    pub fn announced_ended(&mut self, id: &JobId) {
        if let Some(record) = self.find(id).map(|job| job.record.clone()) {
            self.carried_out(record);
        }
        self.status_delivered(id);
    }

    /// Remembers the status of an announced job that has succeeded, in case the dashboard repeats the request.
    pub fn carried_out(&mut self, record: Record) {
        if let Some(id) = record.command_id {
            self.remember(id, record.command, &Self::rebooting());
        }
    }

    /// Remembers the answer to a request, in case the dashboard repeats it.
    pub fn remember(&mut self, command_id: String, command: String, status: &Status) {
        self.answered.add(command_id, command, status);
        self.executor.keep_answered(self.answered.file());
    }

    /// The command that had this id and the status that ended it, if they are remembered.
    pub fn ended(&self, command_id: &str) -> Option<(&str, &Status)> {
        self.answered.get(command_id)
    }

    /// Whether a job with this id is told on this connection, but its status was not queued yet: its output comes
    /// first. A reboot has none, and was answered before it began.
    pub fn is_status_to_come(&self, command_id: &str) -> bool {
        let mut untold = self.jobs.iter().filter(|job| !job.status_sent && !job.record.announced);
        untold.any(|job| job.record.command_id.as_deref() == Some(command_id))
    }

    /// Another command than the request's that has the same id, if there is one.
    pub fn clash(&self, request: &CommandRequest) -> Option<&str> {
        let id = request.id.as_deref()?;
        let accepted = self.jobs.iter().find(|job| job.record.command_id.as_deref() == Some(id));
        let known = accepted.map(|job| job.record.command.as_str());
        let known = known.or_else(|| self.ended(id).map(|(command, _)| command))?;
        (known != request.command).then_some(known)
    }
}
