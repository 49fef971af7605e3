//! Which commands have been requested, and which have ended.

use std::collections::VecDeque;

use serde_json::Value;

use nixfleet_protocol::{CommandRequest, DashboardMessage};

use super::line_numbers::LineNumbers;
use super::shape::text;
use super::violations::{Breach, Rule};

/// Most open requests of one host: as many as fit into its queue.
const OPEN: usize = 1024;

/// Ended jobs remembered for one host. Repeats come with the next reconnect, and an agent repeats 16 at most.
const ENDED: usize = 64;

/// The name of the command in the answer to a `kill_command`.
const KILL_COMMAND: &str = "kill_command";

/// A command that an agent also starts by itself, to clone a missing repository.
const OWN: &str = "clone";

#[derive(Debug)]
struct Request {
    command: String,
    id: Option<String>,
    /// How often it was sent with this id.
    times: u32,
    /// An earlier dashboard sent it.
    inherited: bool,
}

#[derive(Debug)]
struct Job {
    id: String,
    lines: LineNumbers,
    /// The connection on which its status came, if it has ended.
    ended: Option<u64>,
}

/// Open requests, oldest first, and the newest jobs.
#[derive(Debug, Default)]
pub(super) struct Requests {
    open: VecDeque<Request>,
    jobs: VecDeque<Job>,
    /// The dashboard is new to this host, so the host may report jobs that an earlier dashboard requested. It
    /// ends with the first request or the second connection.
    inherits: bool,
    /// There were more open requests than are remembered, so an answer may be that of one of them.
    forgot: bool,
    /// The command of the newest status.
    last_ended: Option<String>,
}

impl Requests {
    pub(super) fn reconnected(&mut self, first: bool, register: &Value) {
        self.inherits = first && self.open.is_empty();
        if let Some(running) = register.get("running_job") {
            self.inherit(text(running, "command"));
        }
    }

    /// A heartbeat names the running command.
    pub(super) fn pending(&mut self, command: Option<&str>) {
        if self.inherits {
            self.inherit(command);
        }
    }

    fn inherit(&mut self, command: Option<&str>) {
        if let Some(command) = command.filter(|command| self.position(command).is_none()) {
            self.open(CommandRequest { command: command.to_owned(), id: None }, true);
        }
    }

    fn open(&mut self, CommandRequest { command, id }: CommandRequest, inherited: bool) {
        if self.open.len() == OPEN {
            self.open.pop_front();
            self.forgot = true;
        }
        self.open.push_back(Request { command, id, times: 1, inherited });
    }

    /// A message was sent to the host.
    pub(super) fn sent(&mut self, message: &str) {
        let request = match DashboardMessage::decode(message) {
            Ok(DashboardMessage::Command(request)) => request,
            Ok(DashboardMessage::KillCommand(_)) => {
                CommandRequest { command: KILL_COMMAND.to_owned(), id: None }
            }
            _ => return,
        };
        self.inherits = false;
        let same = |open: &&mut Request| open.id.is_some() && open.id == request.id;
        match self.open.iter_mut().find(same) {
            Some(open) => open.times += 1,
            None => self.open(request, false),
        }
    }

    pub(super) fn output(&mut self, payload: &Value, session: u64) -> Vec<Breach> {
        // A missing command violates another rule.
        let Some(command) = text(payload, "command") else { return Vec::new() };
        let mut numbers = None;
        if let Some(id) = text(payload, "job_id") {
            let seq = payload.get("seq").and_then(Value::as_u64).unwrap_or_default();
            let job = self.job(id, command);
            if let Some(ended) = job.ended {
                let repeat = ended < session && seq <= job.lines.highest();
                return if repeat { Vec::new() } else { vec![after_status(command)] };
            }
            numbers = job.lines.line(payload, session);
        }
        numbers.into_iter().chain(self.unexpected(command)).collect()
    }

    /// A violation if no output of this command is expected.
    fn unexpected(&self, command: &str) -> Option<Breach> {
        if self.is_expected(command) {
            None
        } else if self.last_ended.as_deref() == Some(command) {
            Some(after_status(command))
        } else {
            Some((Rule::Unasked, format!("nobody asked for `{command}`")))
        }
    }

    pub(super) fn ended(&mut self, payload: &Value, session: u64) -> Vec<Breach> {
        // A missing command violates another rule.
        let Some(command) = text(payload, "command") else { return Vec::new() };
        self.last_ended = Some(command.to_owned());
        let (mut repeat, mut lines) = (false, None);
        if let Some(id) = text(payload, "job_id") {
            let job = self.job(id, command);
            repeat = job.ended.replace(session).is_some_and(|ended| ended < session);
            lines = job.lines.ended(payload);
        }
        let mut unasked = None;
        if let Some(at) = self.position(command) {
            self.open.remove(at);
        } else if !repeat && !self.inherits && command != OWN {
            let text = format!("nobody asked for `{command}`, or it was answered already");
            unasked = Some((Rule::Unasked, text));
        }
        lines.into_iter().chain(unasked).collect()
    }

    pub(super) fn rejected(&mut self, payload: &Value) -> Option<Breach> {
        let (command, id) = (text(payload, "command"), text(payload, "command_id"));
        let current = text(payload, "current_command");
        let of_command = |open: &Request| Some(open.command.as_str()) == command;
        let newest = |wanted: &dyn Fn(&Request) -> bool| self.open.iter().rposition(wanted);
        // What a rejection names is what it answers. Only without names it may be any request.
        let at = match (id, command) {
            (Some(_), _) => {
                newest(&|open| open.id.as_deref() == id && (command.is_none() || of_command(open)))
            }
            (None, Some(_)) => {
                newest(&|open| open.id.is_none() && of_command(open)).or_else(|| newest(&of_command))
            }
            (None, None) => newest(&|open| Some(open.command.as_str()) != current),
        };
        let Some(request) = at.and_then(|at| self.open.get_mut(at)) else {
            let breach = (Rule::Rejection, "nothing was asked that could be rejected".to_owned());
            return Some(breach).filter(|_| !self.forgot);
        };
        if request.times > 1 {
            request.times -= 1;
            let running = Some(request.command.as_str()) == current;
            let text = "it answers a repeat of the running command's own id";
            return running.then(|| (Rule::Rejection, text.to_owned()));
        }
        let request = self.open.remove(at?)?;
        // After a restart, the dashboard learns the running command this way.
        self.inherit(current);
        matches!(request.command.as_str(), "stop" | "kill")
            .then(|| (Rule::Rejection, format!("it answers `{}`", request.command)))
    }

    /// Whether the command was requested, or may run without a request.
    fn is_expected(&self, command: &str) -> bool {
        self.position(command).is_some() || self.inherits || command == OWN
    }

    fn position(&self, command: &str) -> Option<usize> {
        self.open.iter().position(|open| open.command == command)
    }

    /// The job of this command, which is added if it is not known.
    fn job(&mut self, id: &str, command: &str) -> &mut Job {
        let request = self.open.iter().find(|open| open.command == command);
        let inherited = self.inherits || request.is_some_and(|request| request.inherited);
        let at = match self.jobs.iter().position(|job| job.id == id) {
            Some(at) => at,
            None => {
                self.jobs.truncate(ENDED - 1);
                let lines = LineNumbers::new(inherited);
                self.jobs.push_front(Job { id: id.to_owned(), lines, ended: None });
                0
            }
        };
        &mut self.jobs[at]
    }
}

fn after_status(command: &str) -> Breach {
    (Rule::OutputAfterStatus, format!("the status of `{command}` came before this line"))
}
