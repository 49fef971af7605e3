//! A host of the Go agent in a folder.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::rig::program;

/// A unit with all that a usual host needs.
pub(crate) const USUAL: &str = "Environment=NIXFLEET_URL=wss://fleet.example.org/ws NIXFLEET_INTERVAL=30 \
                                NIXFLEET_REPO_URL=https://git.example.org/fleet.git\n";

/// The first line of what is printed, up to the names of files.
const HEAD: &str = "# Settings of the Go agent, by nixfleet-agent migrate. Read: ";

/// A host in a folder: web-1, with the users root and alice.
pub(crate) struct OldHost {
    pub(super) folder: tempfile::TempDir,
}

/// What `migrate` said.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl OldHost {
    /// With a unit that has these lines in its section `[Service]`.
    pub(crate) fn new(lines: &str) -> Self {
        let host = Self { folder: tempfile::tempdir().unwrap() };
        // As alice, tests can own folders without being root.
        let alice = Some(rustix::process::geteuid().as_raw()).filter(|uid| *uid != 0).unwrap_or(1000);
        host.file(
            "etc/passwd",
            &format!("root:x:0:0::/root:/bin/sh\nalice:x:{alice}:100::/home/alice:/bin/sh\n"),
        );
        host.file("etc/hostname", "web-1\n");
        host.file(
            "unit",
            &format!("[Unit]\nAfter=network.target\n[Service]\n{lines}[Install]\nAlias=other\n"),
        );
        host
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// A file, or else a new folder, that belongs to alice.
    pub(super) fn alices(&self, name: &str) {
        let path = self.path(name);
        if !path.exists() {
            fs::create_dir_all(&path).unwrap();
        }
        if rustix::process::geteuid().is_root() {
            chown(path, Some(1000), None).unwrap();
        }
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.args(["migrate", "--root"]).arg(self.folder.path()).args(arguments);
        command
    }

    pub(crate) fn migrate(&self, arguments: &[&str]) -> Said {
        said(self.command(arguments).arg("--unit").arg(self.path("unit")).output().unwrap())
    }

    /// With a systemctl that runs this script.
    pub(super) fn with_systemctl(&self, script: &str, arguments: &[&str]) -> Said {
        let systemctl = self.file("bin/systemctl", &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(systemctl, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        // As a host of this machine: systemd is asked for its own units only.
        said(program().args(["migrate", "--toml"]).args(arguments).env("PATH", path).output().unwrap())
    }
}

pub(super) fn said(output: Output) -> Said {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

impl Said {
    /// The settings, without the first line.
    #[track_caller]
    pub(crate) fn settings(&self) -> &str {
        assert_eq!(self.code, Some(0), "{}", self.err);
        assert!(self.out.starts_with(HEAD), "{}", self.out);
        self.out.split_once('\n').unwrap().1
    }

    /// Whether a difference has all these words.
    #[track_caller]
    pub(crate) fn tells(&self, about: &str, words: &[&str]) {
        let fits = |line: &str| line.starts_with(about) && words.iter().all(|word| line.contains(word));
        assert!(self.err.lines().any(fits), "no line about {about} with {words:?} in:\n{}", self.err);
    }
}
