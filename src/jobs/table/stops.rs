//! Requests to end a job that nobody has answered yet.
//!
//! A stop that works has no answer of its own: the job's status says `stopped`. A stop may also be refused by the
//! supervisor, or reach a supervisor that does not react; and the status may wait for output that a slow connection
//! takes long for. So each request is remembered until the status is sent, and answered when that takes too long.

use tokio::time::Instant;

use nixfleet_jobs::Urgency;

/// Requests that are remembered for one job. There are three names, `stop`, `kill` and `kill_command`, and the last
/// one has two signals. A repeat takes the place of the request before it.
const MAX: usize = 4;

#[derive(Debug)]
struct Request {
    urgency: Urgency,
    asked: String,
    until: Instant,
}

/// How far a job has got that a request was to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It is still being launched.
    Launching,
    /// It runs.
    Running,
    /// It has ended. Its status waits for the output of this job and of those before it.
    Ended,
}

/// A request to end a command that nothing has answered in time.
#[derive(Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// The command that asked for it, such as `stop`.
    pub asked: String,
    /// The command that it was to end.
    pub command: String,
    /// How far that one has got.
    pub stage: Stage,
}

/// The requests to end one job, oldest first.
#[derive(Debug, Default)]
pub(super) struct Stops(Vec<Request>);

impl Stops {
    /// Adds a request, which is to be answered at `until`. A repeat keeps the time of the first one: a dashboard
    /// that asks again and again still gets an answer.
    pub(super) fn add(&mut self, urgency: Urgency, asked: &str, until: Instant) {
        let known = self.0.iter().any(|request| request.urgency == urgency && request.asked == asked);
        if !known && self.0.len() < MAX {
            self.0.push(Request { urgency, asked: asked.to_owned(), until });
        }
    }

    /// The strongest request: a stop behind a kill does not weaken it.
    pub(super) fn strongest(&self) -> Option<(Urgency, &str)> {
        let strongest = self.0.iter().max_by_key(|request| request.urgency)?;
        Some((strongest.urgency, &strongest.asked))
    }

    pub(super) fn answered(&mut self, asked: &str) {
        self.0.retain(|request| request.asked != asked);
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.0.iter().map(|request| request.until).min()
    }

    /// Takes what is due.
    pub(super) fn take_due(&mut self, now: Instant) -> impl Iterator<Item = String> {
        self.0.extract_if(.., move |request| request.until <= now).map(|request| request.asked)
    }
}
