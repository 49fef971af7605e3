//! What each command of a dashboard stands for, and whether it may start now. Pure: no I/O.

use nixfleet_config::Host;
use nixfleet_jobs::supervisor::plan::JOBS;
use nixfleet_os::planted;
use nixfleet_os::text::one_line;
use nixfleet_protocol::{ALREADY_RUNNING, CommandRejected, CommandRequest, OfferedCommand};

/// Most characters of a description that a dashboard gets: as many bytes as the settings may have.
const MAX_DESCRIPTION: usize = 256;

/// A command that the agent carries out itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// `stop`, or `kill`, which existing dashboards send instead: ends the running command.
    Stop,
    /// `restart`: replaces the agent process.
    Restart,
    /// `reboot`: reboots the machine, after the answer has been read.
    Reboot,
    /// A question.
    Ask(Question),
}

/// A question to the agent. It changes nothing on the machine, so it may be asked while a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// `check-version`: whether the running agent is the installed one.
    Version,
    /// `refresh-git`: which commit is checked out. The dashboard decides whether it is up to date.
    Git,
    /// `refresh-lock`: whether flake.lock is as it was pulled.
    Lock,
    /// `refresh-system`: whether the running system is that of the checkout.
    System,
    /// `refresh-all`: lock, system and tests.
    All,
}

/// The commands that the agent carries out itself.
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

/// Commands that the Go agent had under another name, and what to send in their place. An operator may use
/// these names for commands of their own.
const REPLACED: &[(&str, &str)] = &[
    ("bump-flake", "`update`"),
    ("force-rebuild", "`switch`"),
    // It discarded local changes, pulled and rebuilt. A pull of a checkout that belongs to the agent discards.
    (
        "force-update",
        "`pull`, which discards local changes where repo.url is set, then `switch`; or `pull-switch`",
    ),
];

/// What a command's name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It runs as a job.
    Job,
    /// The agent carries it out itself.
    Control(Control),
}

/// Looks a command up by its name; none if it is unknown.
pub fn kind(host: &Host, name: &str) -> Option<Kind> {
    if let Some((_, control)) = CONTROLS.iter().find(|(known, _)| *known == name) {
        return Some(Kind::Control(*control));
    }
    (JOBS.contains(&name) || host.commands.contains_key(name)).then_some(Kind::Job)
}

/// Whether the command runs as a job or ends the agent. Other requests may be repeated, and have no use for an id.
pub fn starts(host: &Host, name: &str) -> bool {
    matches!(kind(host, name), Some(Kind::Job | Kind::Control(Control::Restart | Control::Reboot)))
}

/// A command, as far as admission needs to know it.
#[derive(Debug, Clone, Copy)]
pub struct Current<'a> {
    /// Its name.
    pub command: &'a str,
    /// The id of the dashboard's request, if it had one.
    pub command_id: Option<&'a str>,
    /// Its process id, while it runs and once it is known.
    pub pid: Option<u32>,
    /// When it was accepted, RFC 3339.
    pub accepted_at: &'a str,
}

/// What to do with a request.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// Start a job.
    Start,
    /// Reject it: another command runs.
    Reject(CommandRejected),
    /// Ignore it: it repeats a request whose status is to come.
    Duplicate,
    /// Carry it out in the agent.
    Control(Control),
    /// Refuse it: it is a command of the Go agent. The text says what to send in its place.
    Replaced(&'static str),
    /// Refuse it: there is no such command.
    Unknown,
}

/// Decides about a request. This is the only place that decides whether the host is busy.
///
/// `current` is the command that runs. `unreported` is one that has ended and that this request cannot be told from
/// ([`JobTable::unreported`](super::table::JobTable::unreported)).
pub fn admit(
    host: &Host,
    request: &CommandRequest,
    current: Option<Current<'_>>,
    unreported: Option<Current<'_>>,
) -> Decision {
    let Some(kind) = kind(host, &request.command) else {
        let replaced = REPLACED.iter().find(|(old, _)| *old == request.command);
        return replaced.map_or(Decision::Unknown, |(_, by)| Decision::Replaced(by));
    };
    let repeats = |other: &Current<'_>| request.id.is_some() && request.id.as_deref() == other.command_id;
    match (kind, current, unreported) {
        // `stop` and questions are allowed while a command runs. A rejection would make existing dashboards
        // mark the running command as failed.
        (Kind::Control(control @ (Control::Stop | Control::Ask(_))), ..) => Decision::Control(control),
        (_, Some(other), _) | (_, _, Some(other)) if repeats(&other) && !planted!("run-a-repeat") => {
            Decision::Duplicate
        }
        (Kind::Job, Some(current), _) if planted!("run-a-repeat") && repeats(&current) => Decision::Start,
        (_, Some(current), _) => Decision::Reject(rejection(request, current)),
        // A dashboard without ids knows a status by its command alone. It would take that of the first job for the
        // end of the second one.
        (Kind::Job, None, Some(unreported)) => Decision::Reject(rejection(request, unreported)),
        (Kind::Control(control), None, _) => Decision::Control(control),
        (Kind::Job, None, None) => Decision::Start,
    }
}

/// The answer to a request while `current` runs, or while its status is still to come.
pub fn rejection(request: &CommandRequest, current: Current<'_>) -> CommandRejected {
    CommandRejected {
        reason: ALREADY_RUNNING.to_owned(),
        current_command: Some(current.command.to_owned()),
        current_pid: current.pid,
        command: Some(request.command.clone()),
        command_id: request.id.clone(),
    }
}

/// The answer to a request that is rejected for another reason than a running command.
pub fn refusal(request: &CommandRequest, reason: String) -> CommandRejected {
    CommandRejected {
        reason,
        current_command: None,
        current_pid: None,
        command: Some(request.command.clone()),
        command_id: request.id.clone(),
    }
}

/// The names of all commands that this agent knows, for people.
pub fn names(host: &Host) -> Vec<&str> {
    let built_in = JOBS.iter().copied().chain(CONTROLS.iter().map(|(name, _)| *name));
    built_in.chain(host.commands.keys().map(String::as_str)).collect()
}

/// The commands that this host accepts, so that a dashboard need not offer others: those of the agent that its settings
/// allow, then the operator's own.
///
/// This is about the settings, not about what is on the machine now: a checkout that is missing may be back when the
/// command comes.
pub fn offered(host: &Host) -> Vec<OfferedCommand> {
    let has_checkout = host.repo.dir.is_some();
    let accepts = |name: &&str| match *name {
        "clone" => host.repo.url.is_some(),
        // home-manager has no boot loader.
        "boot" => has_checkout && (host.host_type != "macos" || host.rebuild.program.is_some()),
        "reboot" => host.reboot,
        // Another name of `stop`.
        "kill" => false,
        "pull" | "switch" | "pull-switch" | "test" | "update" => has_checkout,
        _ => true,
    };
    let built_in = JOBS.iter().copied().chain(CONTROLS.iter().map(|(name, _)| *name)).filter(accepts);
    let built_in = built_in.map(|name| OfferedCommand { name: name.to_owned(), ..OfferedCommand::default() });
    let own = host.commands.iter().map(|(name, command)| OfferedCommand {
        name: name.clone(),
        description: one_line(&command.description, MAX_DESCRIPTION),
        own: true,
    });
    built_in.chain(own).collect()
}

#[cfg(test)]
mod tests;
