//! The checkout of the fleet's configuration, and its remote.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::geteuid;

use nixfleet_config::Repo;
use nixfleet_jobs::git::{head_commit, short};
use nixfleet_jobs::supervisor::plan::access;
use nixfleet_os::address::public;
use nixfleet_os::bounded_read;
use nixfleet_os::subprocess::{self, ProgramError};

use super::users::name_of;
use super::{Finding, Subject, Verdict, fail, finding, ok, root_only, skipped, warning};

/// Time limit for git to ask the remote. Most answer within two seconds; `pull` itself waits longer.
const REMOTE: Duration = Duration::from_secs(15);

/// Exit code of `git ls-remote --exit-code` when the remote has no such reference.
const NO_SUCH_REF: i32 = 2;

/// Longest part of git's message that is shown, in characters.
const QUOTED: usize = 200;

/// Findings about the checkout, the ssh key and the remote.
pub(super) fn findings(subject: &Subject) -> Vec<Finding> {
    let repo = &subject.host.repo;
    let Some(dir) = &repo.dir else {
        let text = "none is configured: pull, switch, test and update are refused";
        return vec![skipped("repository", text)];
    };
    let checkout = checkout(subject, dir);
    let key =
        repo.ssh_key.as_deref().map(|path| ssh_key(path, subject.jobs_see_more(), pulls_as(subject, dir)));
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
    let text = format!("{}, {kind}, at {}", dir.display(), short(&commit).unwrap_or(commit));
    match fs::metadata(dir) {
        Ok(folder) => owned(subject, dir, &folder, text),
        // The folder was removed just now.
        Err(_) => ok(NAME, text),
    }
}

/// Judges the owner of a checkout. The agent's own clone must belong to root, because jobs run as root and git
/// refuses folders of other users (CVE-2022-24765). In plain mode git runs as the owner of the checkout.
fn owned(subject: &Subject, dir: &Path, folder: &Metadata, text: String) -> Finding {
    const NAME: &str = "repository";
    let isolated = subject.host.repo.url.is_some();
    if folder.uid() == 0 || (isolated && !subject.jobs_are_units()) || !jobs_run_as_root(subject) {
        return ok(NAME, text);
    }
    let owner = shown_user(folder.uid());
    let shown = dir.display();
    if isolated {
        warning(
            NAME,
            format!("{text}; it belongs to {owner}, and jobs are root's, for whom git refuses it"),
            format!("chown -R root: {shown}, or move it away, and the agent clones anew"),
        )
    } else {
        ok(NAME, format!("{text}; it belongs to {owner}, as whom git pull runs"))
    }
}

/// Whether jobs run as root and so can become the owner of a folder. Units run as root. Other jobs run as the
/// agent's user, which is assumed to be the caller.
fn jobs_run_as_root(subject: &Subject) -> bool {
    subject.jobs_are_units() || subject.is_root
}

/// Name and uid of a user, for people.
fn shown_user(uid: u32) -> String {
    match name_of(uid) {
        Some(name) => format!("{name} (uid {uid})"),
        None => format!("uid {uid}"),
    }
}

/// The user that git pull runs as, if that is neither root nor the caller: in plain mode the owner of the
/// folder.
fn pulls_as(subject: &Subject, dir: &Path) -> Option<u32> {
    let plain = subject.host.repo.url.is_none() && jobs_run_as_root(subject);
    let owner = fs::metadata(dir).ok().filter(|_| plain)?.uid();
    (owner != 0).then_some(owner)
}

/// Checks the key file. `reader` is the user that must be able to read it, if that is not root.
fn ssh_key(path: &Path, jobs_see_more: bool, reader: Option<u32>) -> Finding {
    const NAME: &str = "ssh key";
    let shown = path.display();
    let opened = bounded_read::open(path).and_then(|file| file.metadata());
    match (opened, reader) {
        (Err(err), _) if err.kind() == io::ErrorKind::PermissionDenied && jobs_see_more => {
            root_only(NAME, shown)
        }
        (Err(err), _) if err.kind() == io::ErrorKind::InvalidInput => {
            fail(NAME, format!("{shown} is no file"), "check repo.ssh_key")
        }
        (Err(err), _) => fail(NAME, format!("cannot read {shown}: {err}"), "check repo.ssh_key"),
        (Ok(file), Some(reader)) if file.uid() != reader => key_of_another(path, &file, reader),
        (Ok(file), _) => key_mode(path, file.mode() & 0o777),
    }
}

