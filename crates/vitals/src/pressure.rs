//! Pressure stall information: how long programs wait for processors, memory and disks.

use std::path::Path;
use std::time::Duration;

use crate::clock::Moment;
use crate::fault::Faults;
use crate::lines::{self, Parsed, Problem};
use crate::source::{Sample, Source};

/// Longest file that is read whole, in bytes. It has two lines of about 60 bytes.
const MAX_FILE: u64 = 64 * 1024;

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

/// Parses a file of /proc/pressure.
pub fn parse(text: &[u8]) -> Parsed<Pressure> {
    let mut found = Pressure { some: None, full: None };
    let odd = lines::each(text, |line| {
        let (kind, figures) = line.split_once(' ').unwrap_or((line, ""));
        let place = match kind {
            "some" => &mut found.some,
            "full" => &mut found.full,
            _ => return Err(Problem { label: "", reason: "is neither `some` nor `full`" }),
        };
        *place =
            Some(stall(figures).ok_or(Problem { label: kind, reason: "lacks one of its four figures" })?);
        Ok(())
    });
    Parsed { value: Some(found).filter(|found| found.some.is_some() || found.full.is_some()), odd }
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

/// Reads the pressure of one resource.
#[derive(Debug)]
pub struct PressureMeter(Source);

impl PressureMeter {
    /// Nothing is read yet. `resource` is `cpu`, `memory` or `io`.
    pub fn new(proc: &Path, resource: &str) -> Self {
        Self(Source::new(proc.join("pressure").join(resource), MAX_FILE))
    }

    /// The pressure.
    ///
    /// # Errors
    /// The file cannot be read or has an unexpected content.
    pub fn sample(&mut self, now: Moment, faults: &Faults) -> Sample<Pressure> {
        self.0.parsed_lines(now, faults, parse)
    }
}
