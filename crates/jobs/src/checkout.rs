//! The state of the checkout, written by jobs for the agent. Where jobs run as root, only root can read the
//! checkout itself.

use std::path::{Path, PathBuf};
use std::{fs, io};

use nixfleet_os::sha256::{self, hash_file};
use serde::{Deserialize, Serialize};

use crate::JobsDir;
use crate::atomic_file::load_on;
use crate::damage;
use crate::format::Format;
use crate::git::{commit_or_none, head_commit};

/// Content of `checkout.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkout {
    /// Folder of the checkout.
    pub dir: PathBuf,
    /// HEAD of the checkout, in full.
    #[serde(default, deserialize_with = "commit_or_none")]
    pub commit: Option<String>,
    /// SHA-256 of the checkout's flake.lock in hex.
    pub lock_hash: Option<String>,
}

impl Format for Checkout {
    const VERSION: u32 = 1;
}

impl Checkout {
    /// Reads the state of the checkout in `dir`.
    pub fn read(dir: &Path) -> Self {
        let lock_hash = hash_file(&dir.join("flake.lock"), sha256::FLAKE_LOCK).ok();
        Self { dir: dir.to_owned(), commit: head_commit(dir), lock_hash }
    }

    /// The state of the checkout in `dir` as the last job saw it. `None` if the folder certainly does not
    /// exist any more.
    pub fn noted(jobs: &JobsDir, dir: &Path) -> Option<Self> {
        // An agent that may not read the folder can still see that it exists, unless a parent folder is
        // closed to it too. So only "not found" counts as gone.
        if fs::symlink_metadata(dir).is_err_and(|err| err.kind() == io::ErrorKind::NotFound) {
            return None;
        }
        let path = jobs.checkout();
        let noted: Self = load_on(jobs.disk(), &path).unwrap_or_else(|err| {
            damage::report(
                &path,
                &err,
                "the state of a checkout that only root reads is unknown until the next job",
            );
            None
        })?;
        (noted.dir == dir).then_some(noted)
    }
}

/// HEAD of the checkout in `dir`, in full; as the last job saw it if only root can read the checkout.
pub fn commit(jobs: &JobsDir, dir: &Path) -> Option<String> {
    head_commit(dir).or_else(|| Checkout::noted(jobs, dir)?.commit)
}
