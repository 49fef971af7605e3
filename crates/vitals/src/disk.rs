//! How full file systems are.
//!
//! What is mounted is looked up in the kernel's list, which touches no file system. Only then is a mount
//! point itself asked, each in a look of its own: one on a server that is gone does not answer, for
//! hours.

use std::{
    ffi::OsString,
    io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use super::clock::Timed;
use super::source;
use super::source::Sample;

/// Longest list of mounts read, in bytes: some 5,000 of them.
const MAX_MOUNTS: u64 = 1 << 20;

/// Where systemd takes what a unit may not see from, below the file system of /run.
const INACCESSIBLE: &str = "/systemd/inaccessible/";

/// A file system of the list in the configuration that is mounted.
#[derive(Debug, Clone, PartialEq)]
pub struct Disk {
    /// Where and what.
    pub mount: Mount,
    /// How full. None if that is unknown, such as while it does not answer.
    pub usage: Option<Timed<Usage>>,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where, as the configuration has it.
    pub point: PathBuf,
    /// Its kind, such as `ext4`.
    pub filesystem: String,
}

/// How full a file system is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// All of it.
    pub total: u64,
    /// What is in use.
    pub used: u64,
    /// What is free to users other than root.
    pub available: u64,
    /// None where there is no fixed number of them, as on btrfs and FAT.
    pub inodes: Option<Inodes>,
}

impl Usage {
    /// Share in use, 0 to 1, as df(1) counts it: of what users other than root could fill.
    pub fn used_share(&self) -> Option<f64> {
        let usable = self.used.saturating_add(self.available);
        (usable > 0).then(|| self.used as f64 / usable as f64)
    }
}

/// How many files a file system has and can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inodes {
    /// All of them.
    pub total: u64,
    /// Those in use.
    pub used: u64,
}

/// What of the wanted is mounted, in the order in which it is wanted. Of several mounts on one point the
/// last one counts. Left out is:
/// * what is no mount point, whose space is that of another one;
/// * what is mounted on first use and not yet: to ask would mount it;
/// * what systemd hides from this process, as `ProtectHome=` does: the figures would be those of /run.
///
/// A parser of our own: for procfs one line that it does not understand spoils them all, and it leaves
/// the escapes in.
pub fn parse_mounts(list: &[u8], wanted: &[PathBuf]) -> Vec<Option<Mount>> {
    let mut mounts = vec![None; wanted.len()];
    for line in list.split(|byte| *byte == b'\n') {
        let Some((root, point, filesystem)) = mount(line) else { continue };
        for (index, _) in wanted.iter().enumerate().filter(|(_, wanted)| **wanted == point) {
            let hidden = root.starts_with(INACCESSIBLE) || filesystem == "autofs";
            mounts[index] =
                (!hidden).then(|| Mount { point: point.clone(), filesystem: filesystem.to_owned() });
        }
    }
    mounts
}

/// Root, mount point and kind of a line of proc_pid_mountinfo(5).
fn mount(line: &[u8]) -> Option<(&str, PathBuf, &str)> {
    let mut words = line.split(|byte| *byte == b' ');
    let (root, point) = (words.nth(3)?, words.next()?);
    let filesystem = words.skip_while(|word| *word != b"-").nth(1)?;
    let text = |bytes| std::str::from_utf8(bytes).ok();
    Some((text(root).unwrap_or_default(), unescape(point), text(filesystem)?))
}

/// Spaces, tabs, line ends and backslashes are written as three octal digits.
fn unescape(word: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((byte, behind)) = rest.split_first() {
        let octal = || std::str::from_utf8(behind.get(..3)?).ok();
        match octal().filter(|_| *byte == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(escaped) => {
                plain.push(escaped);
                rest = &behind[3..];
            }
            None => {
                plain.push(*byte);
                rest = behind;
            }
        }
    }
    PathBuf::from(OsString::from_vec(plain))
}

/// Looks at the list of mounts.
///
/// # Errors
/// It cannot be read, or is longer than 1 MiB.
pub fn mounts(proc: &Path, wanted: &[PathBuf]) -> Sample<Vec<Option<Mount>>> {
    let list = source::bytes(&proc.join("self/mountinfo"), MAX_MOUNTS)?;
    Ok(list.map(|list| parse_mounts(&list, wanted)))
}

/// Asks a file system, which may take for ever. None if it has no size, as those of the kernel.
///
/// # Errors
/// As for statvfs(3).
pub fn usage(point: &Path) -> io::Result<Option<Usage>> {
    let told = rustix::fs::statvfs(point)?;
    let block = if told.f_frsize > 0 { told.f_frsize } else { told.f_bsize };
    let bytes = |blocks: u64| blocks.saturating_mul(block);
    let inodes = Inodes { total: told.f_files, used: told.f_files.saturating_sub(told.f_ffree) };
    Ok((told.f_blocks > 0).then(|| Usage {
        total: bytes(told.f_blocks),
        used: bytes(told.f_blocks.saturating_sub(told.f_bfree)),
        available: bytes(told.f_bavail),
        inodes: (inodes.total > 0).then_some(inodes),
    }))
}
