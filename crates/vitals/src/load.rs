//! Load averages, count of processors, and uptime.

use std::path::Path;
use std::time::Duration;

use crate::clock::Moment;
use crate::fault::Faults;
use crate::lines::Parsed;
use crate::source::{Sample, Source};

/// Longest file accepted, in bytes. The longest is the list of processors, a few hundred bytes on a host
/// where many processors are offline.
const MAX_FILE: u64 = 4 * 1024;

/// Largest plausible count of processors, 16 times the limit of the kernel.
const MAX_PROCESSORS: u64 = 1 << 17;

/// Load averages: count of programs that run, wait to run, or wait for a disk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Over one minute.
    pub one: f64,
    /// Over five minutes.
    pub five: f64,
    /// Over fifteen minutes.
    pub fifteen: f64,
    /// Count of online processors, for comparison.
    pub processors: Option<u64>,
}

/// Parses /proc/loadavg. Only its first three words are needed.
pub fn parse(text: &[u8]) -> Parsed<Load> {
    let words = words(text).map(|word| number(word?));
    let mut words = words.into_iter();
    let mut next = || words.next().flatten();
    match (next(), next(), next()) {
        (Some(one), Some(five), Some(fifteen)) => Parsed::all(Load { one, five, fifteen, processors: None }),
        _ => Parsed::nothing("does not begin with three numbers"),
    }
}

/// The first three words of the first line, each with white space behind it: without it, digits may be missing.
fn words(text: &[u8]) -> [Option<&str>; 3] {
    let line = text.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line.split_inclusive(u8::is_ascii_whitespace);
    std::array::from_fn(|_| std::str::from_utf8(words.next()?.split_last()?.1).ok())
}

fn number(word: &str) -> Option<f64> {
    let value: f64 = word.parse().ok()?;
    // The addition turns -0 into 0.
    (value.is_finite() && value >= 0.0).then_some(value + 0.0)
}

/// Count of processors in a list such as `0-3,8`, as in /sys/devices/system/cpu/online.
pub fn parse_processors(text: &str) -> Option<u64> {
    let mut count: u64 = 0;
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    (count <= MAX_PROCESSORS).then_some(count)
}

/// Parses /proc/uptime: time since the boot, including sleep. Only its first word is needed.
pub fn parse_uptime(text: &[u8]) -> Parsed<Duration> {
    let seconds =
        words(text)[0].and_then(number).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.map_or_else(|| Parsed::nothing("does not begin with a number of seconds"), Parsed::all)
}

/// Reads the load averages.
#[derive(Debug)]
pub struct LoadMeter {
    loadavg: Source,
    online: Source,
}

impl LoadMeter {
    /// Nothing is read yet.
    pub fn new(proc: &Path, sys: &Path) -> Self {
        Self {
            loadavg: Source::new(proc.join("loadavg"), MAX_FILE),
            online: Source::new(sys.join("devices/system/cpu/online"), MAX_FILE),
        }
    }

    /// The load averages.
    ///
    /// # Errors
    /// The file cannot be read or has an unexpected content.
    pub fn sample(&mut self, now: Moment, faults: &Faults) -> Sample<Load> {
        let load = self.loadavg.parsed(now, faults, parse)?;
        let parse = |text: &[u8]| {
            let count = std::str::from_utf8(text).ok().and_then(parse_processors);
            count.map_or_else(|| Parsed::nothing("is no list of processors"), Parsed::all)
        };
        // The load is useful without the count of processors.
        let processors = self.online.parsed(now, faults, parse).unwrap_or_default();
        Ok(load.map(|load| Load { processors, ..load }))
    }
}

/// Reads the time since the boot.
#[derive(Debug)]
pub struct UptimeMeter(Source);

impl UptimeMeter {
    /// Nothing is read yet.
    pub fn new(proc: &Path) -> Self {
        Self(Source::new(proc.join("uptime"), MAX_FILE))
    }

    /// The time since the boot, including sleep.
    ///
    /// # Errors
    /// The file cannot be read or has an unexpected content.
    pub fn sample(&mut self, now: Moment, faults: &Faults) -> Sample<Duration> {
        self.0.parsed(now, faults, parse_uptime)
    }
}
