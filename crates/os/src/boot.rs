//! The identity of the current boot.

use std::path::Path;

use crate::Disk;

/// Longest file read, in bytes. It holds a UUID and a line end.
const MAX_FILE: u64 = 4096;

/// Longest valid identity, in bytes.
const MAX_ID: usize = 256;

/// The identity of the current boot: a UUID that the kernel generates. `proc` is the mount point of procfs.
/// `None` if it cannot be read or is malformed.
pub fn boot_id(proc: &Path) -> Option<String> {
    boot_id_on(&Disk::real(), proc)
}

/// [`boot_id`] of the machine with that disk.
pub fn boot_id_on(disk: &Disk, proc: &Path) -> Option<String> {
    let bytes = disk.read(&proc.join("sys/kernel/random/boot_id"), MAX_FILE).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let id = text.trim();
    let fits = !id.is_empty() && id.len() <= MAX_ID && !id.contains(char::is_control);
    fits.then(|| id.to_owned())
}
