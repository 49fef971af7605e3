//! Which build of the agent runs, and which flake.lock the checkout has.

use std::{
    fs::File,
    io::{self, Read},
    path::{Component, Path, PathBuf},
    time::SystemTime,
};

use sha2::{Digest, Sha256};

use crate::files;

/// Where Nix keeps what it builds.
const STORE: &str = "/nix/store";

/// Longest file hashed, in bytes. An agent with all its debug information has some 200 MB.
const MAX_HASHED: u64 = 1024 * 1024 * 1024;

/// Bytes hashed at a time.
const PIECE: usize = 64 * 1024;

/// File of the package, beside the folder of its programs, with the commit it was built from. Not in
/// the binary: a commit that changes nothing in it would compile it anew.
const SOURCE_COMMIT: &str = "share/nixfleet-agent/source-commit";

/// Longest [`SOURCE_COMMIT`] read, in bytes.
const MAX_COMMIT: u64 = 1024;

/// Commit that a program was built from, as its package tells; none outside a package.
pub fn source_commit(program: &Path) -> Option<String> {
    let path = program.parent()?.parent()?.join(SOURCE_COMMIT);
    let text = String::from_utf8(files::read(&path, MAX_COMMIT).ok()?).ok()?;
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

/// SHA-256 of a regular file in hex, read in pieces.
///
/// # Errors
/// The file cannot be read, is not a regular one, or is longer than 1 GiB.
pub fn hash_file(path: &Path) -> io::Result<String> {
    hash(files::open(path)?)
}

fn hash(file: File) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; PIECE];
    let mut left = MAX_HASHED;
    let mut file = file;
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => {
                left = left.checked_sub(length as u64).ok_or(io::ErrorKind::FileTooLarge)?;
                hasher.update(&piece[..length]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
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
        let file = files::open(&self.path)?;
        let metadata = file.metadata()?;
        let now = (metadata.modified()?, metadata.len());
        if let Some((_, hash)) = self.seen.as_ref().filter(|(then, _)| *then == now) {
            return Ok(hash.clone());
        }
        let hash = hash(file)?;
        self.seen = Some((now, hash.clone()));
        Ok(hash)
    }
}

#[cfg(test)]
mod tests;
