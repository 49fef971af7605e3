//! The state of the checkout, noted down by jobs for an agent that may not read it: where jobs run as
//! root, the checkout is root's alone.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::JobsDir;
use super::format::{self, Format};
use super::git::head_commit;
use nixfleet_os::bounded_read;
use nixfleet_os::sha256::hash_file;

/// File in the jobs' folder that each job replaces at its end.
pub const CHECKOUT_FILE: &str = "checkout.json";

/// Longest [`CHECKOUT_FILE`] read, in bytes. It holds a path and two hashes.
const MAX_NOTE: u64 = 16 * 1024;

/// What [`CHECKOUT_FILE`] holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkout {
    /// Which checkout.
    pub dir: PathBuf,
    /// HEAD, in full.
    pub commit: Option<String>,
    /// SHA-256 of its flake.lock in hex.
    pub lock_hash: Option<String>,
}

impl Format for Checkout {
    const VERSION: u32 = 1;
}

impl Checkout {
    /// Looks at the checkout in `dir`.
    pub fn look(dir: &Path) -> Self {
        let lock_hash = hash_file(&dir.join("flake.lock")).ok();
        Self { dir: dir.to_owned(), commit: head_commit(dir), lock_hash }
    }

    /// What the last job noted of the checkout in `dir`; none once that folder is gone for certain.
    pub fn noted(jobs: &JobsDir, dir: &Path) -> Option<Self> {
        // Who may not look into the folder can still see that there is one, but not through what is locked.
        if fs::symlink_metadata(dir).is_err_and(|err| err.kind() == io::ErrorKind::NotFound) {
            return None;
        }
        let path = jobs.checkout();
        let noted: Self = format::parse(&path, &bounded_read::read(&path, MAX_NOTE).ok()?).ok()?;
        (noted.dir == dir).then_some(noted)
    }
}

/// The commit that is checked out in `dir`, in full; as the last job saw it if the checkout is root's.
pub fn commit(jobs: &JobsDir, dir: &Path) -> Option<String> {
    head_commit(dir).or_else(|| Checkout::noted(jobs, dir)?.commit)
}
