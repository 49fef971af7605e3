//! What could not be read or understood: which file, which line, and why.
//!
//! A figure that is missing for such a reason is unknown, and somebody should be able to find out why. So each
//! file is named once in the log, and `doctor` names all of them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nixfleet_os::error;

/// Most files that are remembered. A host has about thirty sources, and a sensor is a file of its own.
const MAX_FILES: usize = 64;

/// Most warnings about one file. A file that is different garbage at each reading would fill the log.
const MAX_WARNINGS: u32 = 8;

/// Longest name of a line that is shown, in characters. The text is that of the file, which may be anything.
const MAX_LABEL: usize = 32;

/// A part of a file that is not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Odd {
    /// Number of the line, from 1; None if it is about the whole file.
    pub line: Option<usize>,
    /// Name of the line, such as `MemFree`, without control characters; may be empty.
    pub label: String,
    /// What is wrong with it. It does not quote the content.
    pub reason: String,
}

impl Odd {
    /// A line that is not understood.
    pub(super) fn in_line(line: usize, label: &str, reason: impl Into<String>) -> Self {
        Self { line: Some(line), ..Self::named(label, reason) }
    }

    /// Something of the whole file, such as two lines that contradict each other.
    pub(super) fn named(label: &str, reason: impl Into<String>) -> Self {
        let label = label.chars().flat_map(char::escape_debug).take(MAX_LABEL).collect();
        Self { line: None, label, reason: reason.into() }
    }

    /// The whole file.
    pub(super) fn whole(reason: impl Into<String>) -> Self {
        Self::named("", reason)
    }

    /// Whether it would be told in the same words. The number of a line does not count: lines move.
    fn is_same(&self, other: &Self) -> bool {
        (&self.label, &self.reason) == (&other.label, &other.reason)
    }
}

/// A file, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, or the mount point of a file system.
    pub path: PathBuf,
    /// What is wrong with it.
    pub odd: Odd,
}

/// `/proc/meminfo, line 2 (MemFree): is no number with kB behind it`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, odd: Odd { line, label, reason } } = self;
        write!(f, "{}", path.display())?;
        match (line, label.as_str()) {
            (Some(line), "") => write!(f, ", line {line}")?,
            (Some(line), label) => write!(f, ", line {line} ({label})")?,
            (None, "") => {}
            (None, label) => write!(f, ", {label}")?,
        }
        write!(f, ": {reason}")
    }
}

/// The faults of all files. Each is logged once, and again when the reason changes.
#[derive(Debug, Default)]
pub struct Faults {
    files: Mutex<BTreeMap<PathBuf, File>>,
}

/// What is known of one file.
#[derive(Debug)]
struct File {
    /// What was wrong at the last reading.
    now: Option<Odd>,
    /// What was logged last.
    said: Odd,
    warnings: u32,
}

impl Faults {
    /// Takes what is wrong with a file at this reading; None if nothing is.
    pub(super) fn note(&self, path: &Path, odd: Option<Odd>) {
        // A thread that panicked left a map that is as good as before.
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = files.get_mut(path) else {
            if let Some(odd) = odd
                && files.len() < MAX_FILES
            {
                warn(path, &odd);
                files.insert(path.to_owned(), File { now: Some(odd.clone()), said: odd, warnings: 1 });
                if files.len() == MAX_FILES {
                    tracing::warn!("{MAX_FILES} files were not understood; no more are named.");
                }
            }
            return;
        };
        if let Some(odd) = &odd
            && !odd.is_same(&file.said)
            && file.warnings < MAX_WARNINGS
        {
            warn(path, odd);
            file.said = odd.clone();
            file.warnings += 1;
        }
        file.now = odd;
    }

    /// What was wrong at the last reading of each file, by path.
    pub fn now(&self) -> Vec<Fault> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files
            .iter()
            .filter_map(|(path, file)| Some(Fault { path: path.clone(), odd: file.now.clone()? }))
            .collect()
    }
}

/// A file that cannot be read.
pub(super) fn unreadable(cause: &std::io::Error) -> Odd {
    Odd::whole(format!("cannot be read: {}", error::chain(cause)))
}

fn warn(path: &Path, odd: &Odd) {
    let fault = Fault { path: path.to_owned(), odd: odd.clone() };
    tracing::warn!("A figure of this host is unknown: {fault}.");
}

#[cfg(test)]
mod tests;
