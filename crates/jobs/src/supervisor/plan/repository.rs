//! The steps that change the repository, and how git is called.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nixfleet_os::address::Address;
use nixfleet_os::short;
use url::Url;

use super::login::Login;
use super::{Plan, PlanError, Preflight, step};
use crate::settings::{Repo, Settings};
use crate::spec::{Secrets, Step};

#[cfg(test)]
mod tests;

/// State of the repository's folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RepoState {
    /// It does not exist, or is empty.
    #[default]
    Missing,
    /// It is a git checkout.
    Git,
    /// It has a `.git` folder, but git says that it is not a repository.
    Corrupt,
    /// It holds other files.
    Foreign,
}

/// git settings for the agent's own clone. They take precedence over the settings of the host.
const OWN_CLONE: &[(&str, &str)] = &[
    // No file that git considers written is empty after a power failure.
    ("core.fsync", "all"),
    // No git process continues after the job.
    ("gc.autoDetach", "false"),
    ("maintenance.autoDetach", "false"),
    // A transfer ends when the server sends nothing for five minutes.
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "300"),
];

/// Fetches the branch. A submodule would be fetched from its old address; a step of its own does that.
const FETCH: &[&str] = &["fetch", "--progress", "--no-recurse-submodules"];

/// Fetches the files in Git LFS of the commit, and puts them in place of their pointers.
const LFS_PULL: &[&str] = &["lfs", "pull"];

/// ssh gives up when a connection takes longer than 30 s, or is silent for 30 s. By default it waits for
/// hours.
const SSH_TIMEOUTS: &str = "-o ConnectTimeout=30 -o ServerAliveInterval=10 -o ServerAliveCountMax=3";

pub(super) fn repo_dir(repo: &Repo) -> Result<&Path, PlanError> {
    repo.dir.as_deref().ok_or(PlanError::NoRepo)
}

/// The folder of the checkout, for a command that needs one.
pub(super) fn checkout<'a>(settings: &'a Settings, preflight: &Preflight) -> Result<&'a Path, PlanError> {
    let dir = repo_dir(&settings.repo)?;
    match preflight.repo {
        // A flake does not need git: a folder of files is enough.
        RepoState::Git | RepoState::Corrupt | RepoState::Foreign => Ok(dir),
        RepoState::Missing => Err(PlanError::NoCheckout(dir.to_owned())),
    }
}

/// Makes the plan of a pull. In isolated mode (`repo.url` is set) the agent owns its clone and makes it equal
/// to the branch. In plain mode it runs `git pull` in a folder that belongs to another user.
pub(super) fn pull(settings: &Settings, preflight: &Preflight) -> Result<Plan, PlanError> {
    let dir = repo_dir(&settings.repo)?;
    match (&settings.repo.url, preflight.repo) {
        (_, RepoState::Foreign) => Err(PlanError::Foreign(dir.to_owned())),
        (Some(url), _) => Ok(isolated(settings, preflight, dir, url.expose())),
        (None, RepoState::Missing) => Err(PlanError::NoCheckout(dir.to_owned())),
        (None, RepoState::Git | RepoState::Corrupt) => {
            let env = environment(settings, preflight);
            let mut steps = vec![git(dir, "pull", &["pull", "--progress"])];
            steps.extend(submodules(&settings.repo, dir));
            if settings.repo.lfs {
                steps.push(git(dir, "lfs", LFS_PULL));
            }
            let steps = steps.into_iter().map(|step| Step { env: env.clone(), ..step });
            Ok(Plan { steps: steps.map(|step| as_owner(step, dir, preflight)).collect(), ..Plan::default() })
        }
    }
}

