//! Memory and swap.

use std::path::Path;

use crate::source::{self, Sample};

/// Longest /proc/meminfo accepted, in bytes. Usual are 1,600.
const MAX_MEMINFO: u64 = 64 * 1024;

/// Longest arcstats accepted, in bytes. Usual are 9,000.
const MAX_ARCSTATS: u64 = 256 * 1024;

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Memory that the kernel manages.
    pub total: u64,
    /// Memory that is not used at all, not even as a cache.
    pub free: u64,
    /// Memory that programs can allocate without swapping: the kernel's estimate plus `zfs_reclaimable`. None
    /// before Linux 3.14.
    pub available: Option<u64>,
    /// Cache that ZFS would release, already included in `available`. The kernel counts it as used memory.
    /// None without ZFS.
    pub zfs_reclaimable: Option<u64>,
}

impl Memory {
    /// Share that is not available, 0 to 1. None if `available` is unknown.
    pub fn used(&self) -> Option<f64> {
        let available = self.available?;
        (self.total > 0).then(|| self.total.saturating_sub(available) as f64 / self.total as f64)
    }
}

/// Swap, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swap {
    /// Size; 0 without swap.
    pub total: u64,
    /// Bytes in use.
    pub used: u64,
}

impl Swap {
    /// Share in use, 0 to 1; None without swap.
    pub fn used_share(&self) -> Option<f64> {
        (self.total > 0).then(|| self.used as f64 / self.total as f64)
    }
}

/// The values of /proc/meminfo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meminfo {
    total: u64,
    free: u64,
    available: Option<u64>,
    swap: Swap,
}

/// Parses /proc/meminfo.
#[cfg(target_os = "linux")]
pub fn parse(text: &str) -> Option<Meminfo> {
    use procfs::FromRead;
    // procfs cuts the last byte off each name, which panics inside a character of several bytes.
    let info = procfs::Meminfo::from_read(text.is_ascii().then_some(text)?.as_bytes()).ok()?;
    let used = info.swap_total.checked_sub(info.swap_free)?;
    Some(Meminfo {
        total: info.mem_total,
        free: info.mem_free,
        available: info.mem_available,
        swap: Swap { total: info.swap_total, used },
    })
}

/// Other systems do not have the file.
#[cfg(not(target_os = "linux"))]
pub fn parse(_: &str) -> Option<Meminfo> {
    None
}

/// Parses ZFS's arcstats, which procfs does not know: the cache that ZFS would release, which is its size
/// without the minimum that it keeps.
pub fn parse_arcstats(text: &str) -> Option<u64> {
    let value = |name: &str| {
        text.lines().find_map(|line| {
            let mut words = line.split_ascii_whitespace();
            (words.next()? == name).then(|| words.nth(1)?.parse::<u64>().ok())?
        })
    };
    Some(value("size")?.saturating_sub(value("c_min")?))
}

/// Reads memory and swap.
///
/// # Errors
/// An existing file cannot be read or has an unexpected content. Then both values are unknown: without the
/// cache of ZFS, a host with ZFS would seem to be full.
pub fn read(proc: &Path) -> Sample<(Memory, Swap)> {
    let Some(info) = source::parsed(&proc.join("meminfo"), MAX_MEMINFO, parse)? else { return Ok(None) };
    let arc = source::parsed(&proc.join("spl/kstat/zfs/arcstats"), MAX_ARCSTATS, parse_arcstats)?;
    let available = info.available.map(|bytes| bytes.saturating_add(arc.unwrap_or(0)).min(info.total));
    let memory = Memory { total: info.total, free: info.free, available, zfs_reclaimable: arc };
    Ok(Some((memory, info.swap)))
}
