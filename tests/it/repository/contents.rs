//! What people keep beside git's own objects: submodules, and files in Git LFS.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::host::{Host, NOBODY_KNOWN, give, is_root};
use crate::command::{commit, git};
use crate::skipped::skipped;

/// Makes the home of the host, in which git may clone submodules from folders.
fn home(host: &mut Host) {
    let home = host.path("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join(".gitconfig"), "[protocol \"file\"]\n\tallow = always\n[safe]\n\tdirectory = *\n")
        .unwrap();
    host.set("HOME", &home);
}

/// A repository with one commit, as a submodule of the origin.
fn submodule(host: &Host, name: &str) -> PathBuf {
    let library = host.path(name);
    fs::create_dir(&library).unwrap();
    git(&library, &["init", "--quiet"]);
    commit(&library, "lib.nix", "1");
    let address = format!("file://{}", library.display());
    git(&host.origin(), &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &address, name]);
    git(&host.origin(), &["commit", "--quiet", "--message", name]);
    library
}

/// Takes the newest commit of a submodule into the origin.
fn update(host: &Host, name: &str) {
    git(&host.origin(), &["-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--remote"]);
    git(&host.origin(), &["commit", "--quiet", "--all", "--message", name]);
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[test]
fn submodules_are_those_of_the_commit_or_the_log_says_that_they_are_missing() {
    let mut host = Host::new();
    home(&mut host);
    let library = submodule(&host, "lib");
    let done = host.run("pull").ok();
    assert!(done.log.contains("set repo.submodules"), "{}", done.log);
    assert_eq!(text(&host.repo().join("lib/lib.nix")), None);

    host.set("NIXFLEET_REPO__SUBMODULES", "true");
    let done = host.run("pull").ok();
    assert!(!done.log.contains("set repo.submodules"), "{}", done.log);
    assert_eq!(text(&host.repo().join("lib/lib.nix")).as_deref(), Some("1"));
    host.assert_equal_to_origin();
    // Local changes go, and the new commit comes.
    fs::write(host.repo().join("lib/lib.nix"), "mine").unwrap();
    fs::write(host.repo().join("lib/more"), "mine").unwrap();
    commit(&library, "lib.nix", "2");
    update(&host, "newer");
    host.run("pull").ok();
    assert_eq!(text(&host.repo().join("lib/lib.nix")).as_deref(), Some("2"));
    assert!(!host.repo().join("lib/more").exists());
    host.assert_equal_to_origin();
    // It moves to another address, and at last it is no submodule any more.
    fs::rename(&library, host.path("moved")).unwrap();
    let moved = format!("file://{}", host.path("moved").display());
    git(&host.origin(), &["config", "--file", ".gitmodules", "submodule.lib.url", &moved]);
    git(&host.origin(), &["submodule", "--quiet", "sync"]);
    commit(&host.path("moved"), "lib.nix", "3");
    update(&host, "moved");
    host.run("pull").ok();
    assert_eq!(text(&host.repo().join("lib/lib.nix")).as_deref(), Some("3"));
    git(&host.origin(), &["rm", "--quiet", "lib"]);
    git(&host.origin(), &["commit", "--quiet", "--message", "none"]);
    host.run("pull").ok();
    assert!(!host.repo().join("lib").exists(), "the folder of a former submodule goes");
    host.assert_equal_to_origin();
    // A new clone has them at once.
    submodule(&host, "other");
    fs::remove_dir_all(host.repo()).unwrap();
    host.run("pull").ok();
    assert_eq!(text(&host.repo().join("other/lib.nix")).as_deref(), Some("1"));
    host.assert_equal_to_origin();
}

#[test]
fn a_pull_in_somebodys_folder_brings_submodules_as_its_owner() {
    if !is_root("a folder of another user") {
        return;
    }
    let mut host = Host::new();
    submodule(&host, "lib");
    let theirs = host.path("theirs");
    git(host.folder.path(), &["clone", "--quiet", &format!("file://{}", host.origin().display()), "theirs"]);
    give(host.folder.path(), NOBODY_KNOWN);
    fs::create_dir_all(host.path("state")).unwrap();
    host.environment.remove("NIXFLEET_REPO_URL");
    host.set("NIXFLEET_REPO_DIR", &theirs);
    host.set("NIXFLEET_REPO__SUBMODULES", "true");
    // Nobody known has no home, and no settings in it.
    host.set("GIT_ALLOW_PROTOCOL", "file");
    host.run("pull").ok();
    assert_eq!(text(&theirs.join("lib/lib.nix")).as_deref(), Some("1"));
    let owner = fs::metadata(theirs.join("lib/lib.nix")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&owner), NOBODY_KNOWN);
}

