//! The checkout of the fleet's configuration, and where it comes from.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use super::{Finding, Subject, Verdict, fail, finding, ok, root_only, skipped, warning};
use crate::command::access;
use crate::config::Repo;
use crate::facts::generation::SHOWN;
use crate::facts::head_commit;
use crate::program::{self, ProgramError};

/// For git to ask the other side. Most answer within two seconds; `pull` itself waits longer.
const REMOTE: Duration = Duration::from_secs(15);

/// Exit code of `git ls-remote --exit-code` when nothing there has the name.
const NO_SUCH_REF: i32 = 2;

/// Longest words of git's that are shown, in characters.
const QUOTED: usize = 200;

/// Checkout, key, remote.
pub(super) fn look(subject: &Subject) -> Vec<Finding> {
    let repo = &subject.host.repo;
    let Some(dir) = &repo.dir else {
        let text = "none is configured: pull, switch, test and update are refused";
        return vec![skipped("repository", text)];
    };
    let checkout = checkout(subject, dir);
    let key = repo.ssh_key.as_deref().map(|path| ssh_key(path, subject.jobs_see_more()));
    vec![checkout].into_iter().chain(key).chain([remote(subject, dir)]).collect()
}

fn checkout(subject: &Subject, dir: &Path) -> Finding {
    const NAME: &str = "repository";
    let isolated = subject.host.repo.url.is_some();
    let shown = dir.display();
    match fs::read_dir(dir) {
        Err(err) if err.kind() == io::ErrorKind::PermissionDenied => root_only(NAME, shown),
        Err(err) if err.kind() == io::ErrorKind::NotFound => missing(dir, isolated),
        Err(err) => fail(NAME, format!("cannot look at {shown}: {err}"), "check repo.dir"),
        Ok(mut items) => match (dir.join(".git").exists(), items.next().is_none()) {
            (true, _) => found(subject, dir),
            (false, true) => missing(dir, isolated),
            (false, false) if isolated => fail(
                NAME,
                format!("{shown} holds files but is not a git checkout"),
                "move them away, or set repo.dir to another folder",
            ),
            (false, false) => warning(
                NAME,
                format!("{shown} is not a git checkout: switch works, pull does not"),
                "set repo.url, and the agent has a checkout of its own",
            ),
        },
    }
}

fn missing(dir: &Path, isolated: bool) -> Finding {
    const NAME: &str = "repository";
    let text = format!("{} is not there yet", dir.display());
    if isolated {
        warning(
            NAME,
            text,
            "the agent clones it by itself, or ask for pull; see `remote` for what is in the way",
        )
    } else {
        fail(NAME, text, "check repo.dir, or set repo.url, and the agent clones it")
    }
}

fn found(subject: &Subject, dir: &Path) -> Finding {
    const NAME: &str = "repository";
    let kind = if subject.host.repo.url.is_some() { "the agent's own" } else { "somebody's" };
    let Some(commit) = head_commit(dir) else {
        return warning(
            NAME,
            format!("{}: HEAD names no commit", dir.display()),
            "git status there says more; with repo.url the folder may be removed, and pull clones anew",
        );
    };
    let text = format!("{}, {kind}, at {}", dir.display(), &commit[..SHOWN.min(commit.len())]);
    match fs::metadata(dir).ok().filter(|folder| subject.jobs_are_units() && refuses(folder)) {
        Some(folder) => warning(
            NAME,
            format!(
                "{text}; it belongs to user {}, and jobs are root's, for whom git refuses it",
                folder.uid()
            ),
            "set repo.url, or programs.git.config.safe.directory",
        ),
        None => ok(NAME, text),
    }
}

/// git runs for its folder's owner only (CVE-2022-24765).
fn refuses(folder: &Metadata) -> bool {
    folder.uid() != 0
}

fn ssh_key(path: &Path, jobs_see_more: bool) -> Finding {
    const NAME: &str = "ssh key";
    let shown = path.display();
    let opened = File::open(path).and_then(|file| file.metadata());
    match opened {
        Err(err) if err.kind() == io::ErrorKind::PermissionDenied && jobs_see_more => root_only(NAME, shown),
        Err(err) => fail(NAME, format!("cannot read {shown}: {err}"), "check repo.ssh_key"),
        Ok(file) if !file.is_file() => fail(NAME, format!("{shown} is no file"), "check repo.ssh_key"),
        Ok(file) => key_mode(path, file.permissions().mode() & 0o777),
    }
}

