//! Values in sysfs: one small file each, and an error for whatever the driver does not want to say.

use std::{
    cell::Cell,
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use rustix::io::Errno;

use nixfleet_os::bounded_read;

/// Longest file read, in bytes: a page, which is the most that sysfs shows.
const MAX_FILE: u64 = 4096;

type Read = Box<dyn Fn(&Path) -> io::Result<Vec<u8>> + Send>;

/// How files are read, so that tests can have errors which no plain file gives.
pub(super) struct Sysfs {
    read: Read,
    /// Whether a driver has said that its device is not there any more.
    gone: Cell<bool>,
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
        Self { read, gone: Cell::new(false) }
    }

    /// The file's text without the space around it. Every error means that the value is not known:
    /// EBUSY and EPERM from a GPU that has just gone to sleep, EOPNOTSUPP and EINVAL from one that
    /// has a file but no such sensor.
    pub(super) fn text(&self, path: &Path) -> Option<String> {
        match (self.read)(path) {
            Ok(bytes) => Some(std::str::from_utf8(&bytes).ok()?.trim().to_owned()),
            Err(error) => {
                if matches!(Errno::from_io_error(&error), Some(Errno::NODEV | Errno::NXIO)) {
                    self.gone.set(true);
                }
                None
            }
        }
    }

    /// A whole number, and nothing but that.
    pub(super) fn number<N: FromStr>(&self, path: &Path) -> Option<N> {
        self.text(path)?.parse().ok()
    }

    /// A number as sysfs writes those of PCI: `0x10de`.
    pub(super) fn hex(&self, path: &Path) -> Option<u32> {
        u32::from_str_radix(self.text(path)?.strip_prefix("0x")?, 16).ok()
    }

    /// Whether a device was found missing since the last call.
    pub(super) fn take_gone(&self) -> bool {
        self.gone.take()
    }
}

/// The entries of a folder with such names, in order. Listing a folder asks no driver.
pub(super) fn entries(dir: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<_> = listing
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(&wanted))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// Whether a name is a word and a number, such as `card0`. Not `card0-DP-1`, which is a plug.
pub(super) fn numbered(name: &str, word: &str) -> bool {
    name.strip_prefix(word)
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}
