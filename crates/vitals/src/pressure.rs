//! Pressure stall information: for how long programs wait for what they lack.

use std::{path::Path, time::Duration};

use super::source;
use super::source::Sample;

/// Longest file read, in bytes. It has two lines of some 60.
const MAX_FILE: u64 = 4 * 1024;

/// How long programs stood still.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stall {
    /// Share of the last 10 s, 0 to 1.
    pub avg10: f64,
    /// Of the last minute.
    pub avg60: f64,
    /// Of the last five.
    pub avg300: f64,
    /// Since the boot.
    pub total: Duration,
}

/// One resource.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pressure {
    /// At least one program stood still.
    pub some: Option<Stall>,
    /// All of them did at once. None for processors before Linux 5.13.
    pub full: Option<Stall>,
}

/// A file below /proc/pressure. Not by procfs, which wants both lines.
pub fn parse(text: &str) -> Option<Pressure> {
    let line = |kind: &str| text.lines().find_map(|line| stall(line.strip_prefix(kind)?.strip_prefix(' ')?));
    let pressure = Pressure { some: line("some"), full: line("full") };
    (pressure.some.is_some() || pressure.full.is_some()).then_some(pressure)
}

fn stall(text: &str) -> Option<Stall> {
    let value = |name: &str| {
        text.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    };
    let share = |name: &str| {
        let percent: f64 = value(name)?.parse().ok()?;
        (percent.is_finite() && percent >= 0.0).then(|| (percent / 100.0).min(1.0))
    };
    Some(Stall {
        avg10: share("avg10")?,
        avg60: share("avg60")?,
        avg300: share("avg300")?,
        total: Duration::from_micros(value("total")?.parse().ok()?),
    })
}

/// Looks at `cpu`, `memory` or `io`.
///
/// # Errors
/// The file cannot be read, or is not what it should be.
pub fn read(proc: &Path, resource: &str) -> Sample<Pressure> {
    source::parsed(&proc.join("pressure").join(resource), MAX_FILE, parse)
}
