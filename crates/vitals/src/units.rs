//! Units in systemd's state "failed".
//!
//! `systemctl` is started, twice a minute at most and with a time limit. D-Bus would save some milliseconds
//! of processor time, but would need two hundred lines for its wire format. And `systemctl` can reach the
//! service manager as root, as a user, and without a bus.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nixfleet_os::subprocess;

use crate::source::{Sample, SourceError};

/// Longest wait for `systemctl`. It answers within milliseconds unless the service manager reloads.
pub const LIMIT: Duration = Duration::from_secs(3);

/// Most names kept. A host with more failed units needs attention in any case.
const MAX_NAMES: usize = 32;

/// Longest name of a unit, in bytes (systemd.unit(5)).
const MAX_NAME: usize = 255;

const ARGUMENTS: [&str; 6] = ["list-units", "--failed", "--plain", "--full", "--no-legend", "--no-pager"];

/// The failed units.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FailedUnits {
    /// Count of failed units.
    pub count: usize,
    /// The first 32 names in alphabetical order.
    pub names: Vec<String>,
}

/// Parses the output of `systemctl list-units --failed`, which has one unit per line.
pub fn parse(text: &str) -> Option<FailedUnits> {
    let mut names = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let (name, _load, active) = (words.next()?, words.next()?, words.next()?);
        if active != "failed" || !name.contains('.') || name.len() > MAX_NAME {
            return None;
        }
        names.push(name.to_owned());
    }
    let count = names.len();
    names.sort_unstable();
    names.truncate(MAX_NAMES);
    Some(FailedUnits { count, names })
}

/// Starts `systemctl` and reads the failed units. None where systemd does not run.
///
/// # Errors
/// The program cannot be started, fails, exceeds [`LIMIT`], or has an unexpected output.
pub fn read(runtime: &Path, systemctl: &Path) -> Sample<FailedUnits> {
    // This is how sd_booted(3) detects systemd.
    if !runtime.join("system").is_dir() {
        return Ok(None);
    }
    let failed = |source| SourceError::Program { program: PathBuf::from(systemctl), source };
    let answer = subprocess::output(systemctl, &ARGUMENTS, LIMIT).map_err(failed)?;
    let units = std::str::from_utf8(&answer).ok().and_then(parse);
    units.map(Some).ok_or_else(|| SourceError::garbage(systemctl))
}
