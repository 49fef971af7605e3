//! Sent commands whose verdict is awaited: did the agent accept or reject the command?
//!
//! Only the agent knows whether it is busy. A rejection has a message of its own. An acceptance has none; it
//! shows in the first heartbeat, line or status that can only come from this command.

use tokio::sync::oneshot;

use nixfleet_protocol::CommandRejected;

use crate::jobs::Jobs;

/// Whether the agent accepted a command.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// The command runs or has run.
    Accepted(Evidence),
    /// Another command runs.
    Rejected(CommandRejected),
}

/// The message that showed the acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    /// A heartbeat names the command as pending.
    Heartbeat,
    /// The command printed a line.
    Output,
    /// The command has ended.
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

/// A command whose verdict is not known yet.
#[derive(Debug)]
struct Ask {
    host: String,
    command: String,
    command_id: String,
    /// Another command of the same name was running or sent when this one was sent. So the name proves
    /// nothing until the status of the other one has arrived.
    ambiguous: bool,
    reply: oneshot::Sender<Verdict>,
}

/// All commands without a verdict, oldest first.
#[derive(Debug, Default)]
pub(super) struct Asks {
    open: Vec<Ask>,
}

impl Asks {
    /// Adds a command. `busy_with` is the running command according to the newest message.
    pub(super) fn open(
        &mut self,
        host: &str,
        command: &str,
        command_id: &str,
        busy_with: Option<&str>,
    ) -> oneshot::Receiver<Verdict> {
        // A caller that stopped waiting has dropped the receiver.
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

    /// Handles a rejection. It is matched by id if it has one, else by the name of the command, else with the
    /// oldest command that is not the running one.
    pub(super) fn rejected(&mut self, host: &str, rejection: &CommandRejected) {
        let same_host = |ask: &Ask| ask.host == host;
        let at = if let Some(id) = &rejection.command_id {
            self.open.iter().position(|ask| same_host(ask) && ask.command_id == *id)
        } else if let Some(command) = &rejection.command {
            // The newest one: of two with the same name, the first was accepted.
            self.open.iter().rposition(|ask| same_host(ask) && ask.command == *command)
        } else {
            let current = rejection.current_command.as_deref();
            let other = |ask: &Ask| same_host(ask) && Some(ask.command.as_str()) != current;
            self.open.iter().position(other).or_else(|| self.open.iter().rposition(same_host))
        };
        if let Some(at) = at {
            self.answer(at, Verdict::Rejected(rejection.clone()));
        }
    }

    /// Handles a heartbeat with this pending command.
    pub(super) fn heartbeat(&mut self, host: &str, pending: Option<&str>) {
        if let Some(pending) = pending
            && let Some(at) = self.first(host, |ask| ask.command == pending && !ask.ambiguous)
        {
            self.answer(at, Verdict::Accepted(Evidence::Heartbeat));
        }
    }

    /// Handles a line or the end of a job. `jobs` must not contain this message yet.
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
        // An error means that nobody waits any more.
        drop(self.open.remove(at).reply.send(verdict));
    }
}
