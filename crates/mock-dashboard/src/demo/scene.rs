//! The folder of the demo: a git origin with test scripts, and for each host its settings and its first system.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, flock};

use super::files::{link, set_mode, write};
use super::fleet::{HOSTS, Home, Host, settings};
use super::gpus;

/// The beginning of the names of these folders.
const PREFIX: &str = "nixfleet-demo-";

/// Whoever needs the folder of a demo holds a shared lock of this file, so that the next demo knows the folders that
/// nobody needs any more: those of demos that were killed.
const LOCK: &str = "lock";

/// The folder that comes first on the PATH of the hosts.
pub(super) const PATH: &str = "path";

/// The folder of the demo. It is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Scene {
    folder: PathBuf,
    _lock: File,
}

impl Scene {
    /// Makes a folder in the one for temporary files, and everything in it.
    pub(super) fn build(temporary: &Path, agent: &Path, token: &str) -> Result<Self, String> {
        // The links in the folder must not depend on the current folder, or on links above it.
        let temporary = fs::canonicalize(temporary)
            .map_err(|err| format!("cannot use {}: {err}; set TMPDIR", temporary.display()))?;
        remove_dead(&temporary);
        let folder = temporary.join(format!("{PREFIX}{}", std::process::id()));
        // The folder must be new and private, because programs are run from it.
        let made = DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|err| format!("cannot make {}: {err}", folder.display()))?;
        let lock = claim(&folder).inspect_err(|_| drop(fs::remove_dir_all(&folder)))?;
        let scene = Self { folder, _lock: lock };
        let agent = fs::canonicalize(agent).map_err(|err| format!("cannot find the agent: {err}"))?;
        scene.make_origin()?;
        let token_file = scene.folder.join("token");
        write(&token_file, token)?;
        set_mode(&token_file, 0o600)?;
        scene.program("bin/commit", COMMIT)?;
        scene.program(&format!("{PATH}/nix"), NIX)?;
        let [first, others @ ..] = &HOSTS;
        scene.first_system(first, &agent)?;
        // One host has a checkout already, and there is a newer commit: its `pull` has something to get.
        let checkout = scene.home(first).join("state/repo");
        let (origin, checkout) = (scene.origin().display().to_string(), checkout.display().to_string());
        git(scene.folder(), &["clone", "--quiet", &format!("file://{origin}"), &checkout])?;
        scene.commit_all("web-1: a new message", |origin| {
            let path = configuration(origin, first);
            write(&path, &configuration_text("  users.motd = \"message 1\";\n"))
        })?;
        others.iter().try_for_each(|host| scene.first_system(host, &agent))?;
        Ok(scene)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn origin(&self) -> PathBuf {
        self.folder.join("origin")
    }

    pub(super) fn home(&self, host: &Host) -> Home {
        Home::new(&self.folder, host)
    }

    /// Writes the settings of a host, whose agent reaches the dashboard at that address.
    pub(super) fn configure(&self, host: &Host, dashboard: SocketAddr) -> Result<(), String> {
        write(&self.home(host).config(), &settings(host, &self.folder, dashboard))
    }

    /// Writes a program, in which the places of this demo are filled in.
    fn program(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.folder.join(name);
        let text = text
            .replace("@ORIGIN@", &self.origin().display().to_string())
            .replace("@VERSION@", env!("CARGO_PKG_VERSION"));
        write(&path, &text)?;
        set_mode(&path, 0o755)
    }

    fn make_origin(&self) -> Result<(), String> {
        let origin = self.origin();
        write(
            &origin.join("flake.nix"),
            "{\n  description = \"A throw-away fleet\";\n  outputs = _: { };\n}\n",
        )?;
        write(
            &origin.join("flake.lock"),
            "{\n  \"nodes\": { \"root\": {} },\n  \"root\": \"root\",\n  \"version\": 7\n}\n",
        )?;
        for host in &HOSTS {
            write(&configuration(&origin, host), &configuration_text(""))?;
            for (name, body) in host.tests {
                let path = origin.join("hosts").join(host.name).join("tests").join(name);
                write(&path, &format!("#!/bin/sh\nset -eu\n{body}"))?;
                set_mode(&path, 0o755)?;
            }
        }
        git(&origin, &["init", "--quiet", "--initial-branch=main"])?;
        // Commits must not need a name, a key or a hook of the person who tries the demo.
        let mut config = OpenOptions::new();
        let config = config.append(true).open(origin.join(".git/config"));
        let written = config.and_then(|mut file| io::Write::write_all(&mut file, GIT_CONFIG.as_bytes()));
        written.map_err(|err| format!("cannot write .git/config in {}: {err}", origin.display()))?;
        self.commit_all("A throw-away fleet", |_| Ok(()))
    }

