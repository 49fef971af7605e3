//! How the last pull, switch and test of this machine ended, and what is deployed.
//!
//! One file in the jobs' folder, replaced by each supervisor at its end. Only one supervisor runs at a
//! time, so nobody writes it meanwhile. It tells an agent that was not there what happened, and goes
//! on telling when the jobs' own folders have been cleared away.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::atomic_file::store;
use super::format::{self, Format};
use super::spec::{JobResult, Outcome};
use super::{JobId, JobsDir};
use nixfleet_os::bounded_read;

#[cfg(test)]
mod tests;

/// Longest file read, in bytes. It holds four short entries.
const MAX_FILE: u64 = 64 * 1024;

/// Longest message kept, in characters: it goes into every heartbeat.
const MAX_MESSAGE: usize = 200;

/// Whether a command of this name replaces the running system when it succeeds.
pub fn deploys(name: &str) -> bool {
    matches!(name, "switch" | "pull-switch" | "rollback")
}

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// The last attempt to move the checkout.
    pub pull: Option<Last>,
    /// The last attempt to replace the running system.
    pub switch: Option<Last>,
    /// The last one that made its system the running one.
    pub deployed: Option<Last>,
    /// The last run of the host's tests.
    pub test: Option<Last>,
}

impl Format for History {
    const VERSION: u32 = 1;
}

/// How a command ended, and what the machine looked like then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// The job.
    pub job: JobId,
    /// Its command.
    pub command: String,
    /// How it ended.
    pub outcome: Outcome,
    /// With which code.
    pub exit_code: i32,
    /// For people.
    pub message: String,
    /// Commit that the command was about, in full: the checkout's afterwards; none after a rollback.
    #[serde(default)]
    pub commit: Option<String>,
    /// Commit of the checkout afterwards, whatever the command was about.
    #[serde(default)]
    pub head: Option<String>,
    /// SHA-256 of its flake.lock in hex.
    #[serde(default)]
    pub lock_hash: Option<String>,
    /// The system that ran afterwards.
    #[serde(default)]
    pub system: Option<PathBuf>,
}

impl Last {
    /// The commit that the checkout was at then, in full. An older agent noted only [`Self::commit`].
    pub fn checked_out(&self) -> Option<&str> {
        self.head.as_deref().or(self.commit.as_deref())
    }
}

/// Which parts of the machine a command came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reached {
    /// It moved the checkout, or tried to.
    pub pull: bool,
    /// It replaced the system, or tried to.
    pub switch: bool,
    /// It ran the tests.
    pub test: bool,
}

impl Reached {
    /// By a command whose step number `step` of `steps` was the last that was begun; no steps if it never
    /// came so far, or had nothing to do.
    pub fn by(command: &str, step: usize, steps: usize, outcome: Outcome) -> Self {
        // Its last step is the switch; those before it are the pull.
        let switching = step + 1 == steps;
        match command {
            // It found a checkout and left it alone: what the last pull brought still is what it was.
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
    /// What is known of the jobs in that folder. A file that cannot be read is as good as none.
    pub fn load(jobs: &JobsDir) -> Self {
        let path = jobs.history();
        let read = bounded_read::read(&path, MAX_FILE);
        read.ok().and_then(|bytes| format::parse(&path, &bytes).ok()).unwrap_or_default()
    }

    /// Keeps it.
    ///
    /// # Errors
    /// Of the file system.
    pub fn store(&self, jobs: &JobsDir) -> io::Result<()> {
        store(&jobs.history(), self)
    }

    /// Takes note of a command's end.
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
            // A rollback goes to a system that was made from something else.
            commit: result.commit.clone().filter(|_| command != "rollback"),
            head: result.commit.clone(),
            lock_hash: lock_hash.filter(|_| command != "rollback"),
            system: result.system_after.clone(),
        };
        if reached.test {
            self.test = Some(last.clone());
        }
        if reached.pull {
            // A pull is done when its command goes on to switch, however that ends.
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
