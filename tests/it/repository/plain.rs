//! Plain mode: a checkout that belongs to another user.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use rustix::fs::Gid;

use super::host::{Host, NOBODY_KNOWN, give, is_root};
use crate::command::{commit, git};

/// A host with a plain checkout that belongs to `owner`.
fn plain(owner: u32) -> (Host, PathBuf) {
    let mut host = Host::new();
    let dir = host.path("theirs");
    git(host.folder.path(), &["clone", "--quiet", &host.origin().to_string_lossy(), "theirs"]);
    let hook = dir.join(".git/hooks/post-merge");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\necho \"hook: $(id -u) $(id -G) home $HOME\"\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    commit(&host.origin(), "flake.nix", "{ a = 1; }");
    give(&dir, owner);
    give(&host.origin(), owner);
    host.environment.remove("NIXFLEET_REPO_URL");
    host.set("NIXFLEET_REPO_DIR", &dir);
    (host, dir)
}

#[test]
fn a_plain_pull_by_root_is_its_owners_and_a_switch_may_read_their_folder() {
    if !is_root("a checkout of somebody else") {
        return;
    }
    let (mut host, dir) = plain(NOBODY_KNOWN);
    // An additional group of root, which the job of another user must not keep. It applies to this thread and its
    // child processes.
    rustix::thread::set_thread_groups(&[Gid::from_raw(4711)]).unwrap();
    let done = host.run("pull").ok();
    assert_eq!(fs::read_to_string(dir.join("flake.nix")).unwrap(), "{ a = 1; }");
    for file in ["flake.nix", ".git/FETCH_HEAD", ".git/index", ".git/ORIG_HEAD"] {
        let meta = fs::metadata(dir.join(file)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (NOBODY_KNOWN, NOBODY_KNOWN), "{file}");
    }
    let hook = format!("hook: {NOBODY_KNOWN} {NOBODY_KNOWN} home /");
    assert!(done.log.contains(&hook), "{}", done.log);
    assert_eq!(done.spec().steps[0].user.as_ref().map(|user| user.uid), Some(NOBODY_KNOWN));

    let rebuild = host.path("rebuild");
    let script = format!("#!/bin/sh\necho \"root: $(id -u)\"\nexec git -C '{}' status\n", dir.display());
    fs::write(&rebuild, script).unwrap();
    fs::set_permissions(&rebuild, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(host.config(), format!("[rebuild]\nprogram = [\"{}\"]\n", rebuild.display())).unwrap();
    let done = host.run("switch").ok();
    assert!(done.log.contains("root: 0") && done.log.contains("nothing to commit"), "{}", done.log);
    // Without SUDO_UID git refuses the folder, so the job must have set it before.
    host.set(
        "NIXFLEET_REBUILD__PROGRAM",
        format!("[\"env\", \"-u\", \"SUDO_UID\", \"{}\"]", rebuild.display()),
    );
    host.run("switch").failed("fatal: detected dubious ownership");
}

#[test]
fn a_plain_pull_that_runs_as_its_owner_says_what_git_said() {
    if !is_root("a checkout of somebody else") {
        return;
    }
    let (host, dir) = plain(NOBODY_KNOWN);
    fs::write(dir.join("flake.nix"), "changed by hand").unwrap();
    host.run("pull")
        .failed("error: Your local changes to the following files would be overwritten by merge: flake.nix");
    assert_eq!(fs::read_to_string(dir.join("flake.nix")).unwrap(), "changed by hand");
}
