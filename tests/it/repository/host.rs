//! A host whose jobs the tests start directly, and the origin of its repository.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nixfleet_jobs::atomic_file::load;
use nixfleet_jobs::spec::{JobResult, Outcome, Spec};
use nixfleet_jobs::{JobDir, JobId, JobsDir};

use crate::command::{commit, git};
use crate::rig::program;
use crate::skipped::skipped;

/// A user id that no host has.
pub(super) const NOBODY_KNOWN: u32 = 54321;

/// A host whose jobs the tests start directly, and the origin of its repository.
pub(super) struct Host {
    pub(super) folder: tempfile::TempDir,
    pub(super) environment: BTreeMap<String, OsString>,
}

/// A finished job.
pub(super) struct Done {
    pub(super) id: JobId,
    pub(super) dir: JobDir,
    pub(super) result: JobResult,
    pub(super) log: String,
}

impl Done {
    #[track_caller]
    pub(super) fn ok(self) -> Self {
        assert_eq!(self.result.outcome, Outcome::Ok, "{}\n{}", self.result.message, self.log);
        self
    }

    #[track_caller]
    pub(super) fn failed(self, why: &str) -> Self {
        let message = &self.result.message;
        assert!(self.result.outcome != Outcome::Ok && message.contains(why), "{message}\n{}", self.log);
        self
    }

    pub(super) fn spec(&self) -> Spec {
        load(&self.dir.spec()).unwrap().unwrap()
    }
}

impl Host {
    /// In isolated mode; the origin has one commit on `main`.
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Readable for others: jobs may run as another user.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let origin = folder.path().join("origin");
        fs::create_dir(&origin).unwrap();
        git(&origin, &["init", "--quiet"]);
        commit(&origin, "flake.nix", "{ }");
        let mut host = Self { folder, environment: BTreeMap::new() };
        host.set("NIXFLEET_REPO_URL", format!("file://{}", origin.display()));
        host
    }

    pub(super) fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.environment.insert(name.to_owned(), value.as_ref().to_owned());
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn origin(&self) -> PathBuf {
        self.path("origin")
    }

    pub(super) fn repo(&self) -> PathBuf {
        self.path("state/repo")
    }

    pub(super) fn head(&self) -> String {
        git(&self.origin(), &["rev-parse", "HEAD"])
    }

    /// Runs a command to its end.
    pub(super) fn run(&self, command: &str) -> Done {
        self.run_with(program(), command)
    }

    pub(super) fn run_with(&self, mut program: Command, command: &str) -> Done {
        let id = JobId::generate();
        let output = program
            .args(["exec-job", "--", &format!("{command}-{id}")])
            .env("NIXFLEET_STATE_DIR", self.path("state"))
            .env("NIXFLEET_HOSTNAME", "test-host")
            .env("NIXFLEET_CONFIG", self.config())
            .envs(&self.environment)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let dir = JobsDir::new(self.path("state/jobs")).job(&id);
        let result = load(&dir.result()).unwrap().unwrap();
        let log = fs::read_to_string(dir.log(0)).unwrap_or_default();
        Done { id, dir, result, log }
    }

    pub(super) fn config(&self) -> PathBuf {
        let path = self.path("agent.toml");
        if !path.exists() {
            fs::write(&path, "").unwrap();
        }
        path
    }

    /// Folders of corrupt checkouts that were moved aside.
    pub(super) fn set_aside(&self) -> Vec<PathBuf> {
        let items = fs::read_dir(self.path("state")).unwrap().flatten().map(|item| item.path());
        items.filter(|path| path.to_string_lossy().contains(".corrupt-")).collect()
    }

    #[track_caller]
    pub(super) fn assert_equal_to_origin(&self) {
        assert_eq!(git(&self.repo(), &["rev-parse", "HEAD"]), self.head());
        assert_eq!(git(&self.repo(), &["status", "--porcelain"]), "");
        assert!(self.repo().join("flake.nix").exists());
    }
}

/// Whether the test runs as root. If not, prints that it is skipped; CI runs as root.
pub(super) fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped(&format!("{test} needs root"));
    }
    root
}

pub(super) fn give(path: &Path, uid: u32) {
    let status = Command::new("chown").arg("-R").arg(format!("{uid}:{uid}")).arg(path).status().unwrap();
    assert!(status.success());
}
