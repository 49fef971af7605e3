//! Throughput of the disks.

use std::fs;
use std::path::{Path, PathBuf};

use crate::clock::Moment;
use crate::fault::Faults;
use crate::lines::{self, Parsed, Problem};
use crate::rate::{Counters, Meter, Selection};
use crate::source::{self, Sample, Source};

/// Longest /proc/diskstats that is read whole, in bytes: about 10,000 disks and partitions.
const MAX_FILE: u64 = 1 << 20;

/// The unit of /proc/diskstats in bytes, whatever the sector size of the disk is.
const SECTOR: u64 = 512;

/// Throughput of all physical disks together, in bytes per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DiskIo {
    /// Bytes read per second.
    pub read: f64,
    /// Bytes written per second.
    pub written: f64,
}

/// Parses /proc/diskstats: bytes read and written by each disk and partition. A host without disks has an
/// empty file.
pub fn parse(text: &[u8]) -> Parsed<Counters> {
    let mut disks = Counters::new();
    let odd = lines::each(text, |line| {
        let mut words = line.split_ascii_whitespace();
        let name = words.nth(2).ok_or(Problem { label: "", reason: "has no name of a disk" })?;
        // Behind the name: reads, merged reads, sectors, milliseconds, and the same of writes.
        let mut number = |skipped: usize| words.nth(skipped)?.parse::<u64>().ok();
        let (read, written) = (number(2), number(3));
        // Without a word behind them, digits may be missing.
        let (Some(read), Some(written), Some(_)) = (read, written, words.next()) else {
            return Err(Problem { label: name, reason: "lacks a whole number of sectors" });
        };
        disks.insert(name.to_owned(), [read, written].map(|sectors| sectors.saturating_mul(SECTOR)));
        Ok(())
    });
    Parsed { value: (text.is_empty() || !disks.is_empty()).then_some(disks), odd }
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
    diskstats: Source,
    block: PathBuf,
    physical: Selection,
    meter: Meter,
}

impl DiskIoMeter {
    /// Nothing is read yet.
    pub fn new(proc: &Path, sys: &Path) -> Self {
        Self {
            diskstats: Source::new(proc.join("diskstats"), MAX_FILE),
            block: sys.join("block"),
            physical: Selection::default(),
            meter: Meter::default(),
        }
    }

    /// The rates since the previous reading; None at the first one, or if there is no physical disk.
    ///
    /// # Errors
    /// The file cannot be read, or none of its lines is understood.
    pub fn sample(&mut self, now: Moment, faults: &Faults) -> Sample<DiskIo> {
        let Some(all) = self.diskstats.parsed_lines(now, faults, parse)? else { return Ok(None) };
        let counters = self.physical.of(&all, now, |name| is_physical(&self.block, name));
        let rates = self.meter.rates(counters, now);
        Ok(rates.map(|[read, written]| DiskIo { read, written }))
    }
}
