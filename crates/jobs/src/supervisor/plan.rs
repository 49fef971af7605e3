//! The table of commands: what each name does.
//!
//! The table is closed. The caller chooses a name; the configuration and the state of the machine determine
//! what runs. Nothing in this module does any IO.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Settings;
use crate::activation::NO_UNIT_VARIABLE;
use crate::spec::{Secrets, Step, User};

mod login;
mod nix_access;
mod repository;
mod test_scripts;

#[cfg(test)]
pub(super) mod tests;

/// Settings for tests.
#[cfg(test)]
pub(crate) fn test_settings() -> Settings {
    tests::host(&[])
}

pub(super) use repository::fsck;
pub use repository::{RepoState, access};
use repository::{as_owner, as_root, checkout, flake, pull, repo_dir};
pub use test_scripts::{NotRun, TestScripts};

/// Built-in commands that run as jobs and that every host has.
pub const JOBS: &[&str] = &["clone", "pull", "switch", "pull-switch", "boot", "test", "rollback", "update"];

/// What a command does on this machine.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Programs, in order.
    pub steps: Vec<Step>,
    /// Folder to move away before the first program runs.
    pub set_aside: Option<PathBuf>,
    /// Files to remove before the first program runs.
    pub leftovers: Vec<PathBuf>,
    /// Folder to create before the first program runs, with mode 0700.
    pub private_dir: Option<PathBuf>,
    /// Time limit of the command. Default: no limit.
    pub timeout: Option<Duration>,
    /// True if `stop` is refused.
    pub unstoppable: bool,
    /// Lines for the log, before the first program runs.
    pub remarks: Vec<String>,
    /// The last program only builds a system, which is then activated on trial. Without a connection to the dashboard
    /// there can be no proof, and this step runs instead.
    pub untried: Option<Box<Step>>,
}

/// The state of the machine that a plan depends on.
#[derive(Debug, Default)]
pub struct Preflight {
    /// State of the repository's folder.
    pub repo: RepoState,
    /// A commit is checked out. An interrupted clone has none.
    pub checked_out: bool,
    /// Parent folder of the repository, with symbolic links resolved.
    pub above: Option<PathBuf>,
    /// Files of a killed git in the agent's own clone that block every later git.
    pub leftovers: Vec<PathBuf>,
    /// Remote branches of the agent's own clone whose names keep git from storing the configured one.
    pub blocking: Vec<String>,
    /// Owner of the repository in plain mode, if the job runs as root and the owner is another user.
    pub owner: Option<User>,
    /// What is in `hosts/<host>/tests`.
    pub tests: TestScripts,
    /// Files of the settings that cannot be read, as remarks.
    pub unreadable: Vec<String>,
}

/// Why a command cannot be run on this machine.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// There is no command of this name.
    #[error("unknown command `{0}`")]
    Unknown(String),
    /// The command needs a repository.
    #[error("no repository is configured; set repo.url or repo.dir in the configuration")]
    NoRepo,
    /// The command needs a repository that the agent may clone.
    #[error("no repository to clone is configured; set repo.url in the configuration")]
    NoUrl,
    /// The configuration does not allow reboots.
    #[error("this host is not rebooted from afar; set reboot.enable in its configuration to allow it")]
    RebootOff,
    /// home-manager has no boot loader.
    #[error("home-manager cannot prepare a system for the next boot; use `switch`")]
    NoBoot,
    /// The repository's folder holds other files.
    #[error("{} holds files but is not a git checkout; move them away or choose another repo.dir", .0.display())]
    Foreign(PathBuf),
    /// The command needs a checkout, but the folder does not exist.
    #[error("the repository {} is gone; run `pull` first, or check repo.dir", .0.display())]
    NoCheckout(PathBuf),
}

