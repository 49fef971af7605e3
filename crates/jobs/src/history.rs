//! How the last pull, switch and test of this machine ended, and what is deployed.
//!
//! The history is one file in the jobs' folder. Each supervisor replaces it at its end. Only one supervisor
//! runs at a time, so there are no concurrent writers. The file tells an agent what happened while no agent
//! ran, and it remains when the folders of the jobs have been removed.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::atomic_file::{load_on, store_on};
use crate::damage;
use crate::format::Format;
use crate::git::commit_or_none;
use crate::spec::{JobResult, Outcome};
use crate::{JobId, JobsDir};

#[cfg(test)]
mod tests;

/// How often to try to read the history before a supervisor adds to it, and the pause between two attempts. Together
/// they are short enough for the next command, which waits for this supervisor.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(100);

/// Longest message kept, in characters. It is repeated in every heartbeat.
const MAX_MESSAGE: usize = 200;

/// Whether the command `name` replaces the running system when it succeeds.
pub fn deploys(name: &str) -> bool {
    matches!(name, "switch" | "pull-switch" | "rollback")
}

/// Whether `nixos-rebuild` calls `switch-to-configuration` in that step of the command.
pub(crate) fn is_rebuild(command: &str, step: &str) -> bool {
    match step {
        "switch" => deploys(command),
        "boot" => command == "boot",
        _ => false,
    }
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
    /// The last command that put a system into the profile which it did not activate, with that system in
    /// [`Last::system`]. None after a command that activated one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staged: Option<Last>,
}

impl Format for History {
    /// Version 2 added `staged`.
    const VERSION: u32 = 2;
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
    #[serde(default, deserialize_with = "commit_or_none")]
    pub commit: Option<String>,
    /// HEAD of the checkout afterwards, in full, for every command.
    #[serde(default, deserialize_with = "commit_or_none")]
    pub head: Option<String>,
    /// SHA-256 of the checkout's flake.lock in hex. `None` after a rollback.
    #[serde(default)]
    pub lock_hash: Option<String>,
    /// The running system afterwards: target of `/run/current-system`. After `boot`, the system of the profile.
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
    /// The command prepared a system for the next boot, or tried to.
    pub boot: bool,
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
            "boot" => Self { boot: true, ..Self::default() },
            "test" => Self { test: true, ..Self::default() },
            _ => Self::default(),
        }
    }
}

impl History {
    /// The command that made `system`, the running one: the last that activated a system, or the last that left one
    /// for the next boot. A host without a link to its system, such as one with Home Manager alone, had none after
    /// its last switch either: that switch counts.
    pub fn made(&self, system: Option<&Path>) -> Option<&Last> {
        let deployed = self.deployed.as_ref().filter(|last| last.system.as_deref() == system);
        deployed.or_else(|| {
            self.staged.as_ref().filter(|last| system.is_some() && last.system.as_deref() == system)
        })
    }

    /// Reads the history of the jobs in that folder; it is empty if there is no such file.
    ///
    /// # Errors
    /// An error of the file system, or [damage]. Nothing must be stored over a history that cannot be read.
    pub fn load(jobs: &JobsDir) -> io::Result<Self> {
        Ok(load_on(jobs.disk(), &jobs.history())?.unwrap_or_default())
    }

    /// Reads the history to add to it. An error that may pass is tried again for a moment. A damaged file is moved
    /// to `history.damaged`, in place of an earlier one, and the history begins anew. Calls `remark` with what is to
    /// be told.
    ///
    /// # Errors
    /// What is wrong: the file exists and cannot be read, so nothing must be stored over it.
    pub fn load_to_add(jobs: &JobsDir, remark: impl FnOnce(&str)) -> Result<Self, String> {
        let path = jobs.history();
        let mut attempts = 1;
        loop {
            match Self::load(jobs) {
                Ok(history) => return Ok(history),
                Err(err) if damage::is_damage(&err) => {
                    let (what, aside) = (damage::describe(&path, &err), path.with_extension("damaged"));
                    jobs.disk()
                        .rename(&path, &aside)
                        .map_err(|err| format!("{what}, and it stays: {err}"))?;
                    let aside = aside.display();
                    remark(&format!("{what}: it is now {aside}, and earlier ends of commands are forgotten"));
                    return Ok(Self::default());
                }
                Err(err) if attempts >= ATTEMPTS => return Err(damage::describe(&path, &err)),
                Err(_) => {
                    attempts += 1;
                    jobs.clock().sleep(PAUSE);
                }
            }
        }
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
        let staged = result.system.as_deref().and_then(|change| change.staged(result.outcome));
        if reached.switch && result.left_active() {
            self.deployed = Some(last.clone());
            self.staged = None;
        } else if (reached.switch || reached.boot)
            && let Some(system) = staged
        {
            self.staged = Some(Last { system: Some(system.to_owned()), ..last.clone() });
        }
        if reached.switch {
            self.switch = Some(last);
        }
    }
}
