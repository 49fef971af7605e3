//! What is known across restarts of the agent.
//!
//! A dashboard overwrites what it has even with nothing, and an agent that has just started may not be
//! able to find out at once what the one before it knew.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Facts, UNKNOWN};
use nixfleet_jobs::atomic_file::store;
use nixfleet_os::bounded_read;
use nixfleet_protocol::UpdateStatus;

/// File in the agent's own folder.
const FILE: &str = "facts.json";

/// Longest [`FILE`] read, in bytes. It holds a few short texts.
const MAX_FILE: u64 = 64 * 1024;

/// What [`FILE`] holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Known {
    generation: String,
    nixpkgs_version: String,
    lock_hash: String,
    update_status: UpdateStatus,
}

/// The file, and what is in it.
#[derive(Debug)]
pub(super) struct Memory {
    folder: PathBuf,
    kept: Known,
    /// The last write failed, which was told.
    broken: bool,
}

impl Memory {
    /// What an earlier agent left in the folder. A file that cannot be read is as good as none.
    pub(super) fn at(folder: PathBuf) -> Self {
        let read = bounded_read::read(&folder.join(FILE), MAX_FILE);
        let kept = read.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { folder, kept, broken: false }
    }

    /// The facts to begin with.
    pub(super) fn facts(&self) -> Facts {
        let Known { generation, nixpkgs_version, lock_hash, update_status } = self.kept.clone();
        let known = |text: String| if text.is_empty() { UNKNOWN.to_owned() } else { text };
        Facts {
            generation: known(generation),
            nixpkgs_version: known(nixpkgs_version),
            lock_hash,
            update_status,
            ..Facts::default()
        }
    }

    /// Keeps the facts, if they are others than before. A disk that takes nothing costs only the memory.
    pub(super) fn keep(&mut self, facts: &Facts) {
        let known = Known {
            generation: facts.generation.clone(),
            nixpkgs_version: facts.nixpkgs_version.clone(),
            lock_hash: facts.lock_hash.clone(),
            update_status: facts.update_status.clone(),
        };
        if known == self.kept {
            return;
        }
        let path = self.folder.join(FILE);
        match fs::create_dir_all(&self.folder).and_then(|()| store(&path, &known)) {
            Ok(()) => (self.kept, self.broken) = (known, false),
            Err(err) if !std::mem::replace(&mut self.broken, true) => {
                tracing::warn!("Cannot write {}: {err}. A restart forgets what is known.", path.display());
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nixfleet_protocol::{UpdateState, Verdict};

    fn facts() -> Facts {
        Facts {
            generation: "1d91f2b".to_owned(),
            nixpkgs_version: "26.05".to_owned(),
            lock_hash: "11".repeat(32),
            update_status: UpdateStatus {
                tests: Verdict {
                    status: UpdateState::Error,
                    message: "Test: 4/5 passed (exit code 1)".to_owned(),
                    checked_at: "2026-07-14T12:00:00.000Z".to_owned(),
                },
                ..UpdateStatus::default()
            },
            ..Facts::default()
        }
    }

    #[test]
    fn what_was_known_is_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("agent");
        assert_eq!(Memory::at(own.clone()).facts(), Facts::default());
        Memory::at(own.clone()).keep(&facts());
        assert_eq!(Memory::at(own.clone()).facts(), facts());
        for broken in ["", "{", "[]"] {
            fs::write(own.join(FILE), broken).unwrap();
            assert_eq!(Memory::at(own.clone()).facts(), Facts::default(), "{broken:?}");
        }
    }

    #[test]
    fn sameness_is_not_written_and_a_full_disk_is_no_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut memory = Memory::at(folder.path().to_owned());
        memory.keep(&facts());
        fs::remove_file(folder.path().join(FILE)).unwrap();
        memory.keep(&facts());
        assert!(!folder.path().join(FILE).exists());
        fs::write(folder.path().join("file"), "").unwrap();
        let mut memory = Memory::at(folder.path().join("file"));
        memory.keep(&facts());
        assert!(memory.broken);
    }
}
