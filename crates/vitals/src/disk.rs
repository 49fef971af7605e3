//! Space and inodes of file systems.
//!
//! The kernel's list says what is mounted; reading it touches no file system. Only then each mount point is
//! queried, in a task of its own: a file system on a server that is gone does not answer for hours.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::clock::Timed;
use crate::fault::{Faults, Odd};
use crate::lines::Parsed;
use crate::source::{self, Sample};

/// Longest list of mounts accepted, in bytes: about 5,000 mounts.
const MAX_MOUNTS: u64 = 1 << 20;

/// Where systemd keeps the empty replacements for what a unit must not see, relative to the file system of
/// /run.
const INACCESSIBLE: &str = "/systemd/inaccessible/";

/// A configured file system that is mounted.
#[derive(Debug, Clone, PartialEq)]
pub struct Disk {
    /// The mount.
    pub mount: Mount,
    /// Space and inodes; None while they are unknown, for example because the file system does not answer.
    pub usage: Option<Timed<Usage>>,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Mount point, as configured.
    pub point: PathBuf,
    /// Type of the file system, such as `ext4`.
    pub filesystem: String,
}

/// Space of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Size.
    pub total: u64,
    /// Bytes in use.
    pub used: u64,
    /// Bytes available to users other than root.
    pub available: u64,
    /// Inodes; None if there is no fixed number of them, as on btrfs and FAT.
    pub inodes: Option<Inodes>,
}

impl Usage {
    /// Share in use, 0 to 1, computed as df(1) does: relative to the space that users other than root can
    /// fill. None if that space is 0.
    pub fn used_share(&self) -> Option<f64> {
        let usable = self.used.saturating_add(self.available);
        (usable > 0).then(|| self.used as f64 / usable as f64)
    }
}

/// Inodes of a file system: how many files it has and can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inodes {
    /// Count of inodes.
    pub total: u64,
    /// Count of inodes in use.
    pub used: u64,
}

/// The mount on each of the `wanted` points, in the same order. If several mounts are on one point, the last
/// one counts. None for:
/// * a folder that is no mount point, because its space is that of another mount point;
/// * a file system that is mounted on first use and is not mounted yet, because a query would mount it;
/// * a folder that systemd hides from this process, as `ProtectHome=` does, because the values would be those
///   of /run.
///
/// A line that is not understood is left out; the first one is returned as well.
pub fn parse_mounts(list: &[u8], wanted: &[PathBuf]) -> (Vec<Option<Mount>>, Option<Odd>) {
    let mut mounts = vec![None; wanted.len()];
    let mut odd = None;
    for (index, line) in list.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let Some((root, point, filesystem)) = mount(line) else {
            odd.get_or_insert_with(|| Odd::in_line(index + 1, "", "is no mount"));
            continue;
        };
        for (index, _) in wanted.iter().enumerate().filter(|(_, wanted)| **wanted == point) {
            let hidden = root.starts_with(INACCESSIBLE) || filesystem == "autofs";
            mounts[index] =
                (!hidden).then(|| Mount { point: point.clone(), filesystem: filesystem.to_owned() });
        }
    }
    (mounts, odd)
}

/// Root, mount point and file system type of a line of proc_pid_mountinfo(5).
fn mount(line: &[u8]) -> Option<(&str, PathBuf, &str)> {
    let mut words = line.split(|byte| *byte == b' ');
    let (root, point) = (words.nth(3)?, words.next()?);
    let filesystem = words.skip_while(|word| *word != b"-").nth(1)?;
    let text = |bytes| std::str::from_utf8(bytes).ok();
    Some((text(root).unwrap_or_default(), unescape(point), text(filesystem)?))
}

/// Resolves escapes: the kernel writes spaces, tabs, line ends and backslashes as three octal digits.
fn unescape(word: &[u8]) -> PathBuf {
    let mut unescaped = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((byte, behind)) = rest.split_first() {
        let octal = || std::str::from_utf8(behind.get(..3)?).ok();
        match octal().filter(|_| *byte == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(escaped) => {
                unescaped.push(escaped);
                rest = &behind[3..];
            }
            None => {
                unescaped.push(*byte);
                rest = behind;
            }
        }
    }
    PathBuf::from(OsString::from_vec(unescaped))
}

/// Reads the list of mounts; see [`parse_mounts`]. None if there is no such list.
///
/// # Errors
/// The list cannot be read, or is longer than 1 MiB: the last mount on a point counts, so a part of the list
/// does not say what is mounted.
pub fn mounts(proc: &Path, wanted: &[PathBuf], faults: &Faults) -> Sample<Vec<Option<Mount>>> {
    source::parsed(&proc.join("self/mountinfo"), MAX_MOUNTS, faults, |list| {
        let (mounts, odd) = parse_mounts(list, wanted);
        Parsed { value: Some(mounts), odd }
    })
}

/// Queries a file system. This can hang for ever. None if it has no size, such as /proc.
///
/// # Errors
/// The errors of statvfs(3).
pub fn usage(point: &Path) -> io::Result<Option<Usage>> {
    let stat = rustix::fs::statvfs(point)?;
    let block = if stat.f_frsize > 0 { stat.f_frsize } else { stat.f_bsize };
    let bytes = |blocks: u64| blocks.saturating_mul(block);
    let inodes = Inodes { total: stat.f_files, used: stat.f_files.saturating_sub(stat.f_ffree) };
    Ok((stat.f_blocks > 0).then(|| Usage {
        total: bytes(stat.f_blocks),
        used: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
        available: bytes(stat.f_bavail),
        inodes: (inodes.total > 0).then_some(inodes),
    }))
}
