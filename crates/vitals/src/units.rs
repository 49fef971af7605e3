//! Units that systemd calls failed.
//!
//! `systemctl` is asked, once in half a minute and with a limit. The bus itself would save some
//! milliseconds of processor time then, and cost two hundred lines of its wire format here; and
//! `systemctl` knows how to reach the service manager as root, as a user, and without a bus.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::source::{Sample, SourceError};
use nixfleet_os::subprocess;

/// Longest wait for the answer. The service manager answers within milliseconds unless it reloads.
pub const LIMIT: Duration = Duration::from_secs(3);

/// Most names kept. Who has more failed units looks at the host anyway.
const MAX_NAMES: usize = 32;

/// Longest name of a unit, in bytes (systemd.unit(5)).
const MAX_NAME: usize = 255;

const ARGUMENTS: [&str; 6] = ["list-units", "--failed", "--plain", "--full", "--no-legend", "--no-pager"];

/// The failed units.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FailedUnits {
    /// How many.
    pub count: usize,
    /// The first 32 of them, by name.
    pub names: Vec<String>,
}

/// The answer of `systemctl list-units --failed`: a unit in each line, and what it is.
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

/// Asks. None where systemd does not run.
///
/// # Errors
/// The program cannot be started, fails, is too slow, or says something else.
pub fn read(runtime: &Path, systemctl: &Path) -> Sample<FailedUnits> {
    // As sd_booted(3) does.
    if !runtime.join("system").is_dir() {
        return Ok(None);
    }
    let failed = |source| SourceError::Program { program: PathBuf::from(systemctl), source };
    let answer = subprocess::output(systemctl, &ARGUMENTS, LIMIT).map_err(failed)?;
    let units = std::str::from_utf8(&answer).ok().and_then(parse);
    units.map(Some).ok_or_else(|| SourceError::garbage(systemctl))
}
