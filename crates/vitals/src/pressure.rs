//! Pressure stall information: how long programs wait for processors, memory and disks.

use std::path::Path;
use std::time::Duration;

use crate::source::{self, Sample};

/// Longest file accepted, in bytes. It has two lines of about 60 bytes.
const MAX_FILE: u64 = 4 * 1024;

/// How long programs waited.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stall {
    /// Share of the last 10 s, 0 to 1.
    pub avg10: f64,
    /// Share of the last minute.
    pub avg60: f64,
    /// Share of the last five minutes.
    pub avg300: f64,
    /// Time since the boot.
    pub total: Duration,
}

/// Pressure of one resource.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pressure {
    /// At least one program waited.
    pub some: Option<Stall>,
    /// All programs waited at the same time. None for processors before Linux 5.13.
    pub full: Option<Stall>,
}

/// Parses a file of /proc/pressure. This does not use procfs, which requires both lines.
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

/// Reads the pressure of `cpu`, `memory` or `io`.
///
/// # Errors
/// The file cannot be read or has an unexpected content.
pub fn read(proc: &Path, resource: &str) -> Sample<Pressure> {
    source::parsed(&proc.join("pressure").join(resource), MAX_FILE, parse)
}
