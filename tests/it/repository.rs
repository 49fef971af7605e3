//! How jobs keep the checkout of the repository, with real git and without a dashboard.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::command::{commit, git};
use crate::rig::program;
use crate::skipped::skipped;
use host::{Host, NOBODY_KNOWN, give, is_root};

mod contents;
mod damage;
mod host;
mod password;
mod plain;

/// Sets the time of a file to one hour ago.
fn age(path: &Path) {
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    File::options().write(true).open(path).unwrap().set_modified(hour_ago).unwrap();
}

#[test]
fn a_corrupt_clone_is_moved_aside_and_cloned_anew() {
    let host = Host::new();
    host.run("pull").ok();
    fs::write(host.repo().join("precious"), "mine").unwrap();
    fs::write(host.repo().join(".git/HEAD"), "").unwrap();
    let done = host.run("pull").ok();
    assert!(done.result.message.contains("Pull: Updated to"), "{}", done.result.message);
    host.assert_equal_to_origin();
    assert_eq!(fs::metadata(host.repo()).unwrap().permissions().mode() & 0o777, 0o700);
    let aside = host.path(&format!("state/repo.corrupt-{}", done.id));
    assert_eq!(host.set_aside(), std::slice::from_ref(&aside));
    assert_eq!(fs::read_to_string(aside.join("precious")).unwrap(), "mine", "nothing is lost");
    assert!(
        done.log.contains(&format!("it now is {}, which may be removed", aside.display())),
        "{}",
        done.log
    );
}

#[test]
fn a_new_clone_that_fails_is_no_obstacle_for_the_next() {
    let host = Host::new();
    host.run("pull").ok();
    fs::remove_file(host.repo().join(".git/HEAD")).unwrap();
    fs::rename(host.origin(), host.path("away")).unwrap();
    host.run("pull").failed("does not appear to be a git repository");
    fs::rename(host.path("away"), host.origin()).unwrap();
    host.run("pull").ok();
    host.assert_equal_to_origin();
    assert_eq!(host.set_aside().len(), 1);
}

#[test]
fn a_clone_stays_where_it_is_unless_git_itself_denies_it() {
    let mut host = Host::new();
    host.run("pull").ok();
    let programs = host.path("programs");
    fs::create_dir(&programs).unwrap();
    let fake = programs.join("git");
    host.set("PATH", format!("{}:{}", programs.display(), std::env::var("PATH").unwrap()));
    for (answer, denies) in [
        ("echo 'fatal: not a git repository (or any of the parent directories): .git' >&2; exit 128", true),
        ("echo \"fatal: detected dubious ownership in repository at '/x'\" >&2; exit 128", false),
        ("echo 'fatal: not a git repository' >&2; exit 1", false),
        ("echo 'fatal: not a git repository' >&2; kill -9 $$", false),
        ("echo 'fatal: Unable to read current working directory: Input/output error' >&2; exit 128", false),
        (
            "echo 'git: error while loading shared libraries: libz.so.1: not a git repository' >&2; exit 127",
            false,
        ),
        ("exit 128", false),
    ] {
        fs::write(&fake, format!("#!/bin/sh\ncase $3 in rev-parse) {answer};; esac\nexit 3\n")).unwrap();
        fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
        host.run("pull").failed("failed with exit code 3");
        assert_eq!(host.set_aside().len(), usize::from(denies), "{answer}");
        for aside in host.set_aside() {
            fs::remove_dir_all(host.repo()).unwrap();
            fs::rename(aside, host.repo()).unwrap();
        }
    }
}

#[test]
fn a_host_without_git_says_so_and_loses_nothing() {
    let mut host = Host::new();
    host.run("pull").ok();
    fs::write(host.repo().join(".git/HEAD"), "").unwrap();
    host.set("PATH", "/nonexistent");
    host.run("pull").failed("cannot start `git`");
    assert_eq!(host.set_aside(), Vec::<PathBuf>::new());
}

#[test]
fn a_clone_of_another_user_is_left_to_them() {
    if !is_root("a clone of another user") {
        return;
    }
    let host = Host::new();
    host.run("pull").ok();
    give(&host.repo(), NOBODY_KNOWN);
    host.run("pull").failed("fatal: detected dubious ownership");
    assert_eq!(host.set_aside(), Vec::<PathBuf>::new());
}

