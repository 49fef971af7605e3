//! The table of commands: what each name does, and whether it may start now.
//!
//! The table is closed. A dashboard chooses a name; what runs is decided here from the
//! configuration and from what the machine looks like. Nothing in here does any IO.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Host;
use crate::job::spec::{Secrets, Step, User};
use crate::protocol::{ALREADY_RUNNING, CommandRejected, CommandRequest};
use repository::{as_owner, as_root, checkout, pull, repo_dir};

pub use repository::RepoState;
pub(crate) use repository::access;

mod login;
mod repository;

#[cfg(test)]
mod tests;

/// Built-in commands that run as jobs (T03, T09).
pub const JOBS: &[&str] = &["clone", "pull", "switch", "pull-switch", "test", "rollback", "update"];

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

/// Whether a command of this name replaces the running system when it succeeds.
pub fn deploys(name: &str) -> bool {
    matches!(name, "switch" | "pull-switch" | "rollback")
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

/// What a command does on this machine.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Programs, in order.
    pub steps: Vec<Step>,
    /// Folder to move out of the way first.
    pub set_aside: Option<PathBuf>,
    /// Files to remove first.
    pub leftovers: Vec<PathBuf>,
    /// Folder to make then, readable by its owner alone.
    pub private_dir: Option<PathBuf>,
    /// Time after which the command is stopped.
    pub timeout: Option<Duration>,
    /// Whether `stop` may end it.
    pub unstoppable: bool,
}

/// What a plan depends on besides the configuration.
#[derive(Debug, Default)]
pub struct Survey {
    /// The repository's folder.
    pub repo: RepoState,
    /// Something is checked out there: a clone that was cut short has no commit yet.
    pub checked_out: bool,
    /// The folder it lies in, without symbolic links.
    pub above: Option<PathBuf>,
    /// What a git that was killed left in the agent's own clone and no later one gets past.
    pub leftovers: Vec<PathBuf>,
    /// In plain mode, whose folder it is, if that is neither root nor whoever runs the job.
    pub owner: Option<User>,
    /// Executable `hosts/<host>/tests/T*.sh` in order.
    pub test_scripts: Vec<PathBuf>,
}

/// Why a command cannot be run on this machine.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Not in the table.
    #[error("unknown command `{0}`")]
    Unknown(String),
    /// Needs a repository.
    #[error("no repository is configured; set repo.url or repo.dir in the configuration")]
    NoRepo,
    /// Needs a repository of the agent's own.
    #[error("no repository to clone is configured; set repo.url in the configuration")]
    NoUrl,
    /// The operator did not allow it.
    #[error("this host is not rebooted from afar; set reboot.enable in its configuration to allow it")]
    RebootOff,
    /// Something else lives in the repository's place.
    #[error("{} holds files but is not a git checkout; move them away or choose another repo.dir", .0.display())]
    Foreign(PathBuf),
    /// Needs a checkout that is not there.
    #[error("the repository {} is gone; run `pull` first, or check repo.dir", .0.display())]
    NoCheckout(PathBuf),
}

/// Says what `name` does, given what the machine looks like.
///
/// # Errors
/// [`PlanError`], for people.
pub fn plan(host: &Host, name: &str, survey: &Survey) -> Result<Plan, PlanError> {
    if let Some(custom) = host.commands.get(name) {
        let steps = custom.steps.iter().map(|step| Step {
            name: step.argv[0].rsplit('/').next().unwrap_or(name).to_owned(),
            argv: step.argv.clone(),
            cwd: custom.cwd.clone(),
            env: custom.env.clone(),
            secrets: Secrets::default(),
            user: None,
            activation: step.activation,
            test: false,
        });
        let (steps, timeout) = (steps.collect(), custom.timeout);
        return Ok(Plan { steps, timeout, unstoppable: !custom.killable, ..Plan::default() });
    }
    match name {
        "pull" => pull(host, survey),
        // What the agent starts by itself must not move a checkout that is there.
        "clone" if host.repo.url.is_none() => Err(PlanError::NoUrl),
        "clone" if survey.repo == RepoState::Git && survey.checked_out => Ok(Plan::default()),
        "clone" => pull(host, survey),
        "reboot" if !host.reboot => Err(PlanError::RebootOff),
        "reboot" => Ok(Plan { steps: vec![step("reboot", REBOOT)], ..Plan::default() }),
        "switch" => {
            let step = as_root(switch(host, checkout(host, survey)?), survey);
            Ok(Plan { steps: vec![step], ..Plan::default() })
        }
        "pull-switch" => {
            let mut plan = pull(host, survey)?;
            plan.steps.push(as_root(switch(host, repo_dir(&host.repo)?), survey));
            Ok(plan)
        }
        "test" => {
            let dir = checkout(host, survey)?;
            Ok(Plan {
                steps: survey.test_scripts.iter().map(|s| as_root(script(s, dir), survey)).collect(),
                ..Plan::default()
            })
        }
        "rollback" => Ok(Plan { steps: vec![rebuild(host, &["switch", "--rollback"])], ..Plan::default() }),
        "update" => {
            let dir = checkout(host, survey)?;
            let step = Step { cwd: Some(dir.to_owned()), ..step("update", &["nix", "flake", "update"]) };
            Ok(Plan { steps: vec![as_owner(step, dir, survey)], ..Plan::default() })
        }
        _ => Err(PlanError::Unknown(name.to_owned())),
    }
}

/// How a machine is rebooted: on Linux through logind, which asks those who hold it up.
const REBOOT: &[&str] = if cfg!(target_os = "macos") {
    &["/sbin/shutdown", "-r", "now"]
} else {
    &["systemctl", "reboot", "--no-ask-password"]
};

fn step<S: AsRef<str>>(name: &str, argv: &[S]) -> Step {
    Step {
        name: name.to_owned(),
        argv: argv.iter().map(|arg| arg.as_ref().to_owned()).collect(),
        cwd: None,
        env: BTreeMap::new(),
        secrets: Secrets::default(),
        user: None,
        activation: false,
        test: false,
    }
}

fn switch(host: &Host, dir: &Path) -> Step {
    let target = if host.host_type == "macos" {
        format!("{}@{}", host.user, host.hostname)
    } else {
        host.hostname.clone()
    };
    let attribute = host.rebuild.flake_attr.as_deref().unwrap_or(&target);
    rebuild(host, &["switch", "--flake", &format!("{}#{attribute}", dir.to_string_lossy())])
}

/// Every way to rebuild: the configured program and arguments hold for all of them.
fn rebuild(host: &Host, args: &[&str]) -> Step {
    let default = if host.host_type == "macos" { "home-manager" } else { "nixos-rebuild" };
    let mut argv = host.rebuild.program.clone().unwrap_or_else(|| vec![default.to_owned()]);
    argv.extend(args.iter().map(|&arg| arg.to_owned()));
    if let Some(format) = &host.rebuild.log_format {
        argv.extend(["--log-format".to_owned(), format.clone()]);
    }
    argv.extend(host.rebuild.extra_args.iter().cloned());
    step("switch", &argv)
}

fn script(path: &Path, dir: &Path) -> Step {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    Step { cwd: Some(dir.to_owned()), test: true, ..step(&name, &[path.to_string_lossy()]) }
}

/// Every name this agent answers to, for people.
pub fn names(host: &Host) -> Vec<&str> {
    let built_in = JOBS.iter().copied().chain(CONTROLS.iter().map(|(name, _)| *name));
    built_in.chain(host.commands.keys().map(String::as_str)).collect()
}
