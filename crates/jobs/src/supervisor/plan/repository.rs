//! What becomes of the repository, and how git is called.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::login::Login;
use super::{Plan, PlanError, Preflight, step};
use crate::settings::{Repo, Settings};
use crate::spec::{Secrets, Step};

#[cfg(test)]
mod tests;

/// What the repository's folder looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RepoState {
    /// Nothing there, or an empty folder.
    #[default]
    Missing,
    /// A git checkout.
    Git,
    /// Was a git checkout; now git itself says that it is none.
    Corrupt,
    /// Files that are no checkout.
    Foreign,
}

/// Settings for a clone of the agent's own, which the operator's do not change.
const OWN_CLONE: &[(&str, &str)] = &[
    // A power cut leaves no file empty that git takes for written.
    ("core.fsync", "all"),
    // Nothing of git goes on behind the job's back.
    ("gc.autoDetach", "false"),
    ("maintenance.autoDetach", "false"),
    // A server that says nothing for five minutes says nothing more.
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "300"),
];

/// A connection that is not there after half a minute, or says nothing for as long, is given up; by
/// itself, ssh waits for hours.
const SSH_PATIENCE: &str = "-o ConnectTimeout=30 -o ServerAliveInterval=10 -o ServerAliveCountMax=3";

pub(super) fn repo_dir(repo: &Repo) -> Result<&Path, PlanError> {
    repo.dir.as_deref().ok_or(PlanError::NoRepo)
}

/// The folder for a command that needs one.
pub(super) fn checkout<'a>(settings: &'a Settings, survey: &Preflight) -> Result<&'a Path, PlanError> {
    let dir = repo_dir(&settings.repo)?;
    match survey.repo {
        // A flake needs no git: a plain folder of files will do.
        RepoState::Git | RepoState::Corrupt | RepoState::Foreign => Ok(dir),
        RepoState::Missing => Err(PlanError::NoCheckout(dir.to_owned())),
    }
}

/// Isolated mode (a repository URL is set, T09) owns its clone and makes it equal to the branch;
/// plain mode pulls in a folder that belongs to somebody else.
pub(super) fn pull(settings: &Settings, survey: &Preflight) -> Result<Plan, PlanError> {
    let dir = repo_dir(&settings.repo)?;
    match (&settings.repo.url, survey.repo) {
        (_, RepoState::Foreign) => Err(PlanError::Foreign(dir.to_owned())),
        (Some(url), _) => Ok(isolated(settings, survey, dir, url)),
        (None, RepoState::Missing) => Err(PlanError::NoCheckout(dir.to_owned())),
        (None, RepoState::Git | RepoState::Corrupt) => {
            let env = environment(settings, survey);
            let step = Step { env, ..git(dir, "pull", &["pull"]) };
            Ok(Plan { steps: vec![as_owner(step, dir, survey)], ..Plan::default() })
        }
    }
}

fn isolated(settings: &Settings, survey: &Preflight, dir: &Path, url: &str) -> Plan {
    let login = Login::of(url);
    let url = login.as_ref().map_or(url, |login| &login.url);
    let branch = settings.repo.branch.as_str();
    let tracking = format!("refs/remotes/origin/{branch}");
    let mut steps = match survey.repo {
        // None of them needs what a clone writes last: one that was cut short is completed. What git has
        // against the folder, `fetch` says better than `config`.
        RepoState::Git => vec![
            git(dir, "fetch", &["fetch", "--", url, &format!("+refs/heads/{branch}:{tracking}")]),
            git(dir, "origin", &["config", "--replace-all", "remote.origin.url", url]),
            git(dir, "reset", &["reset", "--hard", &tracking]),
            git(dir, "clean", &["clean", "-fd"]),
        ],
        _ => vec![git(dir, "clone", &["clone", "--branch", branch, "--", url, "."])],
    };
    let given = OWN_CLONE.iter().map(|&(key, value)| (key.to_owned(), value.to_owned()));
    let asked = login.iter().flat_map(|login| login.config.iter().cloned());
    let mut env = environment(settings, survey);
    env.extend(configuration(given.chain(asked)));
    let secrets = Secrets(login.map(|login| login.variables.into_iter().collect()).unwrap_or_default());
    for step in &mut steps {
        (step.env, step.secrets) = (env.clone(), secrets.clone());
    }
    Plan {
        steps,
        set_aside: (survey.repo == RepoState::Corrupt).then(|| dir.to_owned()),
        leftovers: survey.leftovers.clone(),
        private_dir: Some(dir.to_owned()),
        ..Plan::default()
    }
}