#[test]
fn a_clone_that_cannot_be_read_is_not_given_up() {
    if !is_root("a clone that another user cannot read") {
        return;
    }
    let host = Host::new();
    host.run("pull").ok();
    give(host.folder.path(), NOBODY_KNOWN);
    give(&host.repo().join(".git"), 0);
    fs::set_permissions(host.repo().join(".git"), fs::Permissions::from_mode(0o700)).unwrap();
    // Another user may not be able to read the build folder.
    let copy = host.path("agent");
    fs::copy(program().get_program(), &copy).unwrap();
    let mut theirs = Command::new(copy);
    theirs.uid(NOBODY_KNOWN).gid(NOBODY_KNOWN).current_dir("/").env("HOME", "/");
    // git prints the same message for an unreadable folder and for a folder that is no repository.
    host.run_with(theirs, "pull").failed("fatal: not a git repository");
    assert_eq!(host.set_aside(), Vec::<PathBuf>::new());
}

#[test]
fn a_repository_that_the_clone_lies_in_is_never_meant() {
    let mut host = Host::new();
    let outer = &host.folder.path().to_owned();
    git(outer, &["init", "--quiet"]);
    fs::write(outer.join("mine"), "1").unwrap();
    git(outer, &["add", "mine"]);
    git(outer, &["commit", "--quiet", "--message", "mine"]);
    fs::write(outer.join("mine"), "changed").unwrap();
    host.run("pull").ok();
    fs::remove_dir_all(host.repo().join(".git/refs")).unwrap();
    host.run("pull").ok();
    host.assert_equal_to_origin();
    assert_eq!(fs::read_to_string(outer.join("mine")).unwrap(), "changed");

    // In plain mode git must not use the outer repository either.
    fs::remove_dir_all(host.repo().join(".git/objects")).unwrap();
    host.environment.remove("NIXFLEET_REPO_URL");
    host.set("NIXFLEET_REPO_DIR", host.repo());
    host.run("pull").failed("fatal: not a git repository");
}

#[test]
fn variables_of_another_repository_do_not_lead_git_astray() {
    let other = Host::new();
    let before = other.head();
    let git_dir = other.origin().join(".git");
    let mut host = Host::new();
    host.set("GIT_DIR", &git_dir);
    host.set("GIT_WORK_TREE", other.origin());
    host.set("GIT_INDEX_FILE", git_dir.join("index"));
    host.set("GIT_OBJECT_DIRECTORY", git_dir.join("objects"));
    let theirs = commit(&host.origin(), "new", "text");
    host.run("pull").ok();
    commit(&host.origin(), "newer", "text");
    host.run("pull").ok();
    host.assert_equal_to_origin();
    assert_eq!(other.head(), before);
    assert!(!git_dir.join("objects").join(&theirs[..2]).join(&theirs[2..]).exists());
}

#[test]
fn a_clone_that_nobody_asked_for_moves_no_checkout_and_completes_one_that_was_cut_short() {
    let host = Host::new();
    host.run("clone").ok();
    let there = || git(&host.repo(), &["rev-parse", "HEAD"]);
    let cloned = there();
    commit(&host.origin(), "flake.nix", "{ a = 1; }");
    host.run("clone").ok();
    assert_eq!(there(), cloned, "it is there");
    fs::remove_dir_all(host.repo().join(".git/refs/heads")).unwrap();
    host.run("clone").ok();
    host.assert_equal_to_origin();
    fs::write(host.repo().join(".git/HEAD"), "").unwrap();
    host.run("clone").ok();
    host.assert_equal_to_origin();
}

#[test]
fn a_clone_that_was_cut_short_is_completed_by_the_next_pull() {
    type Damage = fn(&Path);
    fn lock(repo: &Path, name: &str) {
        let path = repo.join(".git").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        age(&path);
    }
    let damages: &[(&str, Damage)] = &[
        ("no origin", |repo| drop(git(repo, &["remote", "remove", "origin"]))),
        ("no settings", |repo| fs::write(repo.join(".git/config"), "").unwrap()),
        ("no commit yet", |repo| {
            fs::remove_dir_all(repo.join(".git/refs/heads")).unwrap();
            fs::remove_dir_all(repo.join(".git/refs/remotes")).unwrap();
            drop(fs::remove_file(repo.join(".git/packed-refs")));
            fs::remove_file(repo.join(".git/index")).unwrap();
            fs::remove_file(repo.join("flake.nix")).unwrap();
        }),
        ("no files", |repo| fs::remove_file(repo.join("flake.nix")).unwrap()),
        ("index.lock", |repo| lock(repo, "index.lock")),
        ("config.lock", |repo| lock(repo, "config.lock")),
        ("HEAD.lock", |repo| lock(repo, "HEAD.lock")),
        ("packed-refs.lock", |repo| lock(repo, "packed-refs.lock")),
        ("locks of references", |repo| {
            lock(repo, "refs/heads/main.lock");
            lock(repo, "refs/remotes/origin/main.lock");
        }),
        ("empty references", |repo| {
            for name in ["refs/heads/main", "refs/remotes/origin/main"] {
                lock(repo, name);
            }
        }),
        ("empty index", |repo| lock(repo, "index")),
        ("half a pack", |repo| fs::write(repo.join(".git/objects/pack/tmp_pack_x"), "PACK").unwrap()),
    ];
    let host = Host::new();
    host.run("pull").ok();
    for (name, damage) in damages {
        commit(&host.origin(), "flake.nix", &format!("{{ a = \"{name}\"; }}"));
        damage(&host.repo());
        let done = host.run("pull").ok();
        assert_eq!(done.spec().steps.len(), 4, "{name}: no new clone");
        host.assert_equal_to_origin();
        let left: Vec<_> = done.log.lines().filter(|line| line.contains("left behind")).collect();
        let expected = usize::from(name.contains("lock") || name.contains("empty"))
            * (1 + usize::from(name.contains("references")));
        assert_eq!(left.len(), expected, "{name}: {left:?}");
    }
    assert_eq!(host.set_aside(), Vec::<PathBuf>::new());
}

