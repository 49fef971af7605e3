//! `/proc/locks`: who holds a lock of flock(2) on a file. See proc_locks(5).

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of the table that are read: some ten thousand locks. A lock behind them counts as free; then NixOS refuses
/// the activation by itself.
pub(super) const MAX_TABLE: u64 = 1024 * 1024;

/// A file, as the table names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) inode: u64,
}

impl Identity {
    /// That of the file at `path`; None without one.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let meta = std::fs::metadata(path).ok()?;
        #[cfg(target_os = "linux")]
        let (major, minor) = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
        #[cfg(not(target_os = "linux"))]
        let (major, minor) = (0, 0);
        Some(Self { major, minor, inode: meta.ino() })
    }

    /// `00:19:1234`: numbers of the device in hexadecimal, that of the file in decimal digits.
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(':');
        let (major, minor, inode) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some(Self {
            major: u32::from_str_radix(major, 16).ok()?,
            minor: u32::from_str_radix(minor, 16).ok()?,
            inode: inode.parse().ok()?,
        })
    }
}

/// The process that holds a lock on the file: `None` if nobody does, `Some(None)` if the process is of another
/// namespace.
pub(super) fn holder(table: &str, file: Identity) -> Option<Option<u32>> {
    table.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (_number, kind) = (words.next()?, words.next()?);
        // `->` in place of the kind stands in front of one that waits.
        let (_mandatory, _access, pid, place) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let is_held = kind == "FLOCK" && Identity::parse(place) == Some(file);
        is_held.then(|| pid.parse::<u32>().ok().filter(|pid| *pid > 0))
    })
}
