//! Throughput of the disks.

use std::fs;
use std::path::{Path, PathBuf};

use crate::clock::Moment;
use crate::rate::{Counters, Meter};
use crate::source::{self, Sample};

/// Longest /proc/diskstats accepted, in bytes: about 10,000 disks and partitions.
const MAX_FILE: u64 = 1 << 20;

/// The unit of /proc/diskstats in bytes, whatever the sector size of the disk is.
#[cfg(target_os = "linux")]
const SECTOR: u64 = 512;

/// Throughput of all physical disks together, in bytes per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DiskIo {
    /// Bytes read per second.
    pub read: f64,
    /// Bytes written per second.
    pub written: f64,
}

/// Parses /proc/diskstats: bytes read and written by each disk and partition.
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

/// Other systems do not have the file.
#[cfg(not(target_os = "linux"))]
pub fn parse(_: &str) -> Option<Counters> {
    None
}

/// Whether a disk is counted. Each byte must be counted once. So it must be a whole disk (partitions are not
/// in the folder) with hardware behind it, which loop devices, RAM disks, RAID, LVM, encryption and ZFS
/// volumes do not have. And it must not be a hidden path to a disk with several paths.
pub fn is_physical(block: &Path, name: &str) -> bool {
    // The kernel writes the slash of names such as cciss/c0d0 this way.
    let folder = block.join(name.replace('/', "!"));
    fs::symlink_metadata(folder.join("device")).is_ok()
        && source::line(&folder.join("hidden")).is_none_or(|hidden| hidden == "0")
}

/// Measures the throughput, and remembers the previous counters.
#[derive(Debug)]
pub struct DiskIoMeter {
    path: PathBuf,
    block: PathBuf,
    meter: Meter,
}

impl DiskIoMeter {
    /// Nothing is read yet.
    pub fn new(proc: &Path, sys: &Path) -> Self {
        Self { path: proc.join("diskstats"), block: sys.join("block"), meter: Meter::default() }
    }

    /// The rates since the previous reading; None at the first one, or if there is no physical disk.
    ///
    /// # Errors
    /// The file cannot be read or has an unexpected content.
    pub fn sample(&mut self, now: Moment) -> Sample<DiskIo> {
        let Some(all) = source::parsed(&self.path, MAX_FILE, parse)? else { return Ok(None) };
        let counters = self.meter.select(all, now, |name| is_physical(&self.block, name));
        let rates = self.meter.rates(counters, now);
        Ok(rates.map(|[read, written]| DiskIo { read, written }))
    }
}
