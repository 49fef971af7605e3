//! Units in systemd's state "failed". They are read twice a minute at most, because a program has to be started for it.

use std::io;
use std::path::{Path, PathBuf};

use nixfleet_os::failed_units;
use nixfleet_os::subprocess::ProgramError;

use crate::source::{Sample, SourceError};

/// Most names kept. A host with more failed units needs attention in any case.
const MAX_NAMES: usize = 32;

/// The failed units.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FailedUnits {
    /// Count of failed units.
    pub count: usize,
    /// The first 32 names in alphabetical order.
    pub names: Vec<String>,
}

impl From<Vec<String>> for FailedUnits {
    fn from(mut names: Vec<String>) -> Self {
        let count = names.len();
        names.truncate(MAX_NAMES);
        Self { count, names }
    }
}

/// Starts `systemctl` and reads the failed units. None where systemd does not run.
///
/// # Errors
/// The program cannot be started, fails, exceeds [`failed_units::LIMIT`], or has an unexpected output.
pub fn read(runtime: &Path, systemctl: &Path) -> Sample<FailedUnits> {
    match failed_units::read(runtime, systemctl) {
        Ok(units) => Ok(units.map(FailedUnits::from)),
        Err(ProgramError::Io(err)) if err.kind() == io::ErrorKind::InvalidData => {
            Err(SourceError::garbage(systemctl))
        }
        Err(source) => Err(SourceError::Program { program: PathBuf::from(systemctl), source }),
    }
}