/// Makes the plan of the command `name`.
///
/// # Errors
/// [`PlanError`], with a message for people.
pub fn plan(settings: &Settings, name: &str, preflight: &Preflight) -> Result<Plan, PlanError> {
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
        "pull" => pull(settings, preflight),
        // The agent starts `clone` without a request, so it must not move an existing checkout.
        "clone" if settings.repo.url.is_none() => Err(PlanError::NoUrl),
        "clone" if preflight.repo == RepoState::Git && preflight.checked_out => Ok(Plan::default()),
        "clone" => pull(settings, preflight),
        "reboot" if !settings.reboot => Err(PlanError::RebootOff),
        "reboot" => Ok(Plan { steps: vec![step("reboot", REBOOT)], ..Plan::default() }),
        "switch" => {
            let dir = checkout(settings, preflight)?;
            Ok(with_switch(Plan::default(), settings, dir, preflight))
        }
        "boot" if is_home_manager(settings) => Err(PlanError::NoBoot),
        "boot" => {
            let step = from_flake(settings, "boot", checkout(settings, preflight)?, preflight);
            let remarks = preflight.unreadable.clone();
            Ok(Plan { steps: vec![as_root(step, preflight)], remarks, ..Plan::default() })
        }
        "pull-switch" => {
            let plan = pull(settings, preflight)?;
            Ok(with_switch(plan, settings, repo_dir(&settings.repo)?, preflight))
        }
        "test" => {
            let dir = checkout(settings, preflight)?;
            Ok(Plan {
                steps: preflight.tests.run.iter().map(|s| as_root(script(s, dir), preflight)).collect(),
                remarks: preflight.tests.remarks(),
                ..Plan::default()
            })
        }
        "rollback" => {
            let remarks = preflight.unreadable.clone();
            let step = rebuild(settings, "switch", &["--rollback"]);
            Ok(Plan { steps: vec![step], remarks, ..Plan::default() })
        }
        "update" => {
            let dir = checkout(settings, preflight)?;
            let mut step = Step { cwd: Some(dir.to_owned()), ..step("update", &["nix", "flake", "update"]) };
            step.secrets = nix_access::variables(&settings.rebuild);
            let (steps, remarks) = (vec![as_owner(step, dir, preflight)], preflight.unreadable.clone());
            Ok(Plan { steps, remarks, ..Plan::default() })
        }
        _ => Err(PlanError::Unknown(name.to_owned())),
    }
}

/// The program that reboots the machine. On Linux logind does it and respects inhibitors.
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

/// Whether rebuilds are those of Home Manager.
pub(super) fn is_home_manager(settings: &Settings) -> bool {
    settings.host_type == "macos" && settings.rebuild.program.is_none()
}

/// Adds the switch to the system in that folder. With a way back, the system is only built at first.
fn with_switch(mut plan: Plan, settings: &Settings, dir: &Path, preflight: &Preflight) -> Plan {
    let step = |action| as_root(from_flake(settings, action, dir, preflight), preflight);
    let is_tried = settings.rollback.confirm_timeout.is_some() && settings.host_type == "nixos";
    // For people it is one step, whether it is tried or not.
    let name = "switch".to_owned();
    plan.steps.push(Step { name, ..step(if is_tried { "build" } else { "switch" }) });
    plan.untried = is_tried.then(|| Box::new(step("switch")));
    plan.remarks.extend_from_slice(&preflight.unreadable);
    plan
}

/// A rebuild from the flake in `dir`. `action` is `switch`, `build` or `boot`.
fn from_flake(settings: &Settings, action: &str, dir: &Path, preflight: &Preflight) -> Step {
    let target = if settings.host_type == "macos" {
        format!("{}@{}", settings.user, settings.hostname)
    } else {
        settings.hostname.clone()
    };
    let attribute = settings.rebuild.flake_attr.as_deref().unwrap_or(&target);
    rebuild(settings, action, &["--flake", &format!("{}#{attribute}", flake(settings, dir, preflight))])
}

/// Makes the step of a rebuild, which has the name of its action. The configured program and arguments apply to all
/// kinds of rebuilds.
fn rebuild(settings: &Settings, action: &str, args: &[&str]) -> Step {
    let default = if settings.host_type == "macos" { "home-manager" } else { "nixos-rebuild" };
    let mut argv = settings.rebuild.program.clone().unwrap_or_else(|| vec![default.to_owned()]);
    argv.extend([action].iter().chain(args).map(|&arg| arg.to_owned()));
    if let Some(format) = &settings.rebuild.log_format {
        argv.extend(["--log-format".to_owned(), format.clone()]);
    }
    argv.extend(settings.rebuild.extra_args.iter().cloned());
    let mut step = Step { secrets: nix_access::variables(&settings.rebuild), ..step(action, &argv) };
    // No switch restarts the unit of a job, so the activation is safe there. Under the direct launcher the job is in
    // the unit of the agent, which a switch may restart.
    if settings.own_units && settings.host_type == "nixos" {
        step.env.insert(NO_UNIT_VARIABLE.to_owned(), "1".to_owned());
    }
    step
}

fn script(path: &Path, dir: &Path) -> Step {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    Step { cwd: Some(dir.to_owned()), test: true, ..step(&name, &[path.to_string_lossy()]) }
}
