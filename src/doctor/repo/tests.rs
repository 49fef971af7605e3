use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use nixfleet_os::address::Address;

use super::*;
use crate::doctor::Verdict;
use crate::doctor::tests::subject;

#[track_caller]
fn check(found: &Finding, verdict: Verdict, words: &[&str]) {
    assert_eq!(found.verdict, verdict, "{found:?}");
    for word in words {
        assert!(found.text.contains(word) || found.fix.contains(word), "`{word}` is not in {found:?}");
    }
}

/// A repository with a commit on `main`.
fn repository(path: &Path) {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(path).args(["-c", "user.name=x", "-c", "user.email=x@example.org"]);
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    fs::create_dir_all(path).unwrap();
    git(&["init", "--quiet", "--initial-branch", "main"]);
    git(&["commit", "--quiet", "--allow-empty", "--message", "first"]);
}

#[test]
fn a_checkout_is_missing_foreign_or_at_a_commit() {
    let folder = tempfile::tempdir().unwrap();
    let mut subject = subject(folder.path());
    check(&findings(&subject)[0], Verdict::Skipped, &["none is configured"]);
    let dir = folder.path().join("checkout");
    subject.host.repo.dir = Some(dir.clone());
    check(&checkout(&subject, &dir), Verdict::Fail, &["is not there yet", "set repo.url"]);
    subject.host.repo.url = Some(Address::new("https://git.example.org/fleet.git".to_owned()));
    check(&checkout(&subject, &dir), Verdict::Warning, &["clones it by itself"]);
    fs::create_dir(&dir).unwrap();
    check(&checkout(&subject, &dir), Verdict::Warning, &["is not there yet"]);
    fs::write(dir.join("file"), "").unwrap();
    check(&checkout(&subject, &dir), Verdict::Fail, &["holds files but is not a git checkout"]);
    subject.host.repo.url = None;
    check(&checkout(&subject, &dir), Verdict::Warning, &["switch works, pull does not"]);
    fs::create_dir(dir.join(".git")).unwrap();
    check(&checkout(&subject, &dir), Verdict::Warning, &["HEAD names no commit"]);
    fs::remove_dir(dir.join(".git")).unwrap();
    repository(&dir);
    let commit = head_commit(&dir).unwrap();
    check(&checkout(&subject, &dir), Verdict::Ok, &["somebody's", &commit[..7]]);
}

#[test]
fn the_remote_is_asked_for_the_branch_as_jobs_would() {
    let folder = tempfile::tempdir().unwrap();
    let mut subject = subject(folder.path());
    let origin = folder.path().join("origin");
    repository(&origin);
    subject.host.repo.url = Some(Address::new(format!("file://{}", origin.display())));
    let dir = folder.path().join("checkout");
    check(&remote(&subject, &dir), Verdict::Ok, &["has the branch main"]);
    subject.host.repo.branch = "other".to_owned();
    check(&remote(&subject, &dir), Verdict::Fail, &["no branch other", "NIXFLEET_BRANCH"]);
    subject.host.repo.url = Some(Address::new(format!("file://{}/nothing", origin.display())));
    check(&remote(&subject, &dir), Verdict::Fail, &["nothing", "check repo.url"]);
    subject.host.jobs.launcher = nixfleet_config::LauncherKind::Systemd;
    subject.is_root = false;
    check(&remote(&subject, &dir), Verdict::Skipped, &["run it as root"]);
    // A unit with a PATH that has no git.
    subject.is_root = true;
    let path = [("PATH".to_owned(), folder.path().display().to_string())].into();
    subject.job_unit = Some(crate::unit::Unit { environment: path, ..Default::default() });
    check(&remote(&subject, &dir), Verdict::Fail, &["git is not on the PATH of jobs"]);
}

#[test]
fn what_git_says_is_shown_without_passwords_and_with_a_fix() {
    let repo = Repo {
        url: Some(Address::new("https://me:secret@git.example.org/fleet.git".to_owned())),
        dir: None,
        branch: "main".to_owned(),
        ssh_key: None,
        submodules: false,
        lfs: false,
    };
    for (said, words) in [
        ("fatal: could not read Username for 'https://git.example.org'", "repo.ssh_key"),
        ("git@x: Permission denied (publickey).\r\nfatal: Could not read from remote", "NIXFLEET_SSH_KEY"),
        ("Host key verification failed.\nfatal: Could not read", "known_hosts"),
        (
            "fatal: unable to access 'https://me:secret@git.example.org/x/': Could not resolve host: x",
            "resolver",
        ),
        ("fatal: repository 'https://me:secret@git.example.org/fleet.git' not found", "check repo.url"),
        ("error: odd", "by hand"),
        ("", "without a word"),
    ] {
        let found = answered(&repo, Ok((ExitStatus::from_raw(128 << 8), said.to_owned())));
        check(&found, Verdict::Fail, &[words]);
        assert!(!format!("{found:?}").contains("secret"), "{found:?}");
    }
    check(&answered(&repo, Err(ProgramError::TooSlow(REMOTE))), Verdict::Fail, &["took longer than 15s"]);
}

