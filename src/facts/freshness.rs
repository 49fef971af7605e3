//! The build of the running agent, and the hash of flake.lock.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use nixfleet_os::{bounded_read, sha256};

/// The Nix store.
const STORE: &str = "/nix/store";

/// The store path that contains a program; none outside the store.
pub fn store_path(program: &Path) -> Option<String> {
    let Component::Normal(name) = program.strip_prefix(STORE).ok()?.components().next()? else { return None };
    Some(format!("{STORE}/{}", name.to_str()?))
}

/// The path of the running binary. On Linux it can be opened even after the file was replaced.
///
/// # Errors
/// When the path is not known.
pub fn running_binary() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok(PathBuf::from("/proc/self/exe")) } else { std::env::current_exe() }
}

/// The hash of a file that seldom changes. It is computed again only if the file's time or length changes.
#[derive(Debug)]
pub(super) struct WatchedHash {
    path: PathBuf,
    /// Time and length of the file, and its hash at that time.
    seen: Option<((SystemTime, u64), String)>,
}

impl WatchedHash {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, seen: None }
    }

    /// The current hash of the file.
    ///
    /// # Errors
    /// When the file does not exist or cannot be read.
    pub(super) fn current(&mut self) -> io::Result<String> {
        let file = bounded_read::open(&self.path)?;
        let metadata = file.metadata()?;
        let now = (metadata.modified()?, metadata.len());
        if let Some((_, hash)) = self.seen.as_ref().filter(|(then, _)| *then == now) {
            return Ok(hash.clone());
        }
        let hash = sha256::hash(file, sha256::FLAKE_LOCK)?;
        self.seen = Some((now, hash.clone()));
        Ok(hash)
    }
}

#[cfg(test)]
mod tests;
