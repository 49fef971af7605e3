//! The log of a job: JSON lines in segments, written by the supervisor and read by the agent.
//!
//! The head (`log.jsonl`) takes half of the size limit and is never removed. Later entries go to smaller
//! segments (`log.1.jsonl`, ..), of which only the newest are kept. So a log that is too long loses its
//! middle, but neither its beginning nor its end. A reader sees the gap as a jump in `seq`.
//! An entry behind others that could not be written says so itself.
//!
//! Every entry has a position, `seq`. Lines also have a number of their own, which progress between them does
//! not use up: a dashboard sees only the numbers of lines.

use std::ffi::OsString;
use std::io;
use std::time::SystemTime;

use nixfleet_os::disk::{Lock, Open};
use serde::{Deserialize, Serialize};

use crate::progress::{OperationProgress, TestProgress};
use crate::spec::Unwritten;
use crate::{JobDir, format};

mod causes;
mod gaps;
mod reader;
mod segments;
mod writer;

pub use causes::{Causes, gap_count, gap_remark};
pub use reader::Reader;
pub use writer::Writer;

#[cfg(test)]
mod tests;

/// Origin of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The command's standard output.
    Stdout,
    /// The command's standard error.
    Stderr,
    /// The supervisor. Also the fallback for an origin that this version does not know.
    #[serde(other)]
    System,
}

/// One entry of the log. There may be thousands in memory while a command prints fast, so what few of them have is in
/// boxes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Position, from 1. Entries that the size limit removed are counted too.
    pub seq: u64,
    /// Number of this line or piece of a line, from 1. Lines that the size limit removed are counted too;
    /// progress is not. Absent in a progress entry, and in the log of a supervisor that did not number lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line_number: Option<u64>,
    /// When it was read from the command, RFC 3339.
    pub at: String,
    /// Origin of the text.
    pub stream: Source,
    /// The text; empty for a progress entry.
    pub line: String,
    /// The line goes on in the next entry.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cont: bool,
    /// Progress of the `test` command; the entry then has no text.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "format::or_default")]
    pub test: Option<Box<TestProgress>>,
    /// Progress of the command's parts; the entry then has no text.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "format::or_default")]
    pub operation: Option<Box<OperationProgress>>,
    /// What could not be written directly before this entry.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "format::or_default")]
    pub unwritten: Option<Box<Unwritten>>,
    /// Count of lines that are missing directly before this entry. It is not in the file: the [`Reader`]
    /// counts them.
    #[serde(skip)]
    pub missing: u64,
    /// Why they are missing, if anything explains it.
    #[serde(skip)]
    pub causes: Option<Box<Causes>>,
}

impl Entry {
    /// A line of its own without a number.
    pub fn new(seq: u64, at: String, stream: Source, line: String) -> Self {
        Self {
            seq,
            line_number: None,
            at,
            stream,
            line,
            cont: false,
            test: None,
            operation: None,
            unwritten: None,
            missing: 0,
            causes: None,
        }
    }

    /// Whether this is text rather than progress.
    pub fn is_text(&self) -> bool {
        self.test.is_none() && self.operation.is_none()
    }

    /// The number of this line for a dashboard. A log without line numbers has only positions.
    pub fn number(&self) -> u64 {
        self.line_number.unwrap_or(self.seq)
    }

    /// The remark that is shown in place of the lines that are missing before this entry, if there are any.
    /// It stands for the last one of them.
    pub fn gap(&self) -> Option<Self> {
        let (seq, remark) = (self.seq.saturating_sub(1), self.gap_remark()?);
        let line_number = self.line_number.map(|number| number.saturating_sub(1));
        Some(Self { line_number, ..Self::new(seq, self.at.clone(), Source::System, remark) })
    }

    /// The text of that remark.
    pub fn gap_remark(&self) -> Option<String> {
        (self.missing > 0).then(|| match &self.causes {
            Some(causes) => gap_remark(self.missing, causes),
            None => gap_remark(self.missing, &Causes::default()),
        })
    }
}

/// When the newest entry of a job's log was written. It costs no look into the log.
///
/// # Errors
/// An error of the file system.
pub fn last_written(dir: &JobDir) -> io::Result<SystemTime> {
    let names = dir.disk().list(dir.path())?;
    let number = |name: &OsString| -> Option<u32> {
        name.to_str()?.strip_prefix("log.")?.strip_suffix(".jsonl")?.parse().ok()
    };
    // Without a later segment it is the head.
    let newest = names.iter().filter_map(number).max().unwrap_or(0);
    dir.disk().open(&dir.log(newest), Open::Read)?.modified()
}

/// Prefix under which remarks ([`Source::System`]) are shown among the output of a command.
pub const REMARK: &str = "nixfleet: ";

/// Whether the supervisor of a job is alive. A supervisor holds a lock on the head of the log for its whole
/// life; the kernel releases the lock however the process ends.
///
/// # Errors
/// An error of the file system; `NotFound` if the supervisor has not created the log yet.
pub fn supervisor_lives(dir: &JobDir) -> io::Result<bool> {
    let file = dir.disk().open(&dir.log(0), Open::Read)?;
    Ok(!file.lock(Lock::Shared)?)
}
