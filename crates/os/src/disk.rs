//! The file system, as a handle: that of the machine, or that of a simulated one.
//!
//! Files are opened as regular files only: a FIFO, a device or a folder in the place of a file is an error at once,
//! and never a wait.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use crate::bounded_read;

mod file;
mod simulated;

pub use file::File;
pub use simulated::{Files, OpenFile, Watch};

/// Mode of a new file, as far as the umask allows: the group of the folder may read it, as people do who may read logs.
const NEW_FILE: u32 = 0o640;

/// Mode of a folder for its user alone.
pub const PRIVATE: u32 = 0o700;

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// To read it.
    Read,
    /// To write at its end. It is created if it does not exist.
    Append,
    /// To write it anew. It is created if it does not exist.
    Truncate,
    /// To write it, or to lock it, without changing it. It is created if it does not exist.
    Keep,
}

/// A lock of a whole file. It belongs to the open file: the kernel releases it when the last handle is closed,
/// however the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Any number of holders.
    Shared,
    /// One holder.
    Exclusive,
}

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A FIFO, a socket or a device.
    Other,
}

/// The file system of a machine. A clone is the same file system.
#[derive(Debug, Clone, Default)]
pub struct Disk(Option<Arc<dyn Files>>);

impl Disk {
    /// The file system of this machine.
    pub fn real() -> Self {
        Self(None)
    }

    /// The file system of a simulated machine.
    pub fn simulated(files: Arc<dyn Files>) -> Self {
        Self(Some(files))
    }

    /// The simulated file system; none on a real machine.
    pub fn simulation(&self) -> Option<&Arc<dyn Files>> {
        self.0.as_ref()
    }

    /// Opens a regular file.
    ///
    /// # Errors
    /// An error of the file system; [`io::ErrorKind::InvalidInput`] if it is not a regular file.
    pub fn open(&self, path: &Path, how: Open) -> io::Result<File> {
        if let Some(files) = &self.0 {
            return files.open(path, how).map(File::simulated);
        }
        let mut options = OpenOptions::new();
        match how {
            Open::Read => options.read(true),
            Open::Append => options.append(true).create(true),
            Open::Truncate => options.write(true).create(true).truncate(true),
            Open::Keep => options.write(true).create(true).truncate(false),
        };
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = options.mode(NEW_FILE).custom_flags(flags.bits().cast_signed()).open(path)?;
        bounded_read::regular(file).map(File::real)
    }