/// How git reaches the repository from outside a job: the address in `repo.url` without a login, and
/// the environment, which has it.
pub fn access(settings: &Settings) -> (Option<String>, BTreeMap<String, String>) {
    let mut env = environment(settings, &Preflight::default());
    let Some(login) = settings.repo.url.as_deref().and_then(Login::of) else {
        return (settings.repo.url.clone(), env);
    };
    env.extend(configuration(login.config.into_iter()));
    env.extend(login.variables);
    (Some(login.url), env)
}

fn git(dir: &Path, name: &str, args: &[&str]) -> Step {
    step(name, &[&["git", "-C", &dir.to_string_lossy()], args].concat())
}

/// A step that works in the folder of somebody else, as whom it is: the files stay theirs, and git
/// uses their keys and settings. A step of the agent's own user stays what it is.
pub(super) fn as_owner(mut step: Step, dir: &Path, survey: &Preflight) -> Step {
    let Some(owner) = &survey.owner else { return step };
    let text = |path: &PathBuf| path.to_string_lossy().into_owned();
    let mut set = |name: &str, value: String| step.env.insert(name.to_owned(), value);
    // Somebody without a home must not look for settings in the agent's.
    set("HOME", owner.home.as_ref().map_or_else(|| "/".to_owned(), text));
    if let Some(name) = &owner.name {
        set("USER", name.clone());
        set("LOGNAME", name.clone());
    }
    // The supervisor's own folder may be closed to them.
    step.cwd = Some(dir.to_owned());
    step.user = Some(owner.clone());
    step
}

/// A step that reads the folder of somebody else as root. git and libgit2, which nix uses, refuse
/// that unless sudo's variable names the owner.
pub(super) fn as_root(mut step: Step, survey: &Preflight) -> Step {
    if let Some(owner) = &survey.owner {
        step.env.insert("SUDO_UID".to_owned(), owner.uid.to_string());
    }
    step
}

fn environment(settings: &Settings, survey: &Preflight) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let mut set = |name: &str, value: String| drop(env.insert(name.to_owned(), value));
    // Nobody is there to answer a question, neither at a terminal nor in a window.
    set("GIT_TERMINAL_PROMPT", "0".to_owned());
    set("GIT_ASKPASS", String::new());
    set("SSH_ASKPASS_REQUIRE", "never".to_owned());
    // The line that says most is picked by its words.
    set("LC_ALL", "C".to_owned());
    // When this is no repository any more, one that it lies in is not meant.
    if let Some(above) = &survey.above {
        set("GIT_CEILING_DIRECTORIES", above.to_string_lossy().into_owned());
    }
    // Without a key here the settings of the user hold, `core.sshCommand` among them, which this
    // variable would override. ssh has no terminal, and without one it asks nothing.
    if let Some(key) = &settings.repo.ssh_key {
        // Somebody else has known hosts of their own, and could not write the agent's.
        let known_hosts = match survey.owner {
            None => {
                let file = settings.state_dir.join(KNOWN_HOSTS);
                format!(" -o UserKnownHostsFile={}", shell_quoted(&file))
            }
            Some(_) => String::new(),
        };
        let ssh = format!(
            "ssh -i {}{known_hosts} -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=accept-new {SSH_PATIENCE}",
            shell_quoted(key),
        );
        set("GIT_SSH_COMMAND", ssh);
    }
    env
}

/// File in the state folder with the keys of the hosts that git went to.
const KNOWN_HOSTS: &str = "known_hosts";

/// Settings of git as variables, which count for more than any file.
fn configuration(settings: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let mut count = 0;
    for (key, value) in settings {
        env.insert(format!("GIT_CONFIG_KEY_{count}"), key);
        env.insert(format!("GIT_CONFIG_VALUE_{count}"), value);
        count += 1;
    }
    env.insert("GIT_CONFIG_COUNT".to_owned(), count.to_string());
    env
}

/// git gives `GIT_SSH_COMMAND` to a shell; the paths come from the configuration and may hold spaces.
pub(super) fn shell_quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}
