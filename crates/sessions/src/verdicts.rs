//! Sent commands of one host whose verdict is awaited: did the agent accept or reject the command?
//!
//! Only the agent knows whether it is busy. A rejection has a message of its own. An acceptance has none; it
//! shows in the first heartbeat, line or status that can only come from this command.

use tokio::sync::oneshot;

use nixfleet_protocol::CommandRejected;

use crate::jobs::Jobs;

/// Whether the agent accepted a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The command runs or has run.
    Accepted(Evidence),
    /// Another command runs.
    Rejected(CommandRejected),
}

/// The message that showed the acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// A heartbeat names the command as pending.
    Heartbeat,
    /// The command printed a line.
    Output,
    /// The command has ended.
    Status,
}

impl Evidence {
    /// Its name, for answers.
    #[must_use]
    pub fn name(self) -> &'static str {
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

/// What a host was asked, and what it has said about that.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// The commands without a verdict, oldest first.
    open: Vec<Ask>,
    jobs: Jobs,
    /// The running command according to the newest message.
    busy_with: Option<String>,
}

impl Verdicts {
    /// A command is sent. The receiver gets the verdict on it, or an error if the host's connection ends before.
    pub fn asked(&mut self, command: &str, command_id: &str) -> oneshot::Receiver<Verdict> {
        // A caller that stopped waiting has dropped the receiver.
        self.open.retain(|ask| !ask.reply.is_closed());
        let same = |ask: &Ask| ask.command == command;
        let ambiguous = self.busy_with.as_deref() == Some(command) || self.open.iter().any(same);
        let (reply, receiver) = oneshot::channel();
        let (command, command_id) = (command.to_owned(), command_id.to_owned());
        self.open.push(Ask { command, command_id, ambiguous, reply });
        receiver
    }

    /// Handles a heartbeat with this pending command.
    pub fn heartbeat(&mut self, pending: Option<&str>) {
        if self.busy_with.as_deref() != pending {
            self.busy_with = pending.map(str::to_owned);
        }
        if let Some(pending) = pending
            && let Some(at) = self.open.iter().position(|ask| ask.command == pending && !ask.ambiguous)
        {
            self.answer(at, Verdict::Accepted(Evidence::Heartbeat));
        }
    }

    /// Handles a rejection. It is matched by id if it has one, else by the name of the command, else with the
    /// oldest command that is not the running one.
    pub fn rejected(&mut self, rejection: &CommandRejected) {
        self.busy_with.clone_from(&rejection.current_command);
        let open = &self.open;
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
            self.answer(at, Verdict::Rejected(rejection.clone()));
        }
    }

    /// Handles lines of a job, before any of them is [looked at](Self::is_new_line).
    pub fn output(&mut self, command: &str, job: Option<&str>) {
        self.job(command, job, Evidence::Output);
    }

    /// Whether this line of a job is new. A line without job and `seq`, from an older agent, is always new.
    pub fn is_new_line(&mut self, command: &str, job: Option<&str>, seq: Option<u64>) -> bool {
        let new = self.jobs.is_new_line(job, seq);
        if new && self.busy_with.as_deref() != Some(command) {
            self.busy_with = Some(command.to_owned());
        }
        new
    }

    /// Handles the end of a job. Returns whether it is new.
    pub fn ended(&mut self, command: &str, job: Option<&str>) -> bool {
        self.job(command, job, Evidence::Status);
        let new = self.jobs.is_new_end(job);
        if new && self.busy_with.as_deref() == Some(command) {
            self.busy_with = None;
        }
        new
    }

    /// How many lines came for the first time.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.jobs.lines
    }

    /// How many lines and ends had come before.
    #[must_use]
    pub fn repeats(&self) -> u64 {
        self.jobs.repeats
    }

    /// Handles a line or the end of a job, which `jobs` must not contain yet.
    fn job(&mut self, command: &str, job: Option<&str>, evidence: Evidence) {
        let old = job.is_some_and(|job| self.jobs.knows(job));
        let at = self.open.iter().position(|ask| {
            let same_id = job == Some(ask.command_id.as_str());
            same_id || (ask.command == command && !old && !ask.ambiguous)
        });
        if let Some(at) = at {
            self.answer(at, Verdict::Accepted(evidence));
        }
        if evidence == Evidence::Status {
            let same = self.open.iter_mut().filter(|ask| ask.command == command);
            same.for_each(|ask| ask.ambiguous = false);
        }
    }

    fn answer(&mut self, at: usize, verdict: Verdict) {
        // An error means that nobody waits any more.
        drop(self.open.remove(at).reply.send(verdict));
        if self.open.is_empty() {
            self.open = Vec::new();
        }
    }
}
