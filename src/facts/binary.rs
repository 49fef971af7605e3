//! The hash of the running binary, which is computed once for each file.
//!
//! Hashing takes tens of milliseconds of a processor that a busy host needs for the connection. An agent that is
//! restarted is nearly always the same file, so the hash is kept with what identifies that file.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::freshness;

/// Nanoseconds in a second.
const NANOSECONDS: i64 = 1_000_000_000;

/// What identifies a file and its content. Nobody can change the content and leave the time of the change, except by
/// setting the clock back or by writing to the disk itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileId {
    path: String,
    device: u64,
    inode: u64,
    size: u64,
    /// Time of its content, in nanoseconds since 1970.
    modified_ns: i64,
    /// Time of its last change of any kind.
    changed_ns: i64,
}

impl FileId {
    /// That of the running binary.
    ///
    /// # Errors
    /// When the binary cannot be looked at.
    pub(super) fn of_running() -> io::Result<Self> {
        let path = std::env::current_exe()?;
        Ok(Self::new(&path, &std::fs::metadata(freshness::running_binary()?)?))
    }

    fn new(path: &Path, file: &Metadata) -> Self {
        let ns = |seconds: i64, rest: i64| seconds.saturating_mul(NANOSECONDS).saturating_add(rest);
        Self {
            path: path.to_string_lossy().into_owned(),
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified_ns: ns(file.mtime(), file.mtime_nsec()),
            changed_ns: ns(file.ctime(), file.ctime_nsec()),
        }
    }
}

/// A file, and its hash.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hashed {
    file: FileId,
    /// SHA-256 in hex.
    sha256: String,
}

impl Hashed {
    pub(super) fn new(file: FileId, sha256: String) -> Self {
        Self { file, sha256 }
    }

    /// The hash, if it is one, and if it is that of this file.
    pub(super) fn of(&self, file: &FileId) -> Option<&str> {
        /// Digits of a SHA-256.
        const DIGITS: usize = 64;
        let is_hash = self.sha256.len() == DIGITS && self.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_hash && self.file == *file).then_some(self.sha256.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_another_one_after_every_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let id = || FileId::new(&path, &fs::metadata(&path).unwrap());
        fs::write(&path, "one").unwrap();
        let first = id();
        assert_eq!(first, id());
        let time = fs::metadata(&path).unwrap().modified().unwrap();

        // As in the Nix store: same length, same time of the content.
        let other = folder.path().join("other");
        fs::write(&other, "two").unwrap();
        fs::File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
        fs::rename(&other, &path).unwrap();
        let second = id();
        assert_eq!((first.size, first.modified_ns), (second.size, second.modified_ns));
        assert_ne!(first, second);

        let hash = "ab".repeat(32);
        let hashed = Hashed::new(first.clone(), hash.clone());
        assert_eq!(hashed.of(&first), Some(hash.as_str()));
        assert_eq!(hashed.of(&second), None);
        for (name, other) in [
            ("path", FileId { path: "/other".to_owned(), ..first.clone() }),
            ("device", FileId { device: first.device + 1, ..first.clone() }),
            ("inode", FileId { inode: first.inode + 1, ..first.clone() }),
            ("size", FileId { size: first.size + 1, ..first.clone() }),
            ("content", FileId { modified_ns: first.modified_ns + 1, ..first.clone() }),
            ("change", FileId { changed_ns: first.changed_ns + 1, ..first.clone() }),
        ] {
            assert_eq!(hashed.of(&other), None, "{name}");
        }
        for damaged in ["", "ab", &"zz".repeat(32)] {
            assert_eq!(Hashed::new(first.clone(), damaged.to_owned()).of(&first), None, "{damaged}");
        }
    }
}
