//! How the last pull, switch and test of this machine ended, and what is deployed.
//!
//! The history is one file in the jobs' folder. Each supervisor replaces it at its end. Only one supervisor
//! runs at a time, so there are no concurrent writers. The file tells an agent what happened while no agent
//! ran, and it remains when the folders of the jobs have been removed.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::atomic_file::store_on;
use crate::format::{self, Format};
use crate::spec::{JobResult, Outcome};
use crate::{JobId, JobsDir};

#[cfg(test)]
mod tests;

/// Longest file read, in bytes. It holds four short entries.
const MAX_FILE: u64 = 64 * 1024;

/// Longest message kept, in characters. It is repeated in every heartbeat.
const MAX_MESSAGE: usize = 200;

/// Whether the command `name` replaces the running system when it succeeds.
pub fn deploys(name: &str) -> bool {
    matches!(name, "switch" | "pull-switch" | "rollback")
}

/// `history.json`: the last commands of each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// The last attempt to move the checkout.
    pub pull: Option<Last>,
    /// The last attempt to replace the running system.
    pub switch: Option<Last>,
    /// The last command that activated a new system.
    pub deployed: Option<Last>,
    /// The last run of the host's tests.
    pub test: Option<Last>,
}

impl Format for History {
    const VERSION: u32 = 1;
}

/// How a command ended, and the state of the machine afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// The job.
    pub job: JobId,
    /// Name of the command.
    pub command: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Exit code; 128 + n if signal n ended the command.
    pub exit_code: i32,
    /// Summary for people, at most 200 characters.
    pub message: String,
    /// Commit that the command pulled, deployed or tested, in full: HEAD of the checkout afterwards. `None`
    /// after a rollback.
    #[serde(default)]
    pub commit: Option<String>,
    /// HEAD of the checkout afterwards, in full, for every command.
    #[serde(default)]
    pub head: Option<String>,
    /// SHA-256 of the checkout's flake.lock in hex. `None` after a rollback.
    #[serde(default)]
    pub lock_hash: Option<String>,
    /// The running system afterwards: target of `/run/current-system`.
    #[serde(default)]
    pub system: Option<PathBuf>,
}

impl Last {
    /// HEAD of the checkout afterwards, in full. Older agents wrote only [`Self::commit`].
    pub fn checked_out(&self) -> Option<&str> {
        self.head.as_deref().or(self.commit.as_deref())
    }
}

/// The parts of the machine that a command reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reached {
    /// The command moved the checkout, or tried to.
    pub pull: bool,
    /// The command replaced the system, or tried to.
    pub switch: bool,
    /// The command ran the tests.
    pub test: bool,
}

impl Reached {
    /// The parts that `command` reached. `step` is the index of the last step that was started, `steps` their
    /// number. `steps` is 0 if there was no plan or nothing to do.
    pub fn by(command: &str, step: usize, steps: usize, outcome: Outcome) -> Self {
        // The last step of `pull-switch` is the switch; the steps before it are the pull.
        let switching = step + 1 == steps;
        match command {
            // The checkout existed and was not changed, so the entry of the last pull stays valid.
            "clone" if steps == 0 && outcome == Outcome::Ok => Self::default(),
            "pull" | "clone" => Self { pull: true, ..Self::default() },
            "pull-switch" => Self { pull: true, switch: switching, ..Self::default() },
            "switch" | "rollback" => Self { switch: true, ..Self::default() },
            "test" => Self { test: true, ..Self::default() },
            _ => Self::default(),
        }
    }
}

impl History {
    /// Reads the history of the jobs in that folder. An unreadable or missing file gives an empty history.
    pub fn load(jobs: &JobsDir) -> Self {
        let path = jobs.history();
        let read = jobs.disk().read(&path, MAX_FILE);
        read.ok().and_then(|bytes| format::parse(&path, &bytes).ok()).unwrap_or_default()
    }

    /// Writes the history.
    ///
    /// # Errors
    /// An error of the file system.
    pub fn store(&self, jobs: &JobsDir) -> io::Result<()> {
        store_on(jobs.disk(), &jobs.history(), self)
    }

    /// Adds the end of a command.
    pub fn note(
        &mut self,
        reached: Reached,
        job: &JobId,
        command: &str,
        result: &JobResult,
        lock_hash: Option<String>,
    ) {
        let last = Last {
            job: job.clone(),
            command: command.to_owned(),
            outcome: result.outcome,
            exit_code: result.exit_code,
            message: result.message.chars().take(MAX_MESSAGE).collect(),
            // A rollback activates a system that was built from another commit.
            commit: result.commit.clone().filter(|_| command != "rollback"),
            head: result.commit.clone(),
            lock_hash: lock_hash.filter(|_| command != "rollback"),
            system: result.system_after.clone(),
        };
        if reached.test {
            self.test = Some(last.clone());
        }
        if reached.pull {
            // When `pull-switch` reaches its switch, its pull has succeeded, however the switch ends.
            let pulled = Last { outcome: Outcome::Ok, exit_code: 0, ..last.clone() };
            self.pull = Some(if reached.switch { pulled } else { last.clone() });
        }
        if reached.switch {
            if matches!(result.outcome, Outcome::Ok | Outcome::ActivatedWithFailures) {
                self.deployed = Some(last.clone());
            }
            self.switch = Some(last);
        }
    }
}
