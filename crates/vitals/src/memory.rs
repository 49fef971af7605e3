//! Memory and swap.
//!
//! A figure is unknown if its line is missing or odd: nothing is computed from other lines instead. A part
//! that is larger than its whole, such as more free swap than swap, is unknown as well.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Moment;
use crate::collector::Collectors;
use crate::disk;
use crate::fault::{Faults, Odd};
use crate::lines::{self, Parsed, Problem};
use crate::source::Source;

/// Longest /proc/meminfo and arcstats that are read whole, in bytes. Usual are 1,600 and 9,000.
const MAX_FILE: u64 = 1 << 20;

/// Time after which it is checked again whether another program supplies /proc/meminfo. The list of mounts
/// can be long, and containers do not change this way while they run.
const RECHECK: Duration = Duration::from_secs(60);

/// Where lxcfs mounts its own meminfo in a container.
const MEMINFO: &str = "/proc/meminfo";

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Memory that the kernel manages.
    pub total: Option<u64>,
    /// Memory that is not used at all, not even as a cache.
    pub free: Option<u64>,
    /// Memory that programs can allocate without swapping: the kernel's estimate plus `zfs_reclaimable`. None
    /// where the kernel gives no estimate, as before Linux 3.14: the sum of free memory and caches is another
    /// figure.
    pub available: Option<u64>,
    /// Cache that ZFS would release, already included in `available`. The kernel counts it as used memory.
    /// None without ZFS.
    pub zfs_reclaimable: Option<u64>,
}

impl Memory {
    /// Share that is not available, 0 to 1. None if `total` or `available` is unknown.
    pub fn used(&self) -> Option<f64> {
        let (total, available) = (self.total?, self.available?);
        (total > 0).then(|| total.saturating_sub(available) as f64 / total as f64)
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Meminfo {
    /// The line MemTotal.
    pub total: Option<u64>,
    /// The line MemFree.
    pub free: Option<u64>,
    /// The line MemAvailable.
    pub available: Option<u64>,
    /// The lines SwapTotal and SwapFree.
    pub swap: Option<Swap>,
}

/// Parses /proc/meminfo. Any line may be missing: other kernels have few of them.
pub fn parse(text: &[u8]) -> Parsed<Meminfo> {
    let mut found = Meminfo::default();
    let (mut swap_total, mut swap_free) = (None, None);
    let mut odd = lines::each(text, |line| {
        let (name, value) = line.split_once(':').ok_or(Problem { label: "", reason: "has no colon" })?;
        let figure = match name {
            "MemTotal" => &mut found.total,
            "MemFree" => &mut found.free,
            "MemAvailable" => &mut found.available,
            "SwapTotal" => &mut swap_total,
            "SwapFree" => &mut swap_free,
            _ => return Ok(()),
        };
        *figure =
            Some(kibibytes(value).ok_or(Problem { label: name, reason: "is no number with kB behind it" })?);
        Ok(())
    });
    let mut contradiction = |part: &mut Option<u64>, whole: Option<u64>, name: &str, reason: &str| {
        if part.is_some_and(|part| whole.is_some_and(|whole| part > whole)) {
            *part = None;
            odd.get_or_insert_with(|| Odd::named(name, reason));
        }
    };
    contradiction(&mut found.free, found.total, "MemFree", "is more than MemTotal");
    contradiction(&mut found.available, found.total, "MemAvailable", "is more than MemTotal");
    contradiction(&mut swap_free, swap_total, "SwapFree", "is more than SwapTotal");
    found.swap = swap_total.zip(swap_free).map(|(total, free)| Swap { total, used: total - free });
    if found.total.is_none() {
        odd.get_or_insert_with(|| Odd::named("MemTotal", "is missing"));
    }
    Parsed { value: Some(found).filter(|found| *found != Meminfo::default()), odd }
}

/// Bytes of a value such as ` 16384 kB`. Values without a unit are counts of pages or of something else.
fn kibibytes(value: &str) -> Option<u64> {
    let mut words = value.split_ascii_whitespace();
    let number: u64 = words.next()?.parse().ok()?;
    (words.next()? == "kB" && words.next().is_none()).then_some(())?;
    number.checked_mul(1024)
}

/// The cache of ZFS, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZfsCache {
    size: u64,
    /// What it keeps at least.
    min: u64,
    /// What it may grow to; None if that line is missing.
    max: Option<u64>,
}

impl ZfsCache {
    /// What ZFS would release.
    pub fn reclaimable(&self) -> u64 {
        self.size.saturating_sub(self.min)
    }

