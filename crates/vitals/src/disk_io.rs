//! Bytes to and from the disks.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::clock::Moment;
use super::rate::{Counters, Meter};
use super::source;
use super::source::Sample;

/// Longest /proc/diskstats read, in bytes: some 10,000 disks and partitions.
const MAX_FILE: u64 = 1 << 20;

/// The unit of /proc/diskstats, whatever the disk's own sectors are.
#[cfg(target_os = "linux")]
const SECTOR: u64 = 512;

/// Bytes in a second, all disks with hardware behind them together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DiskIo {
    /// Read.
    pub read: f64,
    /// Written.
    pub written: f64,
}

/// /proc/diskstats: bytes read and written by each disk and partition.
#[cfg(target_os = "linux")]
pub fn parse(text: &str) -> Option<Counters> {
    use procfs::FromBufRead;
    let disks = procfs::DiskStats::from_buf_read(text.as_bytes()).ok()?;
    let bytes = |sectors: u64| sectors.saturating_mul(SECTOR);
    Some(
        disks
            .0
            .into_iter()
            .map(|disk| (disk.name, [bytes(disk.sectors_read), bytes(disk.sectors_written)]))
            .collect(),
    )
}

/// There is no such file elsewhere.
#[cfg(not(target_os = "linux"))]
pub fn parse(_: &str) -> Option<Counters> {
    None
}

/// Whether a disk counts, so that each byte counts once: a whole disk (partitions are not in the
/// folder) with hardware behind it, which loop devices, RAM disks, RAID, LVM, encryption and ZFS volumes
/// have not, and not a hidden path to a disk that has several.
pub fn is_physical(block: &Path, name: &str) -> bool {
    // As the kernel does with names such as cciss/c0d0.
    let folder = block.join(name.replace('/', "!"));
    fs::symlink_metadata(folder.join("device")).is_ok()
        && source::line(&folder.join("hidden")).is_none_or(|hidden| hidden == "0")
}

/// Remembers the last look.
#[derive(Debug)]
pub struct DiskIoMeter {
    path: PathBuf,
    block: PathBuf,
    meter: Meter,
}

impl DiskIoMeter {
    /// Has not looked yet.
    pub fn new(proc: &Path, sys: &Path) -> Self {
        Self { path: proc.join("diskstats"), block: sys.join("block"), meter: Meter::default() }
    }

    /// The rates since the last look; none at the first one, or if no disk counts.
    ///
    /// # Errors
    /// The file cannot be read, or is not what it should be.
    pub fn sample(&mut self, now: Moment) -> Sample<DiskIo> {
        let Some(all) = source::parsed(&self.path, MAX_FILE, parse)? else { return Ok(None) };
        let counters = self.meter.chosen(all, now, |name| is_physical(&self.block, name));
        let rates = self.meter.rates(counters, now);
        Ok(rates.map(|[read, written]| DiskIo { read, written }))
    }
}