/// ssh refuses keys that others can read.
fn key_mode(path: &Path, mode: u32) -> Finding {
    let shown = path.display();
    if mode & 0o077 == 0 {
        ok("ssh key", format!("{shown}, mode {mode:04o}"))
    } else {
        let text = format!("{shown} has mode {mode:04o}, and ssh uses no key that others can read");
        fail("ssh key", text, format!("chmod 0400 {shown}"))
    }
}

fn remote(subject: &Subject, dir: &Path) -> Finding {
    const NAME: &str = "remote";
    let host = &subject.host;
    if subject.jobs_see_more() {
        return root_only(NAME, "it as jobs do, which are root's");
    }
    let owner = fs::metadata(dir).map(|meta| meta.uid());
    if host.repo.url.is_none() && owner.is_ok_and(|owner| owner != rustix::process::geteuid().as_raw()) {
        let text = format!("git pull runs as the owner of {}, with their keys", dir.display());
        return finding(NAME, Verdict::Skipped, text, "run doctor as that user");
    }
    let branch = format!("refs/heads/{}", host.repo.branch);
    let folder = dir.to_string_lossy();
    let (url, access) = access(host);
    let arguments = match &url {
        Some(url) => vec!["ls-remote", "--exit-code", "--", url, &branch],
        None => vec!["-C", &folder, "ls-remote", "--exit-code"],
    };
    let mut environment = subject.jobs_environment();
    environment.extend(access);
    // Jobs have no terminal on which ssh could ask for anything; who runs this one has, and is not asked either.
    environment.extend(
        [("SSH_ASKPASS", "false"), ("SSH_ASKPASS_REQUIRE", "force")].map(|(k, v)| (k.into(), v.into())),
    );
    let environment: Vec<(&str, &str)> = environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let answer = program::outcome(Path::new("git"), &arguments, &environment, REMOTE);
    answered(&host.repo, answer)
}

/// What git's answer means.
fn answered(repo: &Repo, answer: Result<(ExitStatus, String), ProgramError>) -> Finding {
    const NAME: &str = "remote";
    let shown = repo.public_url().unwrap_or_else(|| "the checkout's own".to_owned());
    let branch = &repo.branch;
    match answer {
        Ok((status, _)) if status.success() && repo.url.is_some() => {
            ok(NAME, format!("{shown} has the branch {branch}"))
        }
        Ok((status, _)) if status.success() => ok(NAME, format!("{shown} answers")),
        Ok((status, _)) if status.code() == Some(NO_SUCH_REF) => {
            let text = format!("{shown} answers, but has no branch {branch}");
            fail(NAME, text, "check NIXFLEET_BRANCH")
        }
        Ok((_, said)) => fail(NAME, format!("{shown}: {}", reason(&said, repo)), remote_fix(&said)),
        Err(ProgramError::Io(err)) if err.kind() == io::ErrorKind::NotFound => {
            fail(NAME, "git is not on the PATH of jobs", "install git, for all users of this host")
        }
        // With an answer of so many branches, it is there.
        Err(ProgramError::TooMuch) => ok(NAME, format!("{shown} answers")),
        Err(err) => fail(NAME, format!("git {err}"), "is the network slow, or does a firewall swallow it?"),
    }
}

/// The line of git's that says most, without what may be a password.
fn reason(said: &str, repo: &Repo) -> String {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.clone().next().unwrap_or("git failed without a word");
    let line = lines.find(|line| line.starts_with("fatal: ")).unwrap_or(first);
    let line = match (repo.url.as_deref(), repo.public_url()) {
        (Some(url), Some(public)) => line.replace(url, &public),
        _ => line.to_owned(),
    };
    // git asks for what is missing by a URL of its own making.
    let hidden = line.split(' ').map(|word| match (word.find("://"), word.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => format!("{}{}", &word[..scheme + 3], &word[at + 1..]),
        _ => word.to_owned(),
    });
    hidden.collect::<Vec<_>>().join(" ").chars().take(QUOTED).collect()
}

fn remote_fix(said: &str) -> &'static str {
    let has = |texts: &[&str]| texts.iter().any(|text| said.contains(text));
    if has(&["could not read Username", "Authentication failed", "Permission denied (publickey"]) {
        "give this host a key that may read it: repo.ssh_key, NIXFLEET_SSH_KEY"
    } else if has(&["Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED"]) {
        "the server has another key than before: if that is right, remove the old one from known_hosts in the state folder"
    } else if has(&["Could not resolve host"]) {
        "check the name in repo.url, and the host's resolver"
    } else if has(&["not found", "does not exist", "does not appear to be a git repository"]) {
        "check repo.url"
    } else {
        "try it by hand: git ls-remote"
    }
}

#[cfg(test)]
mod tests;
