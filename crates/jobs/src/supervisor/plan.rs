//! The table of commands: what each name does.
//!
//! The table is closed. A dashboard chooses a name; what runs is decided here from the
//! configuration and from what the machine looks like. Nothing in here does any IO.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Settings;
use crate::spec::{Secrets, Step, User};
use repository::{as_owner, as_root, checkout, pull, repo_dir};

pub use repository::RepoState;
pub use repository::access;

mod login;
mod repository;

#[cfg(test)]
mod tests;

/// Built-in commands that run as jobs (T03, T09).
pub const JOBS: &[&str] = &["clone", "pull", "switch", "pull-switch", "test", "rollback", "update"];

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
pub struct Preflight {
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
pub fn plan(settings: &Settings, name: &str, survey: &Preflight) -> Result<Plan, PlanError> {
    if let Some(custom) = settings.commands.get(name) {
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
        "pull" => pull(settings, survey),
        // What the agent starts by itself must not move a checkout that is there.
        "clone" if settings.repo.url.is_none() => Err(PlanError::NoUrl),
        "clone" if survey.repo == RepoState::Git && survey.checked_out => Ok(Plan::default()),
        "clone" => pull(settings, survey),
        "reboot" if !settings.reboot => Err(PlanError::RebootOff),
        "reboot" => Ok(Plan { steps: vec![step("reboot", REBOOT)], ..Plan::default() }),
        "switch" => {
            let step = as_root(switch(settings, checkout(settings, survey)?), survey);
            Ok(Plan { steps: vec![step], ..Plan::default() })
        }
        "pull-switch" => {
            let mut plan = pull(settings, survey)?;
            plan.steps.push(as_root(switch(settings, repo_dir(&settings.repo)?), survey));
            Ok(plan)
        }
        "test" => {
            let dir = checkout(settings, survey)?;
            Ok(Plan {
                steps: survey.test_scripts.iter().map(|s| as_root(script(s, dir), survey)).collect(),
                ..Plan::default()
            })
        }
        "rollback" => {
            Ok(Plan { steps: vec![rebuild(settings, &["switch", "--rollback"])], ..Plan::default() })
        }
        "update" => {
            let dir = checkout(settings, survey)?;
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

fn switch(settings: &Settings, dir: &Path) -> Step {
    let target = if settings.host_type == "macos" {
        format!("{}@{}", settings.user, settings.hostname)
    } else {
        settings.hostname.clone()
    };
    let attribute = settings.rebuild.flake_attr.as_deref().unwrap_or(&target);
    rebuild(settings, &["switch", "--flake", &format!("{}#{attribute}", dir.to_string_lossy())])
}

/// Every way to rebuild: the configured program and arguments hold for all of them.
fn rebuild(settings: &Settings, args: &[&str]) -> Step {
    let default = if settings.host_type == "macos" { "home-manager" } else { "nixos-rebuild" };
    let mut argv = settings.rebuild.program.clone().unwrap_or_else(|| vec![default.to_owned()]);
    argv.extend(args.iter().map(|&arg| arg.to_owned()));
    if let Some(format) = &settings.rebuild.log_format {
        argv.extend(["--log-format".to_owned(), format.clone()]);
    }
    argv.extend(settings.rebuild.extra_args.iter().cloned());
    step("switch", &argv)
}

fn script(path: &Path, dir: &Path) -> Step {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    Step { cwd: Some(dir.to_owned()), test: true, ..step(&name, &[path.to_string_lossy()]) }
}