    fn commit_all(
        &self,
        message: &str,
        change: impl FnOnce(&Path) -> Result<(), String>,
    ) -> Result<(), String> {
        let origin = self.origin();
        change(&origin)?;
        git(&origin, &["add", "."])?;
        git(&origin, &["commit", "--quiet", "--message", message])
    }

    /// Makes the folder of a host and the system that it runs.
    fn first_system(&self, host: &Host, agent: &Path) -> Result<(), String> {
        let home = self.home(host);
        for (name, text) in [
            ("rebuild", REBUILD),
            ("bin/nix-env", NIX_ENV),
            ("bin/switch-to-configuration", SWITCH_TO_CONFIGURATION),
        ] {
            self.program(&format!("{}/{name}", host.name), text)?;
        }
        link(&home.join("agent"), agent)?;
        if host.has_gpus {
            gpus::prepare(&home)?;
        }
        let rebuild = home.join("rebuild");
        let mut first = Command::new(&rebuild);
        first.arg("first").arg(self.origin()).arg(host.name).stdin(Stdio::null());
        match first.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("cannot make the first system of {}: {status}", host.name)),
            Err(err) => Err(format!(
                "cannot run {}: {err}; set TMPDIR to a folder in which programs may be run",
                rebuild.display()
            )),
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Anything that cannot be removed is in the temporary folder, and the next demo tries again.
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Says that a new folder of a demo is needed, as long as the file is open. The lock gets its name when it is held:
/// another demo must not find it free.
fn claim(folder: &Path) -> Result<File, String> {
    let (new, path) = (folder.join("lock.new"), folder.join(LOCK));
    let claimed = File::create(&new).and_then(|file| {
        flock(&file, FlockOperation::NonBlockingLockShared)?;
        fs::rename(&new, &path)?;
        Ok(file)
    });
    claimed.map_err(|err| format!("cannot lock {}: {err}", path.display()))
}

/// Says that the folder of a demo is needed, as long as the file is open.
pub(super) fn hold(folder: &Path) -> Result<File, String> {
    let path = folder.join(LOCK);
    let held = OpenOptions::new().append(true).open(&path).and_then(|file| {
        flock(&file, FlockOperation::NonBlockingLockShared)?;
        Ok(file)
    });
    held.map_err(|err| format!("cannot lock {}: {err}", path.display()))
}

/// Removes the folders of demos that were killed, if they are of the same user.
fn remove_dead(temporary: &Path) {
    let own = rustix::process::geteuid().as_raw();
    for item in fs::read_dir(temporary).into_iter().flatten().flatten() {
        let name = item.file_name();
        let is_named = name.to_str().is_some_and(|name| name.starts_with(PREFIX));
        // Of the folder itself, not of what a link leads to.
        let is_own = || item.metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() == own);
        if is_named && is_own() && is_dead(&item.path()) {
            drop(fs::remove_dir_all(item.path()));
        }
    }
}

/// Whether nobody needs the folder of a demo. One without a lock may be a moment old.
fn is_dead(folder: &Path) -> bool {
    let lock = OpenOptions::new().append(true).open(folder.join(LOCK));
    lock.is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok())
}

fn configuration(origin: &Path, host: &Host) -> PathBuf {
    origin.join("hosts").join(host.name).join("configuration.nix")
}

fn configuration_text(lines: &str) -> String {
    format!("{{\n  services.nginx.enable = true;\n{lines}}}\n")
}

/// Runs git. Its output is shown only if it fails.
fn git(folder: &Path, args: &[&str]) -> Result<(), String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|err| format!("cannot run git, which the demo needs: {err}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("git {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

/// Settings of the origin.
const GIT_CONFIG: &str = "[user]\n\tname = demo\n\temail = demo@localhost\n[commit]\n\tgpgSign = false\n\
                          [core]\n\thooksPath = /dev/null\n";

/// Replaces `nixos-rebuild`: writes similar output, slowly enough to watch, and makes systems. With the argument `first`
/// it makes the first system.
const REBUILD: &str = include_str!("stand_ins/rebuild.sh");

/// Replaces `nix-env`, for the profile.
const NIX_ENV: &str = include_str!("stand_ins/nix-env.sh");

/// Replaces what activates a system.
const SWITCH_TO_CONFIGURATION: &str = include_str!("stand_ins/switch-to-configuration.sh");

/// Replaces `nix`, for `update`.
const NIX: &str = include_str!("stand_ins/nix.sh");

/// Commits to the origin.
const COMMIT: &str = include_str!("stand_ins/commit.sh");

#[cfg(test)]
mod tests;
