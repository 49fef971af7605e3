//! The look at the host when a job has ended.
//!
//! ```text
//! end of the job --look--> facts are new, or LOOK_TIMEOUT --> status, heartbeat [, register]
//!                                              '--late--> another heartbeat, or the register
//! ```
//!
//! Existing dashboards judge a job by the heartbeat behind its status, so that heartbeat has to tell what the
//! job changed. The job's slot is free meanwhile, so the next command may run already.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use nixfleet_jobs::JobId;
use nixfleet_jobs::spec::JobResult;

use super::Session;

/// How long the status of a job waits for the look. A look takes a few milliseconds, and the first one at a new
/// system takes 50 ms more. A disk that hangs must not hold back the status.
pub(super) const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

/// A job that has ended, and whose status is not sent yet.
#[derive(Debug)]
pub(super) struct EndedJob {
    pub(super) id: JobId,
    pub(super) command: String,
    pub(super) result: Box<JobResult>,
}

/// A look at the host that has not ended.
#[derive(Debug)]
pub(super) struct Look {
    answer: oneshot::Receiver<()>,
    /// The job whose status waits for it, and for how long at most. None after that time.
    waiting: Option<(EndedJob, Instant)>,
}

impl Look {
    /// Waits for its end. Returns whether the facts are new; otherwise nobody will answer.
    ///
    /// Cancel-safe: it changes nothing until it returns, and must not be called again after that.
    pub(super) async fn end(&mut self) -> bool {
        (&mut self.answer).await.is_ok()
    }

    /// When the status that waits is sent anyway.
    pub(super) fn until(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|(_, until)| *until)
    }
}

impl Session<'_> {
    /// A job has ended. Its status follows after a look at the host.
    pub(super) fn look_at_host(&mut self, job: EndedJob, now: Instant) {
        let answer = (self.agent.snapshots.look)();
        self.look = Some(Look { answer, waiting: Some((job, now + LOOK_TIMEOUT)) });
    }

    /// Whether the status of an ended job waits. No output of another job may be sent meanwhile.
    pub(super) fn is_looking(&self) -> bool {
        self.look.as_ref().is_some_and(|look| look.waiting.is_some())
    }

    /// The look has ended. `facts_are_new`: otherwise there will be no answer to it.
    pub(super) fn looked(&mut self, facts_are_new: bool, now: Instant) {
        match self.look.take().and_then(|look| look.waiting) {
            Some((job, _)) => {
                if !facts_are_new {
                    self.warn_of_old_facts(
                        &job,
                        "because too many requests for it wait, or its thread is gone",
                    );
                }
                self.ended(&job, facts_are_new, now);
            }
            // Whatever comes next tells new facts as soon as there are any.
            None if !facts_are_new => {}
            None if self.register_again.is_some() => self.register_again(),
            // The heartbeat behind the status had old facts, and the next scheduled one may be an hour away.
            None => self.heartbeat(now),
        }
    }

    /// The look takes too long: sends the status that waits for it.
    pub(super) fn look_overdue(&mut self, now: Instant) {
        if let Some((job, _)) = self.look.as_ref().and_then(|look| look.waiting.as_ref()) {
            self.warn_of_old_facts(job, &format!("within {LOOK_TIMEOUT:?} (is the disk slow?)"));
        }
        self.stop_waiting(now);
    }

    /// Sends the status that waits for a look, if there is one.
    pub(super) fn stop_waiting(&mut self, now: Instant) {
        if let Some((job, _)) = self.look.as_mut().and_then(|look| look.waiting.take()) {
            self.ended(&job, false, now);
        }
    }

    fn warn_of_old_facts(&self, job: &EndedJob, why: &str) {
        self.agent.jobs.span(&job.id).in_scope(|| {
            tracing::warn!(
                "The host was not examined {why}: the heartbeat behind the status may tell what was known before the \
                 command ended."
            );
        });
    }
}
