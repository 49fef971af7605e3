//! What each name that a dashboard sends stands for, and whether it may start now. Does no IO.

use nixfleet_config::Host;
use nixfleet_jobs::supervisor::plan::JOBS;
use nixfleet_protocol::{ALREADY_RUNNING, CommandRejected, CommandRequest};

/// What the agent itself does on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// `stop`, and `kill`, which existing dashboards send for it: end the running command.
    Stop,
    /// `restart`: a new agent process.
    Restart,
    /// `reboot`: the machine, after the answer.
    Reboot,
    /// Something that the agent looks at and tells.
    Ask(Question),
}

/// What the agent can be asked. Nothing on the machine changes, so it may be asked beside a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// `check-version`: whether the running agent is the installed one.
    Version,
    /// `refresh-git`: which commit is checked out. The dashboard judges it.
    Git,
    /// `refresh-lock`: flake.lock against what was pulled.
    Lock,
    /// `refresh-system`: the running system against the checkout.
    System,
    /// `refresh-all`.
    All,
}

/// Commands that the agent itself answers.
const CONTROLS: &[(&str, Control)] = &[
    ("stop", Control::Stop),
    ("kill", Control::Stop),
    ("restart", Control::Restart),
    ("reboot", Control::Reboot),
    ("check-version", Control::Ask(Question::Version)),
    ("refresh-git", Control::Ask(Question::Git)),
    ("refresh-lock", Control::Ask(Question::Lock)),
    ("refresh-system", Control::Ask(Question::System)),
    ("refresh-all", Control::Ask(Question::All)),
];

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Runs as a job.
    Job,
    /// Done by the agent.
    Control(Control),
}

/// Looks a name up.
pub fn kind(host: &Host, name: &str) -> Option<Kind> {
    if let Some((_, control)) = CONTROLS.iter().find(|(known, _)| *known == name) {
        return Some(Kind::Control(*control));
    }
    (JOBS.contains(&name) || host.commands.contains_key(name)).then_some(Kind::Job)
}

/// The running command, as far as admission needs to know it.
#[derive(Debug, Clone, Copy)]
pub struct Current<'a> {
    /// Its name.
    pub command: &'a str,
    /// The dashboard's id of it.
    pub command_id: Option<&'a str>,
    /// Its process, once there is one.
    pub pid: Option<u32>,
    /// When it was accepted, RFC 3339.
    pub accepted_at: &'a str,
}

/// What is to be done with a request.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// Start a job.
    Start,
    /// Tell the dashboard that another command runs.
    Reject(CommandRejected),
    /// The running command's own id again: a resend, to be ignored.
    Duplicate,
    /// Do it in the agent.
    Control(Control),
    /// Not in the table.
    Unknown,
}

/// Decides about a request. The only place where "busy" is judged (T02 scenario 7).
pub fn admit(host: &Host, request: &CommandRequest, current: Option<Current<'_>>) -> Decision {
    let Some(kind) = kind(host, &request.command) else { return Decision::Unknown };
    match (kind, current) {
        // Stopping is what one does with a running command, and a question does not touch it; a
        // rejection would make a dashboard mark that command as failed.
        (Kind::Control(control @ (Control::Stop | Control::Ask(_))), _) => Decision::Control(control),
        (_, Some(current)) if request.id.is_some() && request.id.as_deref() == current.command_id => {
            Decision::Duplicate
        }
        (_, Some(current)) => Decision::Reject(rejection(request, current)),
        (Kind::Control(control), None) => Decision::Control(control),
        (Kind::Job, None) => Decision::Start,
    }
}

/// The answer to a request while `current` runs.
pub fn rejection(request: &CommandRequest, current: Current<'_>) -> CommandRejected {
    CommandRejected {
        reason: ALREADY_RUNNING.to_owned(),
        current_command: Some(current.command.to_owned()),
        current_pid: current.pid,
        command: Some(request.command.clone()),
        command_id: request.id.clone(),
    }
}

/// The answer to a request that may not run now, for another reason than a running command.
pub fn refusal(request: &CommandRequest, reason: String) -> CommandRejected {
    CommandRejected {
        reason,
        current_command: None,
        current_pid: None,
        command: Some(request.command.clone()),
        command_id: request.id.clone(),
    }
}

/// Every name this agent answers to, for people.
pub fn names(host: &Host) -> Vec<&str> {
    let built_in = JOBS.iter().copied().chain(CONTROLS.iter().map(|(name, _)| *name));
    built_in.chain(host.commands.keys().map(String::as_str)).collect()
}

#[cfg(test)]
mod tests;
