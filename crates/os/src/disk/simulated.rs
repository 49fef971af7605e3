//! What a simulated machine has in place of a file system.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Kind, Lock, Open};

/// A file system. Errors are those of the functions of [`Disk`](super::Disk) with the same names.
#[expect(clippy::missing_errors_doc, reason = "said once, above")]
pub trait Files: fmt::Debug + Send + Sync {
    /// Opens a regular file.
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn OpenFile>>;
    /// Makes a folder, with its parents if they are wanted.
    fn make_folder(&self, path: &Path, parents: bool) -> io::Result<()>;
    /// Renames a file or a folder.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with everything in it.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
    /// The names in a folder.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;
    /// What the path names.
    fn kind(&self, path: &Path) -> io::Result<Kind>;
    /// The target of a symbolic link.
    fn read_link(&self, path: &Path) -> io::Result<PathBuf>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Starts to watch a folder for changes of its files.
    fn watch(&self, path: &Path) -> io::Result<Box<dyn Watch>>;
}

/// An open file. Errors are those of the functions of [`File`](super::File) with the same names.
#[expect(clippy::missing_errors_doc, reason = "said once, above")]
pub trait OpenFile: fmt::Debug + Send {
    /// Reads at the position of this handle.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes at the position of this handle, or at the end of a file that was opened to append.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Moves the position of this handle.
    fn seek_to(&mut self, position: u64) -> io::Result<()>;
    /// The length of the file.
    fn length(&self) -> io::Result<u64>;
    /// When it was last written.
    fn modified(&self) -> io::Result<SystemTime> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Cuts or extends the file.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// Makes the content durable.
    fn sync(&self) -> io::Result<()>;
    /// Takes a lock, and waits for it only if `wait` is set. False if somebody else holds it.
    fn lock(&self, lock: Lock, wait: bool) -> io::Result<bool>;
    /// A handle of the same open file, with the same lock.
    fn try_clone(&self) -> io::Result<Box<dyn OpenFile>>;
}

/// Notices changes in a folder.
pub trait Watch: fmt::Debug + Send {
    /// Waits for a change since the last call, at most `limit`.
    fn wait(&mut self, limit: Duration);
}
