//! How busy the processors were since the previous reading.

use std::path::Path;

use crate::clock::Moment;
use crate::fault::{Faults, Odd};
use crate::lines::Parsed;
use crate::source::{Sample, Source};

/// Bytes read of /proc/stat. Only the first line is needed, about 80 bytes. The other lines grow with the
/// number of processors and interrupts.
const HEAD: u64 = 4 * 1024;

/// Most ticks that can pass in a second: the largest tick rate of Linux, 1000, on 131,072 processors, 16
/// times the limit of the kernel. More than that is a counter that jumped, as stolen time does on some
/// hypervisors when a guest is moved.
const MAX_TICKS: f64 = 1000.0 * 131_072.0;

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

/// Parses the line of /proc/stat that is about all processors together.
pub fn parse(text: &[u8]) -> Parsed<Ticks> {
    let mut lines = text.split_inclusive(|byte| *byte == b'\n').enumerate();
    let line = lines.find_map(|(index, line)| {
        let line = std::str::from_utf8(line).ok()?.strip_prefix("cpu ")?;
        Some((index + 1, line.strip_suffix('\n')?))
    });
    let Some((number, line)) = line else {
        return Parsed { value: None, odd: Some(Odd::named("cpu", "is missing")) };
    };
    let value = ticks(line);
    let odd = value.is_none().then(|| Odd::in_line(number, "cpu", "does not begin with eight whole numbers"));
    Parsed { value, odd }
}

fn ticks(line: &str) -> Option<Ticks> {
    let mut numbers = line.split_ascii_whitespace().map(str::parse);
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
/// become slightly smaller on healthy hosts; that counts as no change. Idle time that became smaller by more
/// than all other time grew is not slight: a processor was switched off and on. Then nothing is known, because
/// a host that is idle would seem to be fully busy.
pub fn between(earlier: &Ticks, later: &Ticks) -> Option<Cpu> {
    let grown = |part: fn(&Ticks) -> u64| part(later).checked_sub(part(earlier));
    let grown_or_zero = |part: fn(&Ticks) -> u64| part(later).saturating_sub(part(earlier));
    let user = grown(|ticks| ticks.user)?.checked_add(grown(|ticks| ticks.nice)?)?;
    let system = grown(|ticks| ticks.system)?;
    let (irq, softirq) = (grown(|ticks| ticks.irq)?, grown(|ticks| ticks.softirq)?);
    let (idle, iowait) = (grown_or_zero(|ticks| ticks.idle), grown_or_zero(|ticks| ticks.iowait));
    let steal = grown_or_zero(|ticks| ticks.steal);
    let others = [user, system, irq, softirq, steal, iowait].map(u128::from).iter().sum();
    if u128::from(earlier.idle.saturating_sub(later.idle)) > others {
        return None;
    }
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
    stat: Source,
    previous: Option<(Moment, Ticks)>,
    /// The reading before the counters stepped back, if they did so at the previous reading.
    before_step: Option<Ticks>,
}

impl CpuMeter {
    /// Nothing is read yet.
    pub fn new(proc: &Path) -> Self {
        Self { stat: Source::new(proc.join("stat"), HEAD), previous: None, before_step: None }
    }

    /// The shares since the previous reading; None at the first one, and at the first two after the counters
    /// stepped back: if they return to where they were, the difference is not about this time.
    ///
    /// # Errors
    /// The file cannot be read, or the line has an unexpected content.
    pub fn sample(&mut self, now: Moment, faults: &Faults) -> Sample<Cpu> {
        let Some(ticks) = self.stat.parsed_head(now, faults, parse)? else { return Ok(None) };
        let Some((then, earlier)) = self.previous.replace((now, ticks)) else { return Ok(None) };
        let before_step = self.before_step.take();
        let found = between(&earlier, &ticks);
        if found.is_none() && earlier != ticks {
            self.before_step = Some(earlier);
        }
        let returned = before_step.is_some_and(|before| between(&before, &ticks).is_some());
        let most = now.awake_since(then).as_secs_f64().max(1.0) * MAX_TICKS;
        let is_plausible = ticks.since(&earlier) as f64 <= most;
        Ok(found.filter(|_| !returned && is_plausible))
    }
}

impl Ticks {
    /// Growth of all counters together, without those that became smaller.
    fn since(&self, earlier: &Self) -> u128 {
        let parts = |ticks: &Self| {
            let Self { user, nice, system, idle, iowait, irq, softirq, steal } = *ticks;
            [user, nice, system, idle, iowait, irq, softirq, steal]
        };
        parts(self)
            .into_iter()
            .zip(parts(earlier))
            .map(|(later, earlier)| u128::from(later.saturating_sub(earlier)))
            .sum()
    }
}
