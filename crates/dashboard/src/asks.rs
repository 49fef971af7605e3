//! Sent commands whose verdict is awaited: did the agent accept or reject the command?
//!
//! Only the agent knows whether it is busy. A rejection has a message of its own. An acceptance has none; it
//! shows in the first heartbeat, line or status that can only come from this command.

use std::collections::BTreeMap;

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
    command: String,
    command_id: String,
    /// Another command of the same name was running or sent when this one was sent. So the name proves
    /// nothing until the status of the other one has arrived.
    ambiguous: bool,
    reply: oneshot::Sender<Verdict>,
}

/// All commands without a verdict: those of each host, oldest first. A message of one host is compared with its own
/// ones only, because thousands of hosts may have one.
#[derive(Debug, Default)]
pub(super) struct Asks {
    open: BTreeMap<String, Vec<Ask>>,
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
        let open = self.open.entry(host.to_owned()).or_default();
        // A caller that stopped waiting has dropped the receiver.
        open.retain(|ask| !ask.reply.is_closed());
        let ambiguous = busy_with == Some(command) || open.iter().any(|ask| ask.command == command);
        let (reply, receiver) = oneshot::channel();
        let (command, command_id) = (command.to_owned(), command_id.to_owned());
        open.push(Ask { command, command_id, ambiguous, reply });
        receiver
    }

    /// Handles a rejection. It is matched by id if it has one, else by the name of the command, else with the
    /// oldest command that is not the running one.
    pub(super) fn rejected(&mut self, host: &str, rejection: &CommandRejected) {
        let Some(open) = self.open.get(host) else { return };
        let at = if let Some(id) = &rejection.command_id {
            open.iter().position(|ask| ask.command_id == *id)
        } else if let Some(command) = &rejection.command {
            // The newest one: of two with the same name, the first was accepted.
            open.iter().rposition(|ask| ask.command == *command)
        } else {
            let current = rejection.current_command.as_deref();
            let other = |ask: &Ask| Some(ask.command.as_str()) != current;
            open.iter().position(other).or(open.len().checked_sub(1))
        };
        if let Some(at) = at {
            self.answer(host, at, Verdict::Rejected(rejection.clone()));
        }
    }

    /// Handles a heartbeat with this pending command.
    pub(super) fn heartbeat(&mut self, host: &str, pending: Option<&str>) {
        if let Some(pending) = pending
            && let Some(at) = self.first(host, |ask| ask.command == pending && !ask.ambiguous)
        {
            self.answer(host, at, Verdict::Accepted(Evidence::Heartbeat));
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
            self.answer(host, at, Verdict::Accepted(evidence));
        }
        if evidence == Evidence::Status {
            let open = self.open.get_mut(host).into_iter().flatten();
            open.filter(|ask| ask.command == command).for_each(|ask| ask.ambiguous = false);
        }
    }

    fn first(&self, host: &str, fits: impl Fn(&Ask) -> bool) -> Option<usize> {
        self.open.get(host)?.iter().position(fits)
    }

    fn answer(&mut self, host: &str, at: usize, verdict: Verdict) {
        let Some(open) = self.open.get_mut(host) else { return };
        // An error means that nobody waits any more.
        drop(open.remove(at).reply.send(verdict));
        if open.is_empty() {
            self.open.remove(host);
        }
    }
}
