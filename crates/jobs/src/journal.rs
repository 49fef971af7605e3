//! The log of a job: JSON lines in segments, written by the supervisor and read by the agent.
//!
//! The head (`log.jsonl`) takes half of the size limit and stays. What follows goes to smaller
//! segments (`log.1.jsonl`, ..) of which the newest are kept, so that a flood costs its middle and
//! neither its beginning nor its end. A reader sees a cut as a jump in `seq`.

use std::fs::File;
use std::io;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::JobDir;
use crate::format;
use crate::progress::{OperationProgress, TestProgress};
pub use reader::Reader;
pub use writer::Writer;

mod reader;
mod writer;

#[cfg(test)]
mod tests;

/// Where an entry came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The command's standard output.
    Stdout,
    /// The command's standard error.
    Stderr,
    /// The supervisor. Also the fallback for a source that this version does not know.
    #[serde(other)]
    System,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Position from 1, counting also what the size limit cut out.
    pub seq: u64,
    /// When it was read from the command, RFC 3339.
    pub at: String,
    /// Where it came from.
    pub stream: Source,
    /// The text; empty for a progress entry.
    pub line: String,
    /// The line goes on in the next entry.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cont: bool,
    /// Instead of text: how far the `test` command is.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "format::or_default")]
    pub test: Option<TestProgress>,
    /// Instead of text: how far the command's parts are.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "format::or_default")]
    pub operation: Option<Box<OperationProgress>>,
}

/// What stands in the place of entries that the size limit took.
pub fn cut(missing: u64) -> String {
    let (lines, are) = if missing == 1 { ("line", "is") } else { ("lines", "are") };
    format!("{missing} {lines} {are} missing here: the log reached its size limit")
}

/// Whether the supervisor of a job is alive: it holds a lock on the log's head for its whole life,
/// which the kernel drops however it dies.
///
/// # Errors
/// Of the file system; `NotFound` when the supervisor has not come so far yet.
pub fn supervisor_lives(dir: &JobDir) -> io::Result<bool> {
    let file = File::open(dir.log(0))?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(err) => Err(err.into()),
    }
}
