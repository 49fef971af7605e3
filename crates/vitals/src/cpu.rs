//! What the processors did since the last look.

use std::path::{Path, PathBuf};

use super::source;
use super::source::{Sample, SourceError};

/// Only the first line counts, and it has some 80 bytes. The lines behind it grow with processors and
/// interrupts; `procfs::KernelStats` reads and keeps them all, hence a parser of our own.
const HEAD: u64 = 512;

/// Time since the boot by what it went into, all processors together, in ticks. Guests are not among
/// them: the kernel has counted them as `user` and `nice` already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticks {
    user: u64,
    nice: u64,
    system: u64,
    idle: u64,
    iowait: u64,
    irq: u64,
    softirq: u64,
    steal: u64,
}

/// Shares of the processors' time between two looks, 0 to 1; all but `busy` and idle add up to `busy`
/// and `iowait`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cpu {
    /// Not idle, and not waiting for a disk. Stolen time is in it: there was work to do.
    pub busy: f64,
    /// Programs, nice ones included.
    pub user: f64,
    /// The kernel on their behalf.
    pub system: f64,
    /// Idle, but a program waits for a disk.
    pub iowait: f64,
    /// Interrupts.
    pub irq: f64,
    /// Their second halves, networking for the most part.
    pub softirq: f64,
    /// Taken by the hypervisor for other guests.
    pub steal: f64,
}

/// The first line of /proc/stat.
pub fn parse(text: &str) -> Option<Ticks> {
    let (line, _) = text.split_once('\n')?;
    let mut numbers = line.strip_prefix("cpu ")?.split_ascii_whitespace().map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some(Ticks {
        user: next()?,
        nice: next()?,
        system: next()?,
        idle: next()?,
        iowait: next()?,
        irq: next()?,
        softirq: next()?,
        steal: next()?,
    })
}

/// The shares between two looks. None if no tick passed, or if a counter that only grows stepped back:
/// the two looks then are not at the same counters. Idle, waiting and stolen time do step back a little
/// on hosts that are fine, and then count as nothing.
pub fn between(earlier: &Ticks, later: &Ticks) -> Option<Cpu> {
    let grown = |part: fn(&Ticks) -> u64| part(later).checked_sub(part(earlier));
    let about = |part: fn(&Ticks) -> u64| part(later).saturating_sub(part(earlier));
    let user = grown(|ticks| ticks.user)?.checked_add(grown(|ticks| ticks.nice)?)?;
    let system = grown(|ticks| ticks.system)?;
    let (irq, softirq) = (grown(|ticks| ticks.irq)?, grown(|ticks| ticks.softirq)?);
    let (idle, iowait) = (about(|ticks| ticks.idle), about(|ticks| ticks.iowait));
    let steal = about(|ticks| ticks.steal);
    let busy: u128 = [user, system, irq, softirq, steal].map(u128::from).iter().sum();
    let total = busy + u128::from(idle) + u128::from(iowait);
    let share = |part: u128| part as f64 / total as f64;
    (total > 0).then(|| Cpu {
        busy: share(busy),
        user: share(user.into()),
        system: share(system.into()),
        iowait: share(iowait.into()),
        irq: share(irq.into()),
        softirq: share(softirq.into()),
        steal: share(steal.into()),
    })
}

/// Remembers the last look.
#[derive(Debug)]
pub struct CpuMeter {
    path: PathBuf,
    previous: Option<Ticks>,
}

impl CpuMeter {
    /// Has not looked yet.
    pub fn new(proc: &Path) -> Self {
        Self { path: proc.join("stat"), previous: None }
    }

    /// The shares since the last look; none at the first one.
    ///
    /// # Errors
    /// The file cannot be read, or is not what it should be.
    pub fn sample(&mut self) -> Sample<Cpu> {
        let Some(head) = source::present(&self.path, source::head(&self.path, HEAD))? else {
            return Ok(None);
        };
        let ticks = std::str::from_utf8(&head).ok().and_then(parse);
        let ticks = ticks.ok_or_else(|| SourceError::garbage(&self.path))?;
        let earlier = self.previous.replace(ticks);
        Ok(earlier.and_then(|earlier| between(&earlier, &ticks)))
    }
}
