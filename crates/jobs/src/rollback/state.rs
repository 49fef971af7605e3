//! `guard.json`: what the guard of a trial has done and decided. The guard writes it.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::JobDir;
use crate::atomic_file::{load_on, store_on};
use crate::format::Format;

/// Most notes. A guard makes some ten of them, and the last lines of three programs.
const MAX_NOTES: usize = 256;

/// What the guard has done and decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GuardState {
    /// What it does. A guard that was killed goes on from here.
    pub stage: Stage,
    /// Why it goes back.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Lines for the log of the job, in order.
    pub notes: Vec<String>,
    /// The decision. Nothing follows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// What a guard does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It waits for the end of the activation, and then for the proof.
    #[default]
    Watching,
    /// The system is confirmed: it sets the profile and installs the boot loader.
    Committing,
    /// It activates the system before.
    GoingBack,
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// In one word.
    pub kind: Kind,
    /// For people; empty if everything is said by the command's own end.
    pub message: String,
}

/// How a trial ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The new system is confirmed, and is that of the next boot.
    Confirmed,
    /// The new system is confirmed, but could not be made that of the next boot.
    NotSet,
    /// The system before runs again.
    RolledBack,
    /// The new system was not confirmed, and the system before could not be activated.
    Stuck,
    /// The activation changed nothing, so there was nothing to decide. Also the fallback for an unknown word.
    #[serde(other)]
    Unchanged,
}

impl Format for GuardState {
    const VERSION: u32 = 1;
}

impl GuardState {
    /// Reads that of a job. It is empty if the guard has written none.
    ///
    /// # Errors
    /// As for [`load_on`].
    pub fn load(dir: &JobDir) -> io::Result<Self> {
        load_on(dir.disk(), &path(dir)).map(Option::unwrap_or_default)
    }

    pub(super) fn store(&self, dir: &JobDir) -> io::Result<()> {
        store_on(dir.disk(), &path(dir), self)
    }

    pub(super) fn note(&mut self, text: impl Into<String>) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(text.into());
        }
    }
}

fn path(dir: &JobDir) -> PathBuf {
    dir.path().join("guard.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{parse, to_vec};

    #[test]
    fn the_file_is_written_as_documented_and_a_newer_one_is_read() {
        let state = GuardState {
            stage: Stage::GoingBack,
            reason: "why".to_owned(),
            notes: vec!["a line".to_owned()],
            decision: Some(Decision { kind: Kind::RolledBack, message: "told".to_owned() }),
        };
        let text = r#"{"version":1,"stage":"going_back","reason":"why","notes":["a line"],"decision":{"kind":"rolled_back","message":"told"}}"#;
        assert_eq!(String::from_utf8(to_vec(&state).unwrap()).unwrap(), text);
        let path = std::path::Path::new("guard.json");
        assert_eq!(parse::<GuardState>(path, text.as_bytes()).unwrap(), state);
        let newer = r#"{"version":2,"new":1,"decision":{"kind":"of_later","message":""}}"#;
        let read: GuardState = parse(path, newer.as_bytes()).unwrap();
        assert_eq!(read.decision.unwrap().kind, Kind::Unchanged);
    }

    #[test]
    fn notes_have_a_bound() {
        let mut state = GuardState::default();
        (0..MAX_NOTES + 10).for_each(|number| state.note(number.to_string()));
        assert_eq!(state.notes.len(), MAX_NOTES);
    }
}
