//! A clone whose objects a power failure emptied.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::host::Host;
use crate::command::{commit, git};

/// Empties files, as a power failure does with what was not on the disk yet.
fn empty(files: impl IntoIterator<Item = PathBuf>) {
    let mut count = 0;
    for path in files {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        count += 1;
    }
    assert!(count > 0, "there is something to damage");
}

fn object(repo: &Path, name: &str) -> PathBuf {
    repo.join(".git/objects").join(&name[..2]).join(&name[2..])
}

/// Every loose object.
fn loose(repo: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(repo.join(".git/objects")).unwrap().flatten();
    let folders = folders.filter(|item| item.file_name().len() == 2);
    folders
        .flat_map(|folder| fs::read_dir(folder.path()).unwrap().flatten().map(|item| item.path()))
        .collect()
}

#[test]
fn a_clone_with_emptied_objects_is_moved_aside_and_cloned_anew_by_the_same_pull() {
    type Files = fn(&Path) -> Vec<PathBuf>;
    let damages: [(&str, Files); 3] = [
        ("the commit", |repo| vec![object(repo, &git(repo, &["rev-parse", "HEAD"]))]),
        ("all of the last fetch", loose),
        ("a file", |repo| {
            fs::remove_file(repo.join("y")).unwrap();
            vec![object(repo, &git(repo, &["rev-parse", "HEAD:y"]))]
        }),
    ];
    for (what, files) in damages {
        let host = Host::new();
        host.run("pull").ok();
        commit(&host.origin(), "y", "1");
        host.run("pull").ok();
        fs::write(host.repo().join("precious"), "mine").unwrap();
        empty(files(&host.repo()));
        commit(&host.origin(), "flake.nix", "{ a = 1; }");
        let done = host.run("pull").ok();
        host.assert_equal_to_origin();
        let [aside] = &host.set_aside()[..] else { panic!("{what}: {:?}", host.set_aside()) };
        assert_eq!(fs::read_to_string(aside.join("precious")).unwrap(), "mine", "{what}: nothing is lost");
        for words in ["git checks all objects of", "are damaged: it now is", "cloning anew"] {
            assert!(done.log.contains(words), "{what}: {words} in\n{}", done.log);
        }
        assert_eq!(done.spec().steps[0].name, "clone", "{what}: the spec says what ran at last");
        host.run("pull").ok();
        assert_eq!(host.set_aside().len(), 1, "{what}: it is whole");
    }
}

#[test]
fn a_damaged_origin_is_no_reason_to_look_at_the_clone() {
    let host = Host::new();
    host.run("pull").ok();
    let head = commit(&host.origin(), "flake.nix", "{ a = 1; }");
    empty([object(&host.origin(), &git(&host.origin(), &["rev-parse", &format!("{head}:flake.nix")]))]);
    let done = host.run("pull").failed("fetch failed with exit code");
    assert!(done.log.contains("is empty") && !done.log.contains("git checks"), "{}", done.log);
    assert_eq!(host.set_aside(), Vec::<PathBuf>::new());
}

#[test]
fn a_clone_in_which_git_finds_no_damage_stays() {
    let mut host = Host::new();
    host.run("pull").ok();
    let programs = host.path("programs");
    fs::create_dir(&programs).unwrap();
    // The real git, but for a fetch that says what it says of damage.
    let fake = "#!/bin/sh\ncase $3 in fetch) echo 'error: object file .git/objects/82/17 is empty' >&2; exit 1;; esac\n\
                PATH=${PATH#*:} exec git \"$@\"\n";
    fs::write(programs.join("git"), fake).unwrap();
    fs::set_permissions(programs.join("git"), fs::Permissions::from_mode(0o755)).unwrap();
    host.set("PATH", format!("{}:{}", programs.display(), std::env::var("PATH").unwrap()));
    let done = host.run("pull").failed("fetch failed with exit code 1");
    assert!(done.log.contains("git checks all objects of"), "{}", done.log);
    assert!(done.log.contains("git found no damage in"), "{}", done.log);
    assert_eq!(host.set_aside(), Vec::<PathBuf>::new());
    host.assert_equal_to_origin();
}