/// The finding for a key that does not belong to the user that git pull runs as.
fn key_of_another(path: &Path, file: &Metadata, reader: u32) -> Finding {
    const NAME: &str = "ssh key";
    let (shown, mode) = (path.display(), file.mode() & 0o777);
    let reader_shown = shown_user(reader);
    let text = format!("{shown} belongs to {}, mode {mode:04o}", shown_user(file.uid()));
    let fix = format!("chown {reader} {shown}; chmod 0400 {shown}");
    if mode & 0o044 == 0 {
        fail(NAME, format!("{text}; git pull runs as {reader_shown}, who cannot read it"), fix)
    } else {
        // ssh refuses such a mode only for keys of its own user. Groups are not checked here.
        warning(NAME, format!("{text}; git pull runs as {reader_shown}, who may not be able to read it"), fix)
    }
}

/// Judges the mode of a key: ssh refuses keys that other users can read.
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
    let owner = fs::metadata(dir).ok().filter(|_| host.repo.url.is_none()).map(|folder| folder.uid());
    // Other users do not have the owner's keys, and jobs of root do not have the keys of the caller's session.
    if let Some(owner) = owner.filter(|&owner| owner != geteuid().as_raw() || subject.jobs_see_more()) {
        let (owner, shown) = (shown_user(owner), dir.display());
        let text = format!("git pull runs as {owner}, the owner of {shown}, with their keys");
        let fix = format!("as {owner}: git -C {shown} ls-remote");
        return finding(NAME, Verdict::Skipped, text, fix);
    }
    if subject.jobs_see_more() {
        return root_only(NAME, "it as jobs do, which are root's");
    }
    let branch = format!("refs/heads/{}", host.repo.branch);
    let folder = dir.to_string_lossy();
    let (url, access) = access(&host.job_settings());
    let arguments = match &url {
        Some(url) => vec!["ls-remote", "--exit-code", "--", url, &branch],
        None => vec!["-C", &folder, "ls-remote", "--exit-code"],
    };
    let mut environment = subject.jobs_environment();
    environment.extend(access);
    // Jobs have no terminal on which ssh could ask for a password. The caller may have one, so forbid the question.
    environment.extend(
        [("SSH_ASKPASS", "false"), ("SSH_ASKPASS_REQUIRE", "force")].map(|(k, v)| (k.into(), v.into())),
    );
    let environment: Vec<(&str, &str)> = environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let answer = subprocess::outcome(Path::new("git"), &arguments, &environment, REMOTE);
    answered(&host.repo, answer)
}

/// Judges the answer of git.
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
        // So much output means that the remote answered.
        Err(ProgramError::TooMuch) => ok(NAME, format!("{shown} answers")),
        Err(err) => fail(NAME, format!("git {err}"), "is the network slow, or does a firewall swallow it?"),
    }
}

/// The most telling line of git's output, with passwords removed.
fn reason(said: &str, repo: &Repo) -> String {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.clone().next().unwrap_or("git failed without a word");
    let line = lines.find(|line| line.starts_with("fatal: ")).unwrap_or(first);
    let line = match (repo.url.as_ref(), repo.public_url()) {
        (Some(url), Some(public)) => line.replace(url.expose().as_str(), &public),
        _ => line.to_owned(),
    };
    // git may print a URL in a form of its own.
    let hidden = line.split(' ').map(|word| match word.find("://") {
        // A quotation mark may stand before the scheme.
        Some(at) => {
            let (scheme, _) = word.split_at(at);
            let begin = scheme.trim_end_matches(|letter: char| letter.is_ascii_alphanumeric()).len();
            let (before, address) = word.split_at(begin);
            format!("{before}{}", public(address))
        }
        None => word.to_owned(),
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