#[test]
fn files_in_lfs_are_fetched_or_the_log_says_that_they_are_pointers() {
    if !Command::new("git-lfs").arg("version").output().is_ok_and(|output| output.status.success()) {
        return skipped("there is no git-lfs here");
    }
    let mut host = Host::new();
    home(&mut host);
    let work = host.path("work");
    git(host.folder.path(), &["clone", "--quiet", &format!("file://{}", host.origin().display()), "work"]);
    git(&host.origin(), &["checkout", "--quiet", "--detach"]);
    let push = |content: &str| {
        fs::write(work.join("wall.png"), content).unwrap();
        git(&work, &["add", "."]);
        git(&work, &["commit", "--quiet", "--message", "wall"]);
        git(&work, &["push", "--quiet", "origin", "HEAD:main"]);
        git(&host.origin(), &["checkout", "--quiet", "--detach", "main"]);
    };
    git(&work, &["lfs", "install", "--local"]);
    git(&work, &["lfs", "track", "*.png"]);
    push(&"one".repeat(1000));
    let here = || text(&host.repo().join("wall.png")).unwrap();
    let done = host.run("pull").ok();
    assert!(here().starts_with("version https://git-lfs"), "{}", here());
    assert!(
        done.log.contains("wall.png is a pointer of Git LFS") && done.log.contains("set repo.lfs"),
        "{}",
        done.log
    );

    let mut host = host;
    host.set("NIXFLEET_REPO__LFS", "true");
    let done = host.run("pull").ok();
    let here = |host: &Host| text(&host.repo().join("wall.png")).unwrap();
    assert_eq!(here(&host), "one".repeat(1000));
    assert!(!done.log.contains("set repo.lfs") && !done.log.contains("Downloading LFS"), "{}", done.log);
    assert_eq!(git(&host.repo(), &["status", "--porcelain"]), "", "the file and its pointer are the same");
    fs::write(work.join("wall.png"), "two".repeat(1000)).unwrap();
    git(&work, &["commit", "--quiet", "--all", "--message", "wall"]);
    git(&work, &["push", "--quiet", "origin", "HEAD:main"]);
    host.run("pull").ok();
    assert_eq!(here(&host), "two".repeat(1000));
    fs::remove_dir_all(host.repo()).unwrap();
    host.run("pull").ok();
    assert_eq!(here(&host), "two".repeat(1000));
    assert_eq!(git(&host.repo(), &["status", "--porcelain"]), "");
}

#[test]
fn a_rebuild_gets_its_variables_and_the_files_with_logins_and_nothing_shows_their_values() {
    let mut host = Host::new();
    let (program, seen) = (host.path("rebuild"), host.path("seen"));
    fs::write(
        &program,
        format!("#!/bin/sh\nprintf '%s|%s' \"$NIX_CONFIG\" \"$PRIVATE\" > '{}'\n", seen.display()),
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let netrc = host.path("netrc");
    fs::write(&netrc, "machine git.example.org password s3cret-in-netrc\n").unwrap();
    let config = format!(
        "[rebuild]\nprogram = [\"{}\"]\nenv = {{ PRIVATE = \"s3cret-in-env\" }}\nnetrc_file = \"{}\"\n\
         access_tokens_file = \"/nonexistent/tokens\"\n",
        program.display(),
        netrc.display()
    );
    fs::write(host.config(), config).unwrap();
    host.set("NIXFLEET_LOG_LEVEL", "trace");
    let done = host.run("pull-switch").ok();
    assert_eq!(
        text(&seen).unwrap(),
        format!("netrc-file = {}\n!include /nonexistent/tokens|s3cret-in-env", netrc.display())
    );
    let missing =
        "warning: rebuild.access_tokens_file cannot be read, nix goes on without it: /nonexistent/tokens";
    assert!(done.log.contains(missing), "{}", done.log);
    for secret in ["s3cret-in-env", "s3cret-in-netrc"] {
        assert_eq!(super::password::files_with(&host.path("state"), secret), Vec::<PathBuf>::new());
    }
}
