//! Commands as jobs: each has a folder, a supervisor process and a life of its own.
//!
//! ```text
//! agent --launcher--> supervisor (exec-job) --spawns--> the command's steps
//!   ^                     | spec.json  log.jsonl  state.json  result.json
//!   '----- follower ------'
//! ```
//!
//! The agent never is the parent of a command. It asks a [`launcher::Launcher`] to start a
//! supervisor, which owns the pipes and writes everything to the job's folder, and follows that
//! folder. A restart, crash or upgrade of the agent, or the loss of the network, touches none of
//! it: the command runs on, its log has no hole, its result is there to be read.
//!
//! Nothing in here knows of a WebSocket.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::facts::checkout::CHECKOUT_FILE;

pub mod desk;
pub mod follower;
pub mod history;
pub mod journal;
pub mod launcher;
pub mod lines;
pub mod record;
pub mod spec;
pub mod supervisor;
pub mod tree;

/// Identity of a job: 32 hex digits that sort by the time they were made (UUID version 7).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

/// Text that is not a [`JobId`].
#[derive(Debug, thiserror::Error)]
#[error("a job id is 32 lower-case hex digits")]
pub struct BadJobId;

impl JobId {
    /// Makes a new one.
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7().simple().to_string())
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for JobId {
    type Err = BadJobId;

    fn from_str(text: &str) -> Result<Self, BadJobId> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == 32 && text.bytes().all(hex) { Ok(Self(text.to_owned())) } else { Err(BadJobId) }
    }
}

impl TryFrom<String> for JobId {
    type Error = BadJobId;

    fn try_from(text: String) -> Result<Self, BadJobId> {
        text.parse()
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0
    }
}

/// What a supervisor is told on its command line: `<command>-<job id>`.
///
/// It is the instance name of a systemd unit as well, so it holds nothing but the name of a
/// command of the table and an id; all else comes from the configuration of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Name of the command; whether the table has it is for the supervisor to say.
    pub command: String,
    /// The job.
    pub id: JobId,
}

/// The longest name of a command.
pub const MAX_COMMAND_NAME: usize = 32;

/// An instance name that no supervisor accepts.
#[derive(Debug, thiserror::Error)]
#[error("not a job instance: expected <command>-<32 hex digits>, with a command of [a-z0-9-]")]
pub struct BadInstance;

impl FromStr for Instance {
    type Err = BadInstance;

    fn from_str(text: &str) -> Result<Self, BadInstance> {
        let (command, id) = text.rsplit_once('-').ok_or(BadInstance)?;
        let id = id.parse().map_err(|BadJobId| BadInstance)?;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let fits = (1..=MAX_COMMAND_NAME).contains(&command.len()) && !command.starts_with('-');
        if fits && command.bytes().all(plain) {
            Ok(Self { command: command.to_owned(), id })
        } else {
            Err(BadInstance)
        }
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.command, self.id)
    }
}

/// The folder that holds all job folders.
#[derive(Debug, Clone)]
pub struct JobsDir(PathBuf);

impl JobsDir {
    /// The folder at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The lock that the running job's supervisor holds: one job at a time for each host.
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// How the last jobs ended: [`history::History`].
    pub fn history(&self) -> PathBuf {
        self.0.join("history.json")
    }

    /// What the last job saw of the checkout.
    pub fn checkout(&self) -> PathBuf {
        self.0.join(CHECKOUT_FILE)
    }

    /// The folder of one job.
    pub fn job(&self, id: &JobId) -> JobDir {
        JobDir(self.0.join(id.as_str()))
    }
}

/// The folder of one job.
#[derive(Debug, Clone)]
pub struct JobDir(PathBuf);

impl JobDir {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What was asked for: [`spec::Spec`].
    pub fn spec(&self) -> PathBuf {
        self.0.join("spec.json")
    }

    /// What runs now: [`spec::State`].
    pub fn state(&self) -> PathBuf {
        self.0.join("state.json")
    }

    /// How it ended: [`spec::JobResult`].
    pub fn result(&self) -> PathBuf {
        self.0.join("result.json")
    }

    /// A segment of the log; 0 is the head, which is never cut.
    pub fn log(&self, segment: u32) -> PathBuf {
        match segment {
            0 => self.0.join("log.jsonl"),
            n => self.0.join(format!("log.{n}.jsonl")),
        }
    }
}

/// Now, as RFC 3339 with milliseconds, the form of every time in a job's files and on the wire.
pub fn timestamp() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

#[cfg(test)]
mod tests;
