//! Values in sysfs: one small file for each, and an error if the driver does not give the value.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::{fmt, fs, io};

use rustix::io::Errno;

use nixfleet_os::{bounded_read, short};

use crate::fault::{self, Faults, Odd};

/// Longest file accepted, in bytes: a page, which is the limit of sysfs.
const MAX_FILE: u64 = 4096;

/// Errors with which a driver says that it has no value now, or none at all.
const REFUSALS: [Errno; 7] =
    [Errno::BUSY, Errno::PERM, Errno::ACCESS, Errno::OPNOTSUPP, Errno::INVAL, Errno::NODATA, Errno::AGAIN];

type Read = Box<dyn Fn(&Path) -> io::Result<Vec<u8>> + Send>;

/// Reads files. Tests replace the function to get errors that a plain file cannot give.
pub(super) struct Sysfs {
    read: Read,
    /// Whether a driver has reported that its device is gone.
    gone: Cell<bool>,
    /// The files that could not be read or understood.
    faults: Arc<Faults>,
}

impl fmt::Debug for Sysfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sysfs").field("gone", &self.gone).finish_non_exhaustive()
    }
}

impl Sysfs {
    pub(super) fn new() -> Self {
        Self::with(Box::new(|path| bounded_read::read(path, MAX_FILE)))
    }

    pub(super) fn with(read: Read) -> Self {
        Self { read, gone: Cell::new(false), faults: Arc::default() }
    }

    /// The text of a file without surrounding white space. Every error means that the value is unknown: EBUSY
    /// and EPERM come from a GPU that has just gone to sleep, EOPNOTSUPP and EINVAL from one that has the
    /// file but no such sensor. Other errors are noted.
    pub(super) fn text(&self, path: &Path) -> Option<String> {
        match (self.read)(path) {
            Ok(bytes) => match std::str::from_utf8(&bytes) {
                Ok(text) => {
                    self.faults.note(path, None);
                    Some(text.trim().to_owned())
                }
                Err(_) => {
                    self.faults.note(path, Some(Odd::whole("is not UTF-8")));
                    None
                }
            },
            Err(error) => {
                match Errno::from_io_error(&error) {
                    Some(Errno::NODEV | Errno::NXIO) => self.gone.set(true),
                    Some(Errno::NOENT | Errno::NOTDIR) => {}
                    Some(errno) if REFUSALS.contains(&errno) => {}
                    _ => self.faults.note(path, Some(fault::unreadable(&error))),
                }
                None
            }
        }
    }

    /// A file with one whole number.
    pub(super) fn number<N: FromStr>(&self, path: &Path) -> Option<N> {
        let number = self.text(path)?.parse().ok();
        if number.is_none() {
            self.faults.note(path, Some(Odd::whole("is not the whole number that it should be")));
        }
        number
    }

    /// A file with one hexadecimal number, such as `0x10de`.
    pub(super) fn hex(&self, path: &Path) -> Option<u32> {
        u32::from_str_radix(self.text(path)?.strip_prefix("0x")?, 16).ok()
    }

    /// The files that could not be read or understood.
    pub(super) fn faults(&self) -> &Arc<Faults> {
        &self.faults
    }

    /// Whether a driver has reported since the last call that its device is gone.
    pub(super) fn take_gone(&self) -> bool {
        self.gone.take()
    }
}

/// The entries of a folder with wanted names, in order. Listing a folder does not query a driver.
pub(super) fn entries(dir: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<_> = listing
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(&wanted))
        .map(|entry| entry.path())
        .collect();
    short::sort(&mut found);
    found
}

/// Whether a name is a word and a number, such as `card0`. `card0-DP-1` is a connector.
pub(super) fn numbered(name: &str, word: &str) -> bool {
    name.strip_prefix(word)
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}
