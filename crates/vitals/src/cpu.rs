//! How busy the processors were since the previous reading.

use std::path::{Path, PathBuf};

use crate::source::{self, Sample, SourceError};

/// Bytes read of /proc/stat. Only the first line is needed, about 80 bytes. The other lines grow with the
/// number of processors and interrupts, and `procfs::KernelStats` reads and keeps all of them. Therefore this
/// module has a parser of its own.
const HEAD: u64 = 512;

/// Time since the boot by kind, all processors together, in clock ticks. Time of guests is not listed: the
/// kernel already counts it as `user` and `nice`.
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

/// Shares of the processors' time between two readings, 0 to 1. `busy` is the sum of `user`, `system`, `irq`,
/// `softirq` and `steal`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cpu {
    /// Neither idle nor waiting for a disk. Includes stolen time, in which there was work to do.
    pub busy: f64,
    /// Programs, including those with a nice value.
    pub user: f64,
    /// The kernel, on behalf of programs.
    pub system: f64,
    /// Idle, but a program waits for a disk.
    pub iowait: f64,
    /// Interrupt handlers.
    pub irq: f64,
    /// Deferred parts of interrupt handlers, mostly networking.
    pub softirq: f64,
    /// Taken by the hypervisor for other guests.
    pub steal: f64,
}

/// Parses the first line of /proc/stat.
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

/// The shares between two readings. None if no tick passed, or if a counter that should only grow became
/// smaller: then the two readings are not of the same counters. The counters of idle, waiting and stolen time
/// become slightly smaller on healthy hosts; that counts as no change.
pub fn between(earlier: &Ticks, later: &Ticks) -> Option<Cpu> {
    let grown = |part: fn(&Ticks) -> u64| part(later).checked_sub(part(earlier));
    let grown_or_zero = |part: fn(&Ticks) -> u64| part(later).saturating_sub(part(earlier));
    let user = grown(|ticks| ticks.user)?.checked_add(grown(|ticks| ticks.nice)?)?;
    let system = grown(|ticks| ticks.system)?;
    let (irq, softirq) = (grown(|ticks| ticks.irq)?, grown(|ticks| ticks.softirq)?);
    let (idle, iowait) = (grown_or_zero(|ticks| ticks.idle), grown_or_zero(|ticks| ticks.iowait));
    let steal = grown_or_zero(|ticks| ticks.steal);
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

/// Measures the processors, and remembers the previous reading.
#[derive(Debug)]
pub struct CpuMeter {
    path: PathBuf,
    previous: Option<Ticks>,
}

impl CpuMeter {
    /// Nothing is read yet.
    pub fn new(proc: &Path) -> Self {
        Self { path: proc.join("stat"), previous: None }
    }

    /// The shares since the previous reading; None at the first one.
    ///
    /// # Errors
    /// The file cannot be read or has an unexpected content.
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
