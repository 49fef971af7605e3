//! Memory and swap.

use std::path::Path;

use super::source;
use super::source::Sample;

/// Longest /proc/meminfo read, in bytes. It has some 1,600.
const MAX_MEMINFO: u64 = 64 * 1024;

/// Longest arcstats read, in bytes. It has some 9,000.
const MAX_ARCSTATS: u64 = 256 * 1024;

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// What the kernel manages.
    pub total: u64,
    /// What nobody uses, not even as a cache.
    pub free: u64,
    /// What programs could get without swapping: the kernel's estimate and what ZFS would give back.
    /// None before Linux 3.14.
    pub available: Option<u64>,
    /// What ZFS would give back of its cache, which is in the figure above. The kernel takes it for used
    /// memory. None without ZFS.
    pub zfs_reclaimable: Option<u64>,
}

impl Memory {
    /// Share that is not available, 0 to 1.
    pub fn used(&self) -> Option<f64> {
        let available = self.available?;
        (self.total > 0).then(|| self.total.saturating_sub(available) as f64 / self.total as f64)
    }
}

/// Swap, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swap {
    /// All of it; 0 without swap.
    pub total: u64,
    /// What is in use.
    pub used: u64,
}

impl Swap {
    /// Share in use, 0 to 1; none without swap.
    pub fn used_share(&self) -> Option<f64> {
        (self.total > 0).then(|| self.used as f64 / self.total as f64)
    }
}

/// What /proc/meminfo says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meminfo {
    total: u64,
    free: u64,
    available: Option<u64>,
    swap: Swap,
}

/// /proc/meminfo.
#[cfg(target_os = "linux")]
pub fn parse(text: &str) -> Option<Meminfo> {
    use procfs::FromRead;
    // procfs cuts the last byte off each name.
    let info = procfs::Meminfo::from_read(text.is_ascii().then_some(text)?.as_bytes()).ok()?;
    let used = info.swap_total.checked_sub(info.swap_free)?;
    Some(Meminfo {
        total: info.mem_total,
        free: info.mem_free,
        available: info.mem_available,
        swap: Swap { total: info.swap_total, used },
    })
}

/// There is no such file elsewhere.
#[cfg(not(target_os = "linux"))]
pub fn parse(_: &str) -> Option<Meminfo> {
    None
}

/// What ZFS would give back of its cache: all but the least that it keeps. From ZFS's arcstats, which
/// procfs does not know.
pub fn parse_arcstats(text: &str) -> Option<u64> {
    let value = |name: &str| {
        text.lines().find_map(|line| {
            let mut words = line.split_ascii_whitespace();
            (words.next()? == name).then(|| words.nth(1)?.parse::<u64>().ok())?
        })
    };
    Some(value("size")?.saturating_sub(value("c_min")?))
}

/// Looks at both.
///
/// # Errors
/// A file that is there cannot be read, or is not what it should be. Then both are unknown: without
/// ZFS's part, a host with ZFS looks as if it were full.
pub fn read(proc: &Path) -> Sample<(Memory, Swap)> {
    let Some(info) = source::parsed(&proc.join("meminfo"), MAX_MEMINFO, parse)? else { return Ok(None) };
    let arc = source::parsed(&proc.join("spl/kstat/zfs/arcstats"), MAX_ARCSTATS, parse_arcstats)?;
    let available = info.available.map(|bytes| bytes.saturating_add(arc.unwrap_or(0)).min(info.total));
    let memory = Memory { total: info.total, free: info.free, available, zfs_reclaimable: arc };
    Ok(Some((memory, info.swap)))
}