    /// Reads a regular file of at most `limit` bytes.
    ///
    /// # Errors
    /// As for [`Self::open`]; [`io::ErrorKind::FileTooLarge`] if the file is longer than `limit`.
    pub fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        bounded_read::read_open(self.open(path, Open::Read)?, limit)
    }

    /// Makes a folder.
    ///
    /// # Errors
    /// An error of the file system.
    pub fn make_folder(&self, path: &Path, mode: u32) -> io::Result<()> {
        match &self.0 {
            None => DirBuilder::new().mode(mode).create(path),
            Some(files) => files.make_folder(path, false),
        }
    }

    /// Makes a folder and its parents. A folder that exists is no error.
    ///
    /// # Errors
    /// An error of the file system.
    pub fn make_folders(&self, path: &Path, mode: u32) -> io::Result<()> {
        match &self.0 {
            None => DirBuilder::new().recursive(true).mode(mode).create(path),
            Some(files) => files.make_folder(path, true),
        }
    }

    /// Renames a file; a file of the new name is replaced.
    ///
    /// # Errors
    /// An error of the file system.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match &self.0 {
            None => fs::rename(from, to),
            Some(files) => files.rename(from, to),
        }
    }

    /// Removes a file.
    ///
    /// # Errors
    /// An error of the file system.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        match &self.0 {
            None => fs::remove_file(path),
            Some(files) => files.remove(path),
        }
    }

    /// Removes a folder with everything in it.
    ///
    /// # Errors
    /// An error of the file system.
    pub fn remove_folder(&self, path: &Path) -> io::Result<()> {
        match &self.0 {
            None => fs::remove_dir_all(path),
            Some(files) => files.remove_folder(path),
        }
    }

    /// The names in a folder, in no order.
    ///
    /// # Errors
    /// An error of the file system.
    pub fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        match &self.0 {
            None => fs::read_dir(path)?.map(|item| Ok(item?.file_name())).collect(),
            Some(files) => files.list(path),
        }
    }

    /// Up to `limit` names in a folder below `folder`, in no order. No symbolic link below `folder` is followed, so
    /// that root may read a folder of another user.
    ///
    /// # Errors
    /// An error of the file system; `NotADirectory` or another one for a symbolic link.
    pub fn list_below(&self, folder: &Path, below: &[&str], limit: usize) -> io::Result<Vec<OsString>> {
        if let Some(files) = &self.0 {
            let path = below.iter().fold(folder.to_owned(), |path, name| path.join(name));
            return Ok(files.list(&path)?.into_iter().take(limit).collect());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut opened = rustix::fs::open(folder, flags, rustix::fs::Mode::empty())?;
        for name in below {
            let flags = flags | OFlags::NOFOLLOW;
            opened = rustix::fs::openat(&opened, *name, flags, rustix::fs::Mode::empty())?;
        }
        let mut names = Vec::new();
        for item in rustix::fs::Dir::new(opened)?.take(limit) {
            let name = item?.file_name().to_bytes().to_owned();
            if !matches!(&*name, b"." | b"..") {
                names.push(OsString::from_vec(name));
            }
        }
        Ok(names)
    }

    /// What the path names. A symbolic link is not followed.
    ///
    /// # Errors
    /// An error of the file system; [`io::ErrorKind::NotFound`] if there is nothing.
    pub fn kind(&self, path: &Path) -> io::Result<Kind> {
        match &self.0 {
            None => fs::symlink_metadata(path).map(|metadata| match metadata.file_type() {
                kind if kind.is_file() => Kind::File,
                kind if kind.is_dir() => Kind::Folder,
                kind if kind.is_symlink() => Kind::Link,
                _ => Kind::Other,
            }),
            Some(files) => files.kind(path),
        }
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// An error of the file system.
    pub fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        match &self.0 {
            None => fs::read_link(path),
            Some(files) => files.read_link(path),
        }
    }

    /// Makes the names in a folder durable: what was created, renamed and removed in it.
    ///
    /// # Errors
    /// An error of the file system.
    pub fn sync_folder(&self, path: &Path) -> io::Result<()> {
        match &self.0 {
            #[allow(clippy::disallowed_methods, reason = "a folder of our own, which opens at once")]
            None => fs::File::open(path)?.sync_all(),
            Some(files) => files.sync_folder(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_file_is_written_read_locked_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, path) = (Disk::real(), folder.path().join("a/b/file"));
        disk.make_folders(path.parent().unwrap(), 0o750).unwrap();
        let mut file = disk.open(&path, Open::Append).unwrap();
        file.write_all(b"one two").unwrap();
        file.sync_all().unwrap();
        assert_eq!(file.length().unwrap(), 7);
        file.set_len(3).unwrap();
        assert_eq!(disk.read(&path, 3).unwrap(), b"one");
        assert_eq!(disk.read(&path, 2).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(file.lock(Lock::Exclusive).unwrap());
        let mut other = disk.open(&path, Open::Read).unwrap();
        assert!(!other.lock(Lock::Shared).unwrap(), "held");
        other.seek_to(1).unwrap();
        let mut rest = String::new();
        other.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "ne");
        disk.rename(&path, &path.with_file_name("new")).unwrap();
        disk.sync_folder(path.parent().unwrap()).unwrap();
        assert_eq!(disk.list(path.parent().unwrap()).unwrap(), ["new"]);
        assert_eq!(disk.kind(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(disk.kind(folder.path()).unwrap(), Kind::Folder);
        disk.remove_folder(&folder.path().join("a")).unwrap();
        assert!(disk.list(folder.path()).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_file_is_an_error_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        for how in [Open::Read, Open::Append, Open::Truncate, Open::Keep] {
            for path in [folder.path(), &fifo] {
                assert!(Disk::real().open(path, how).is_err(), "{how:?} {}", path.display());
            }
        }
    }
}
