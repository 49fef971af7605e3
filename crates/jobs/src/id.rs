//! Identifiers of jobs and of supervisor instances.

use std::fmt;
use std::str::FromStr;

use nixfleet_os::Clock;
use serde::{Deserialize, Serialize};

/// Identity of a job: 32 hex digits that sort by the time they were made (UUID version 7).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

/// Text that is not a [`JobId`].
#[derive(Debug, thiserror::Error)]
#[error("a job id is 32 lower-case hex digits")]
pub struct BadJobId;

impl JobId {
    /// Makes a new id.
    pub fn generate() -> Self {
        Self::generate_at(&Clock::real())
    }

    /// Makes a new id at the time of that clock.
    pub fn generate_at(clock: &Clock) -> Self {
        let id = clock.simulation().map_or_else(uuid::Uuid::now_v7, |time| {
            let millis = u64::try_from(time.now().as_millisecond()).unwrap_or_default();
            uuid::Builder::from_unix_timestamp_millis(millis, &time.random()).into_uuid()
        });
        Self(id.simple().to_string())
    }

    /// This id if it sorts behind `newest`, and else the next one behind `newest`. So the order of jobs does not
    /// depend on the clock, which may be set back.
    #[must_use]
    pub fn after(self, newest: Option<&Self>) -> Self {
        let Some(newest) = newest.filter(|newest| self <= **newest) else { return self };
        // None for the greatest possible id, which no clock makes.
        let next = u128::from_str_radix(&newest.0, 16).ok().and_then(|number| number.checked_add(1));
        next.map_or(self, |number| Self(format!("{number:032x}")))
    }

    /// The 32 digits.
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

/// The argument of a supervisor: `<command>-<job id>`.
///
/// It is also the instance name of a systemd unit. It holds only the name of a command and an id; everything
/// else comes from the configuration of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Name of the command. The supervisor checks whether it exists.
    pub command: String,
    /// The job.
    pub id: JobId,
}

/// Longest name of a command, in bytes.
pub const MAX_COMMAND_NAME: usize = 32;

/// Text that is not an [`Instance`].
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
