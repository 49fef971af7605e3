//! Which build of the agent runs, and which flake.lock the checkout has.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use nixfleet_os::{bounded_read, sha256};

/// Where Nix keeps what it builds.
const STORE: &str = "/nix/store";

/// File of the package, beside the folder of its programs, with the commit it was built from. Not in
/// the binary: a commit that changes nothing in it would compile it anew.
const SOURCE_COMMIT: &str = "share/nixfleet-agent/source-commit";

/// Longest [`SOURCE_COMMIT`] read, in bytes.
const MAX_COMMIT: u64 = 1024;

/// Commit that a program was built from, as its package tells; none outside a package.
pub fn source_commit(program: &Path) -> Option<String> {
    let path = program.parent()?.parent()?.join(SOURCE_COMMIT);
    let text = String::from_utf8(bounded_read::read(&path, MAX_COMMIT).ok()?).ok()?;
    let commit = text.trim();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (!commit.is_empty() && commit.bytes().all(plain)).then(|| commit.to_owned())
}

/// The store path that a program belongs to, without what is below it; none outside the store.
pub fn store_path(program: &Path) -> Option<String> {
    let Component::Normal(name) = program.strip_prefix(STORE).ok()?.components().next()? else { return None };
    Some(format!("{STORE}/{}", name.to_str()?))
}

/// The running binary. On Linux it can be opened even after another one took its place.
pub fn running_binary() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok(PathBuf::from("/proc/self/exe")) } else { std::env::current_exe() }
}

/// The hash of a file that seldom changes, computed anew only when its time or its length has.
#[derive(Debug)]
pub(super) struct WatchedHash {
    path: PathBuf,
    /// Time and length of the file at that hash.
    seen: Option<((SystemTime, u64), String)>,
}

impl WatchedHash {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, seen: None }
    }

    /// The hash of the file as it is now.
    ///
    /// # Errors
    /// The file is not there, or cannot be read.
    pub(super) fn look(&mut self) -> io::Result<String> {
        let file = bounded_read::open(&self.path)?;
        let metadata = file.metadata()?;
        let now = (metadata.modified()?, metadata.len());
        if let Some((_, hash)) = self.seen.as_ref().filter(|(then, _)| *then == now) {
            return Ok(hash.clone());
        }
        let hash = sha256::hash(file)?;
        self.seen = Some((now, hash.clone()));
        Ok(hash)
    }
}

#[cfg(test)]
mod tests;