#[test]
fn a_lock_that_is_younger_than_the_job_is_somebodys() {
    let host = Host::new();
    host.run("pull").ok();
    let lock = host.repo().join(".git/index.lock");
    let file = File::create(&lock).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(3600)).unwrap();
    host.run("pull").failed("index.lock': File exists");
    assert!(lock.exists());
}

#[test]
fn the_clone_follows_branch_address_and_rewritten_history() {
    let mut host = Host::new();
    let origin = host.origin();
    host.run("pull").ok();
    // Another branch.
    git(&origin, &["checkout", "--quiet", "-b", "side/way"]);
    commit(&origin, "flake.nix", "{ side = 1; }");
    host.set("NIXFLEET_BRANCH", "side/way");
    host.run("pull").ok();
    host.assert_equal_to_origin();
    // Rewritten history.
    git(&origin, &["commit", "--quiet", "--amend", "--message", "rewritten"]);
    host.run("pull").ok();
    host.assert_equal_to_origin();
    // A branch that does not exist; a tag with the name of the branch that does.
    git(&origin, &["tag", "main"]);
    host.set("NIXFLEET_BRANCH", "nope");
    host.run("pull").failed("fatal: couldn't find remote ref refs/heads/nope");
    host.set("NIXFLEET_BRANCH", "main");
    git(&origin, &["checkout", "--quiet", "heads/main"]);
    host.run("pull").ok();
    host.assert_equal_to_origin();
    // Another address.
    let moved = host.path("moved");
    fs::rename(&origin, &moved).unwrap();
    git(&moved, &["checkout", "--quiet", "-B", "main"]);
    let head = commit(&moved, "flake.nix", "{ moved = 1; }");
    host.set("NIXFLEET_REPO_URL", format!("file://{}", moved.display()));
    host.run("pull").ok();
    assert_eq!(git(&host.repo(), &["rev-parse", "HEAD"]), head);
}

#[test]
fn a_branch_that_was_renamed_to_a_path_below_or_above_its_name_is_pulled() {
    let mut host = Host::new();
    let origin = host.origin();
    host.run("pull").ok();
    for (old, new) in [("main", "main/prod"), ("main/prod", "main/prod/eu"), ("main/prod/eu", "main")] {
        git(&origin, &["checkout", "--quiet", "--detach"]);
        git(&origin, &["branch", "--delete", "--force", old]);
        git(&origin, &["checkout", "--quiet", "-b", new]);
        commit(&origin, "flake.nix", &format!("{{ new = \"{new}\"; }}"));
        host.set("NIXFLEET_BRANCH", new);
        host.run("pull").ok();
        host.assert_equal_to_origin();
        assert_eq!(host.run("pull").ok().spec().steps.len(), 4, "nothing is in the way any more");
    }
}

#[test]
fn a_first_clone_of_a_branch_that_is_not_there_says_so() {
    let mut host = Host::new();
    host.set("NIXFLEET_BRANCH", "nope");
    host.run("pull").failed("fatal: Remote branch nope not found in upstream origin");
    host.set("NIXFLEET_BRANCH", "main");
    host.run("pull").ok();
    host.assert_equal_to_origin();
}

#[test]
fn what_ssh_said_is_told_whether_it_has_a_key_of_ours_or_not() {
    let mut host = Host::new();
    // No server listens on port 1 of this machine.
    host.set("NIXFLEET_REPO_URL", "ssh://git@127.0.0.1:1/fleet.git");
    let first = host.run("pull");
    if !first.log.contains("ssh: connect") {
        return skipped("there is no ssh here");
    }
    first.failed("ssh: connect to host 127.0.0.1 port 1: Connection refused");
    host.set("NIXFLEET_SSH_KEY", host.path("no-such-key"));
    host.run("pull").failed("ssh: connect to host 127.0.0.1 port 1: Connection refused");
}
