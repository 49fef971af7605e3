//! Commands whose fate somebody waits for: does the agent take it or reject it?
//!
//! Only the agent knows whether it is busy, so it is asked, and what it sends next is the evidence.
//! A rejection is plain. Acceptance has no message of its own; it shows in the first heartbeat,
//! line or status that can only come from this very command.

use tokio::sync::oneshot;

use nixfleet_protocol::CommandRejected;

use super::jobs::Jobs;

/// What the agent made of a command.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// It runs, or has run.
    Accepted(Evidence),
    /// Something else runs.
    Rejected(CommandRejected),
}

/// How acceptance showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    /// A heartbeat names the command as pending.
    Heartbeat,
    /// It printed something.
    Output,
    /// It has ended.
    Status,
}

impl Evidence {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Output => "output",
            Self::Status => "status",
        }
    }
}

/// One open question.
#[derive(Debug)]
struct Ask {
    host: String,
    command: String,
    command_id: String,
    /// A command of the same name was running or on its way when this one was sent, so that name
    /// proves nothing until that one's status has come.
    ambiguous: bool,
    reply: oneshot::Sender<Verdict>,
}

/// All open questions, oldest first.
#[derive(Debug, Default)]
pub(super) struct Asks {
    open: Vec<Ask>,
}

impl Asks {
    /// Adds a question; `busy_with` is what the host was last seen to run.
    pub(super) fn open(
        &mut self,
        host: &str,
        command: &str,
        command_id: &str,
        busy_with: Option<&str>,
    ) -> oneshot::Receiver<Verdict> {
        // Whoever stopped waiting has dropped the receiver.
        self.open.retain(|ask| !ask.reply.is_closed());
        let ambiguous = busy_with == Some(command)
            || self.open.iter().any(|ask| ask.host == host && ask.command == command);
        let (reply, receiver) = oneshot::channel();
        self.open.push(Ask {
            host: host.to_owned(),
            command: command.to_owned(),
            command_id: command_id.to_owned(),
            ambiguous,
            reply,
        });
        receiver
    }

    /// The agent rejected something. By id if it names one; else by the command's name; else it is
    /// the oldest question whose command is not the one that runs.
    pub(super) fn rejected(&mut self, host: &str, rejection: &CommandRejected) {
        let mine = |ask: &Ask| ask.host == host;
        let at = if let Some(id) = &rejection.command_id {
            self.open.iter().position(|ask| mine(ask) && ask.command_id == *id)
        } else if let Some(command) = &rejection.command {
            // The newest: of two with one name, the first is the one that was taken.
            self.open.iter().rposition(|ask| mine(ask) && ask.command == *command)
        } else {
            let current = rejection.current_command.as_deref();
            let other = |ask: &Ask| mine(ask) && Some(ask.command.as_str()) != current;
            self.open.iter().position(other).or_else(|| self.open.iter().rposition(mine))
        };
        if let Some(at) = at {
            self.answer(at, Verdict::Rejected(rejection.clone()));
        }
    }

    /// A heartbeat of this host says what is pending.
    pub(super) fn heartbeat(&mut self, host: &str, pending: Option<&str>) {
        if let Some(pending) = pending
            && let Some(at) = self.first(host, |ask| ask.command == pending && !ask.ambiguous)
        {
            self.answer(at, Verdict::Accepted(Evidence::Heartbeat));
        }
    }

    /// A line or the end of a job. `jobs` must not have heard of this message yet.
    pub(super) fn job(
        &mut self,
        host: &str,
        command: &str,
        job: Option<&str>,
        jobs: &Jobs,
        evidence: Evidence,
    ) {
        let old = job.is_some_and(|job| jobs.knows(job));
        let at = self.first(host, |ask| {
            let same_id = job == Some(ask.command_id.as_str());
            same_id || (ask.command == command && !old && !ask.ambiguous)
        });
        if let Some(at) = at {
            self.answer(at, Verdict::Accepted(evidence));
        }
        if evidence == Evidence::Status {
            for ask in self.open.iter_mut().filter(|ask| ask.host == host && ask.command == command) {
                ask.ambiguous = false;
            }
        }
    }

    fn first(&self, host: &str, fits: impl Fn(&Ask) -> bool) -> Option<usize> {
        self.open.iter().position(|ask| ask.host == host && fits(ask))
    }

    fn answer(&mut self, at: usize, verdict: Verdict) {
        // An error says that nobody waits any more.
        drop(self.open.remove(at).reply.send(verdict));
    }
}
