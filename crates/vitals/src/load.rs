//! Load averages, count of processors, and uptime.

use std::path::Path;
use std::time::Duration;

use crate::source::{self, Sample};

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

/// Parses /proc/loadavg.
#[cfg(target_os = "linux")]
pub fn parse(text: &str) -> Option<Load> {
    use procfs::FromRead;
    let load = procfs::LoadAverage::from_read(text.as_bytes()).ok()?;
    let number = |value: f32| {
        // The value as written, which has two decimals; an f32 becomes inexact in an f64.
        let value = (f64::from(value) * 100.0).round() / 100.0;
        (value.is_finite() && value >= 0.0).then_some(value + 0.0)
    };
    Some(Load {
        one: number(load.one)?,
        five: number(load.five)?,
        fifteen: number(load.fifteen)?,
        processors: None,
    })
}

/// Other systems do not have the file.
#[cfg(not(target_os = "linux"))]
pub fn parse(_: &str) -> Option<Load> {
    None
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

/// Parses /proc/uptime: time since the boot, including sleep.
#[cfg(target_os = "linux")]
pub fn parse_uptime(text: &str) -> Option<Duration> {
    use procfs::FromRead;
    Duration::try_from_secs_f64(procfs::Uptime::from_read(text.as_bytes()).ok()?.uptime).ok()
}

/// Other systems do not have the file.
#[cfg(not(target_os = "linux"))]
pub fn parse_uptime(_: &str) -> Option<Duration> {
    None
}

/// Reads the load averages.
///
/// # Errors
/// The file cannot be read or has an unexpected content.
pub fn read(proc: &Path, sys: &Path) -> Sample<Load> {
    let load = source::parsed(&proc.join("loadavg"), MAX_FILE, parse)?;
    let online = sys.join("devices/system/cpu/online");
    // The load is useful without the count of processors.
    let processors = source::parsed(&online, MAX_FILE, parse_processors).ok().flatten();
    Ok(load.map(|load| Load { processors, ..load }))
}

/// Reads the time since the boot, including sleep.
///
/// # Errors
/// As for [`read`].
pub fn read_uptime(proc: &Path) -> Sample<Duration> {
    source::parsed(&proc.join("uptime"), MAX_FILE, parse_uptime)
}
