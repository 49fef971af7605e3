//! Units in systemd's state "failed", by `systemctl`.
//!
//! D-Bus would save some milliseconds of processor time, but would need two hundred lines for its wire format. And
//! `systemctl` can reach the service manager as root, as a user, and without a bus.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::short;
use crate::subprocess::{self, ProgramError};

/// Longest wait for `systemctl`. It answers within milliseconds unless the service manager reloads.
pub const LIMIT: Duration = Duration::from_secs(3);

/// Longest name of a unit, in bytes (systemd.unit(5)).
const MAX_NAME: usize = 255;

const ARGUMENTS: [&str; 6] = ["list-units", "--failed", "--plain", "--full", "--no-legend", "--no-pager"];

/// Parses the output of `systemctl list-units --failed`, which has one unit per line: the names in alphabetical order.
pub fn parse(text: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let (name, _load, active) = (words.next()?, words.next()?, words.next()?);
        if active != "failed" || !name.contains('.') || name.len() > MAX_NAME {
            return None;
        }
        names.push(name.to_owned());
    }
    short::sort(&mut names);
    Some(names)
}

/// Starts `systemctl` and reads the names of the failed units, in alphabetical order. None where systemd does not run:
/// `runtime` is its folder, `/run/systemd`.
///
/// # Errors
/// The program cannot be started, fails, exceeds [`LIMIT`], or has an unexpected output
/// ([`io::ErrorKind::InvalidData`]).
pub fn read(runtime: &Path, systemctl: &Path) -> Result<Option<Vec<String>>, ProgramError> {
    // This is how sd_booted(3) detects systemd.
    if !runtime.join("system").is_dir() {
        return Ok(None);
    }
    let answer = subprocess::output(systemctl, &ARGUMENTS, LIMIT)?;
    let units = std::str::from_utf8(&answer).ok().and_then(parse);
    units.map(Some).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData).into())
}