fn isolated(settings: &Settings, preflight: &Preflight, dir: &Path, url: &str) -> Plan {
    let login = Login::of(url);
    let url = login.as_ref().map_or(url, |login| &login.url);
    let branch = settings.repo.branch.as_str();
    let tracking = format!("refs/remotes/origin/{branch}");
    let mut steps = match preflight.repo {
        // None of these steps needs what a clone writes last, so they complete an interrupted clone. `fetch`
        // comes first, because its messages about a bad folder are better than those of `config`.
        RepoState::Git => vec![
            git(dir, "fetch", &[FETCH, &["--", url, &format!("+refs/heads/{branch}:{tracking}")]].concat()),
            git(dir, "origin", &["config", "--replace-all", "remote.origin.url", url]),
            git(dir, "reset", &["reset", "--hard", &tracking]),
            // The folder of a former submodule is a repository, which git removes only with a second `-f`.
            git(dir, "clean", &["clean", if settings.repo.submodules { "-ffd" } else { "-fd" }]),
        ],
        _ => vec![git(dir, "clone", &["clone", "--progress", "--branch", branch, "--", url, "."])],
    };
    steps.extend(submodules(&settings.repo, dir));
    if settings.repo.submodules {
        let clean = ["submodule", "foreach", "--quiet", "--recursive", "git clean -ffd"];
        steps.push(git(dir, "submodule-clean", &clean));
    }
    if settings.repo.lfs {
        // In the clone itself, so that everybody's git knows that a file and its pointer are the same.
        steps.push(git(dir, "lfs-install", &["lfs", "install", "--local", "--skip-smudge"]));
        steps.push(git(dir, "lfs", LFS_PULL));
    }
    if preflight.repo == RepoState::Git && !preflight.blocking.is_empty() {
        // The clone only forgets these names: what they mean belongs to the server.
        let names = preflight.blocking.iter().map(String::as_str);
        let args: Vec<&str> =
            ["branch", "--delete", "--force", "--remotes", "--"].into_iter().chain(names).collect();
        steps.insert(0, git(dir, "branch", &args));
    }
    let given = OWN_CLONE.iter().map(|&(key, value)| (key.to_owned(), value.to_owned()));
    let asked = login.iter().flat_map(|login| login.config.iter().cloned());
    let mut env = environment(settings, preflight);
    env.extend(configuration(given.chain(asked)));
    let secrets = Secrets(login.map(|login| short::gather(login.variables)).unwrap_or_default());
    for step in &mut steps {
        (step.env, step.secrets) = (env.clone(), secrets.clone());
    }
    Plan {
        steps,
        set_aside: (preflight.repo == RepoState::Corrupt).then(|| dir.to_owned()),
        leftovers: preflight.leftovers.clone(),
        private_dir: Some(dir.to_owned()),
        ..Plan::default()
    }
}

/// The steps that make all submodules those of the commit. Their addresses may have changed with it.
fn submodules(repo: &Repo, dir: &Path) -> Vec<Step> {
    if !repo.submodules {
        return Vec::new();
    }
    vec![
        git(dir, "submodule-sync", &["submodule", "--quiet", "sync", "--recursive"]),
        git(dir, "submodules", &["submodule", "update", "--init", "--recursive", "--force", "--progress"]),
    ]
}

/// git's check of all objects of the agent's own clone.
pub(in crate::supervisor) fn fsck(settings: &Settings, dir: &Path) -> Step {
    let env = environment(settings, &Preflight::default());
    Step { env, ..git(dir, "fsck", &["fsck", "--full", "--no-dangling", "--no-progress"]) }
}

/// The flake of a checkout, for nix. A plain path means the files that git tracks, without submodules, and with
/// pointers in place of files in Git LFS.
pub(super) fn flake(settings: &Settings, dir: &Path, preflight: &Preflight) -> String {
    let Repo { submodules, lfs, .. } = settings.repo;
    let url =
        Url::from_file_path(dir).ok().filter(|_| (submodules || lfs) && preflight.repo != RepoState::Foreign);
    let Some(mut url) = url else { return dir.to_string_lossy().into_owned() };
    let wanted = [("submodules", submodules), ("lfs", lfs)];
    for (name, _) in wanted.iter().filter(|(_, wanted)| *wanted) {
        url.query_pairs_mut().append_pair(name, "1");
    }
    format!("git+{url}")
}