#[test]
fn keys_that_others_can_read_are_refused() {
    for (mode, verdict) in
        [(0o400, Verdict::Ok), (0o600, Verdict::Ok), (0o640, Verdict::Fail), (0o644, Verdict::Fail)]
    {
        check(&key_mode(Path::new("/k"), mode), verdict, &[&format!("{mode:04o}")]);
    }
    check(
        &ssh_key(Path::new("/nonexistent/key"), false, None),
        Verdict::Fail,
        &["/nonexistent/key", "repo.ssh_key"],
    );
    check(&ssh_key(Path::new("/"), false, None), Verdict::Fail, &["is no file"]);
}

/// User ids that no host has.
const STRANGER: u32 = 54_321;
const ANOTHER: u32 = 54_322;

/// Changes the owner of a file. Prints a note and returns false if the test does not run as root.
fn give_away(path: &Path, to: u32) -> bool {
    let given = rustix::process::geteuid().is_root();
    if given {
        std::os::unix::fs::chown(path, Some(to), None).unwrap();
    } else {
        eprintln!("skipped: giving a folder away needs root");
    }
    given
}

#[test]
fn somebodys_checkout_is_fine_in_plain_mode_and_the_agents_own_has_to_be_roots() {
    let folder = tempfile::tempdir().unwrap();
    let mut subject = subject(folder.path());
    let dir = folder.path().join("checkout");
    repository(&dir);
    if !give_away(&dir, STRANGER) {
        return;
    }
    for launcher in [nixfleet_config::LauncherKind::Direct, nixfleet_config::LauncherKind::Systemd] {
        subject.host.jobs.launcher = launcher;
        subject.host.repo.url = None;
        let found = checkout(&subject, &dir);
        check(&found, Verdict::Ok, &["somebody's", "belongs to uid 54321, as whom git pull runs"]);
        // The caller is root and does not have the owner's keys.
        check(&remote(&subject, &dir), Verdict::Skipped, &["runs as uid 54321", "as uid 54321: git -C "]);
    }
    subject.host.repo.url = Some(Address::new("https://git.example.org/fleet.git".to_owned()));
    let found = checkout(&subject, &dir);
    check(&found, Verdict::Warning, &["for whom git refuses it", "chown -R root: ", "clones anew"]);
    assert!(!found.fix.contains("safe.directory"), "{found:?}");
    give_away(&dir, 0);
    check(&checkout(&subject, &dir), Verdict::Ok, &["the agent's own"]);
}

#[test]
fn a_key_has_to_be_for_whom_git_pull_runs_as() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let mut subject = subject(folder.path());
    let (dir, key) = (folder.path().join("checkout"), folder.path().join("key"));
    fs::create_dir(&dir).unwrap();
    fs::write(&key, "").unwrap();
    subject.host.repo.dir = Some(dir.clone());
    subject.host.repo.ssh_key = Some(key.clone());
    if !give_away(&dir, STRANGER) {
        return;
    }
    let words: &[&str] = &["git pull runs as uid 54321, who cannot read it", "chown 54321 /"];
    let (ok, fail) = (Verdict::Ok, Verdict::Fail);
    for (folder, key_owner, mode, verdict, words) in [
        (STRANGER, 0, 0o400, fail, words),
        (STRANGER, ANOTHER, 0o600, fail, words),
        (STRANGER, ANOTHER, 0o440, Verdict::Warning, &["may not be able to read it", "chown 54321 /"]),
        (STRANGER, STRANGER, 0o400, ok, &["mode 0400"]),
        (STRANGER, STRANGER, 0o440, fail, &["others can read"]),
        // Root can read every file.
        (0, ANOTHER, 0o400, ok, &["mode 0400"]),
    ] {
        give_away(&dir, folder);
        give_away(&key, key_owner);
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        check(&findings(&subject)[1], verdict, words);
    }
    // The agent's own clone is made by root, whoever owns the folder.
    give_away(&dir, STRANGER);
    subject.host.repo.url = Some(Address::new("https://git.example.org/fleet.git".to_owned()));
    check(&findings(&subject)[1], ok, &["mode 0400"]);
}