    /// Whether the cache cannot be in a memory of this size. Then arcstats is that of the host, and the
    /// memory that of a container.
    fn exceeds(&self, total: u64) -> bool {
        self.size > total || self.max.is_some_and(|max| max > total)
    }
}

/// Parses ZFS's arcstats. None without the lines `size` and `c_min`.
pub fn parse_arcstats(text: &[u8]) -> Parsed<ZfsCache> {
    let (mut size, mut min, mut max) = (None, None, None);
    let odd = lines::each(text, |line| {
        let mut words = line.split_ascii_whitespace();
        let (name, value) = (words.next().unwrap_or_default(), words.nth(1));
        let figure = match name {
            "size" => &mut size,
            "c_min" => &mut min,
            "c_max" => &mut max,
            _ => return Ok(()),
        };
        let number = value.and_then(|value| value.parse::<u64>().ok());
        *figure = Some(number.ok_or(Problem { label: name, reason: "is no whole number" })?);
        Ok(())
    });
    Parsed { value: size.zip(min).map(|(size, min)| ZfsCache { size, min, max }), odd }
}

/// Reads memory and swap, and remembers whether the memory is that of a container.
#[derive(Debug)]
pub struct MemoryMeter {
    proc: PathBuf,
    meminfo: Source,
    arcstats: Source,
    is_foreign: Option<(Moment, bool)>,
}

impl MemoryMeter {
    /// Nothing is read yet.
    pub fn new(proc: &Path) -> Self {
        Self {
            proc: proc.to_owned(),
            meminfo: Source::new(proc.join("meminfo"), MAX_FILE),
            arcstats: Source::new(proc.join("spl/kstat/zfs/arcstats"), MAX_FILE),
            is_foreign: None,
        }
    }

    /// Memory and swap. If ZFS's cache cannot be read, `available` is unknown: without the cache, a host with
    /// ZFS would seem to be full.
    pub fn sample(&mut self, now: Moment, collectors: &Collectors) -> (Option<Memory>, Option<Swap>) {
        let faults = &collectors.faults;
        let info =
            collectors.memory.run(|| self.meminfo.parsed_lines(now, faults, parse)).unwrap_or_default();
        let Meminfo { total, free, available, swap } = info;
        // Within: None without ZFS. Around: None if it cannot be read.
        let cache = collectors.zfs.run(|| self.arcstats.parsed_lines(now, faults, parse_arcstats).map(Some));
        // The usual host has no ZFS, and nothing else is read.
        let counts = cache != Some(None) && !self.is_foreign(now);
        let is_unknown = counts && cache.is_none();
        let cache =
            cache.flatten().filter(|cache| counts && total.is_some_and(|total| !cache.exceeds(total)));
        let zfs_reclaimable = cache.map(|cache| cache.reclaimable());
        let available = available
            .filter(|_| !is_unknown)
            .map(|bytes| bytes.saturating_add(zfs_reclaimable.unwrap_or(0)).min(total.unwrap_or(u64::MAX)));
        let is_known = total.is_some() || free.is_some() || available.is_some();
        (is_known.then_some(Memory { total, free, available, zfs_reclaimable }), swap)
    }

    /// Whether /proc/meminfo is not the kernel's but mounted by another program, as lxcfs does it in a
    /// container. Then the memory is that of the container, and the cache of ZFS that of the host.
    fn is_foreign(&mut self, now: Moment) -> bool {
        if let Some((checked, foreign)) = self.is_foreign
            && now.since(checked) <= RECHECK
        {
            return foreign;
        }
        let mounts = disk::mounts(&self.proc, &[PathBuf::from(MEMINFO)], &Faults::default());
        let foreign = mounts.ok().flatten().is_some_and(|mounts| mounts.iter().any(Option::is_some));
        self.is_foreign = Some((now, foreign));
        foreign
    }
}