/// How git reaches the repository outside a job: the URL of `repo.url` without a login, and the environment
/// variables with the login.
pub fn access(settings: &Settings) -> (Option<String>, BTreeMap<String, String>) {
    let mut env = environment(settings, &Preflight::default());
    let url = settings.repo.url.as_ref().map(Address::expose);
    let Some(login) = url.and_then(|url| Login::of(url)) else {
        return (url.cloned(), env);
    };
    env.extend(configuration(login.config.into_iter()));
    env.extend(login.variables);
    (Some(login.url), env)
}

fn git(dir: &Path, name: &str, args: &[&str]) -> Step {
    step(name, &[&["git", "-C", &dir.to_string_lossy()], args].concat())
}

/// Lets a step run as the owner of the folder: the files stay theirs, and git uses their keys and settings.
/// Without another owner the step is not changed.
pub(super) fn as_owner(mut step: Step, dir: &Path, preflight: &Preflight) -> Step {
    let Some(owner) = &preflight.owner else { return step };
    let text = |path: &PathBuf| path.to_string_lossy().into_owned();
    let mut set = |name: &str, value: String| step.env.insert(name.to_owned(), value);
    // A user without a home must not use the settings in the home of the agent.
    set("HOME", owner.home.as_ref().map_or_else(|| "/".to_owned(), text));
    if let Some(name) = &owner.name {
        set("USER", name.clone());
        set("LOGNAME", name.clone());
    }
    // The owner may have no access to the supervisor's working directory.
    step.cwd = Some(dir.to_owned());
    step.user = Some(owner.clone());
    step
}

/// Lets a step read the folder of another user as root. git and libgit2 (used by nix) refuse that unless the
/// variable of sudo names the owner.
pub(super) fn as_root(mut step: Step, preflight: &Preflight) -> Step {
    if let Some(owner) = &preflight.owner {
        step.env.insert("SUDO_UID".to_owned(), owner.uid.to_string());
    }
    step
}

fn environment(settings: &Settings, preflight: &Preflight) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let mut set = |name: &str, value: String| drop(env.insert(name.to_owned(), value));
    // git and ssh must not ask questions, neither at a terminal nor in a window.
    set("GIT_TERMINAL_PROMPT", "0".to_owned());
    set("GIT_ASKPASS", String::new());
    set("SSH_ASKPASS_REQUIRE", "never".to_owned());
    // The reason of a failure is found by English texts.
    set("LC_ALL", "C".to_owned());
    // Only on a terminal does Git LFS say without this how far it is.
    if settings.repo.lfs {
        set("GIT_LFS_FORCE_PROGRESS", "1".to_owned());
    }
    // If the folder is not a repository any more, git must not use one in a parent folder.
    if let Some(above) = &preflight.above {
        set("GIT_CEILING_DIRECTORIES", above.to_string_lossy().into_owned());
    }
    // The variable would override the settings of the user, such as `core.sshCommand`, so it is set only with
    // a key. ssh has no terminal here, and without one it asks no questions.
    if let Some(key) = &settings.repo.ssh_key {
        // Another user has a known_hosts file of their own, and could not write the agent's.
        let known_hosts = match preflight.owner {
            None => {
                let file = settings.state_dir.join(KNOWN_HOSTS);
                format!(" -o UserKnownHostsFile={}", shell_quoted(&file))
            }
            Some(_) => String::new(),
        };
        let ssh = format!(
            "ssh -i {}{known_hosts} -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=accept-new {SSH_TIMEOUTS}",
            shell_quoted(key),
        );
        set("GIT_SSH_COMMAND", ssh);
    }
    env
}

/// File in the state folder with the keys of known SSH hosts.
const KNOWN_HOSTS: &str = "known_hosts";

/// git settings as environment variables, which take precedence over all configuration files.
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

/// Quotes a path for a shell. git passes `GIT_SSH_COMMAND` to a shell, and a configured path may hold spaces.
pub(super) fn shell_quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}
