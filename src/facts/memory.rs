//! The facts that are kept across restarts of the agent.
//!
//! A dashboard overwrites known facts with empty ones, and an agent that has just started may need some time
//! to find out what the previous agent knew.

use std::path::PathBuf;

use nixfleet_config::GenerationSource;
use nixfleet_jobs::atomic_file::{load, store};
use nixfleet_jobs::damage;
use nixfleet_jobs::format::{self, Format};
use nixfleet_jobs::git::short;
use nixfleet_os::Disk;
use nixfleet_os::disk::PRIVATE;
use nixfleet_protocol::UpdateStatus;
use serde::{Deserialize, Serialize};

use super::binary::{FileId, Hashed};
use super::{Facts, UNKNOWN};

/// Name of the file in the agent's own folder.
const FILE: &str = "facts.json";

/// The value of `generation_source` if the generation is the commit of the checkout.
const CHECKOUT: &str = "checkout";

/// Content of [`FILE`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Known {
    generation: String,
    /// What `generation` is the commit of: [`CHECKOUT`], or else the deployed configuration.
    #[serde(skip_serializing_if = "String::is_empty")]
    generation_source: String,
    nixpkgs_version: String,
    lock_hash: String,
    #[serde(deserialize_with = "format::or_default")]
    update_status: UpdateStatus,
    /// The hash of the agent's program.
    #[serde(deserialize_with = "format::or_default", skip_serializing_if = "Option::is_none")]
    binary: Option<Hashed>,
}

impl Format for Known {
    const VERSION: u32 = 1;
}

impl Known {
    /// Adds what was known before and is not known now.
    fn add(&mut self, older: Self) {
        if self.generation.is_empty() {
            (self.generation, self.generation_source) = (older.generation, older.generation_source);
        }
        if self.nixpkgs_version == UNKNOWN {
            self.nixpkgs_version = older.nixpkgs_version;
        }
        if self.lock_hash.is_empty() {
            self.lock_hash = older.lock_hash;
        }
        if self.update_status == UpdateStatus::default() {
            self.update_status = older.update_status;
        }
        self.binary = self.binary.take().or(older.binary);
    }
}

/// The file and its content.
#[derive(Debug)]
pub(super) struct Memory {
    folder: PathBuf,
    kept: Known,
    /// The value of `generation_source` that fits the settings of this agent.
    source: &'static str,
    /// The last write failed, and a warning was logged.
    broken: bool,
    /// The file exists and could not be read, for a reason that may pass. It is not replaced before it was read.
    unread: bool,
    /// The hash of the agent's program, from the file or computed by this agent.
    binary: Option<Hashed>,
}

impl Memory {
    /// Reads the file of an earlier agent. A damaged file counts as missing.
    pub(super) fn at(folder: PathBuf, source: GenerationSource) -> Self {
        let path = folder.join(FILE);
        let (kept, unread) = match load(&path) {
            Ok(kept) => (kept.unwrap_or_default(), false),
            Err(err) => {
                damage::report(
                    &path,
                    &err,
                    "what an earlier agent knew about the host has to be found out again",
                );
                (Known::default(), !damage::is_damage(&err))
            }
        };
        let source = match source {
            GenerationSource::Deployed => "",
            GenerationSource::Checkout => CHECKOUT,
        };
        Self { folder, binary: kept.binary.clone(), kept, source, broken: false, unread }
    }

    /// The hash of this file, if it is the one that was hashed last.
    pub(super) fn hash_of(&self, file: &FileId) -> Option<&str> {
        self.binary.as_ref()?.of(file)
    }

    /// The file was hashed. It is written with the next [`Self::keep`].
    pub(super) fn hashed(&mut self, file: FileId, hash: String) {
        self.binary = Some(Hashed::new(file, hash));
    }

    /// The facts from the file.
    pub(super) fn facts(&self) -> Facts {
        self.facts_of(&self.kept)
    }

    fn facts_of(&self, known: &Known) -> Facts {
        let Known { generation, generation_source, nixpkgs_version, lock_hash, update_status, binary: _ } =
            known.clone();
        // With another setting it was another commit. Earlier agents wrote a word for one that was not known.
        let is_known = generation_source == self.source && short(&generation).as_ref() == Some(&generation);
        let version = if nixpkgs_version.is_empty() { UNKNOWN.to_owned() } else { nixpkgs_version };
        Facts {
            generation: if is_known { generation } else { String::new() },
            nixpkgs_version: version,
            lock_hash,
            update_status,
            ..Facts::default()
        }
    }

    /// Writes the facts if they have changed. If the write fails, the next agent starts without them. What an earlier
    /// agent wrote, and can be read only now, is added to `facts` where they say nothing: else the next write would
    /// forget it.
    pub(super) fn keep(&mut self, facts: &mut Facts) {
        let mut known = Known {
            generation: facts.generation.clone(),
            generation_source: self.source.to_owned(),
            nixpkgs_version: facts.nixpkgs_version.clone(),
            lock_hash: facts.lock_hash.clone(),
            update_status: facts.update_status.clone(),
            binary: self.binary.clone(),
        };
        if known == self.kept {
            return;
        }
        let path = self.folder.join(FILE);
        if self.unread {
            match load(&path) {
                Err(err) if !damage::is_damage(&err) => return,
                older => known.add(older.ok().flatten().unwrap_or_default()),
            }
            self.unread = false;
            let found = self.facts_of(&known);
            facts.generation = found.generation;
            facts.nixpkgs_version = found.nixpkgs_version;
            facts.lock_hash = found.lock_hash;
            facts.update_status = found.update_status;
        }
        match Disk::real().make_folders(&self.folder, PRIVATE).and_then(|()| store(&path, &known)) {
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
    use std::fs;
    use std::path::Path;

    use nixfleet_protocol::{UpdateState, Verdict};

    use super::*;

    fn memory(folder: &Path) -> Memory {
        Memory::at(folder.to_owned(), GenerationSource::Deployed)
    }

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
        assert_eq!(memory(&own).facts(), Facts::default());
        memory(&own).keep(&mut facts());
        assert_eq!(memory(&own).facts(), facts());
        for broken in ["", "{", "[]"] {
            fs::write(own.join(FILE), broken).unwrap();
            assert_eq!(memory(&own).facts(), Facts::default(), "{broken:?}");
        }
    }

    #[test]
    fn a_file_that_could_not_be_read_at_the_start_is_not_replaced_by_one_that_knows_less() {
        let folder = tempfile::tempdir().unwrap();
        memory(folder.path()).keep(&mut facts());
        let mut late = Memory { kept: Known::default(), unread: true, binary: None, ..memory(folder.path()) };
        let mut known = Facts { lock_hash: "22".repeat(32), ..Facts::default() };
        late.keep(&mut known);
        let expected = Facts { lock_hash: "22".repeat(32), ..facts() };
        assert_eq!(memory(folder.path()).facts(), expected);
        // What is found out later is written with what was read.
        known.lock_hash = "33".repeat(32);
        late.keep(&mut known);
        let expected = Facts { lock_hash: "33".repeat(32), ..facts() };
        assert_eq!(memory(folder.path()).facts(), expected);
        let mut nothing = Facts { generation: String::new(), ..expected };
        late.keep(&mut nothing);
        assert_eq!(memory(folder.path()).facts(), nothing, "it was read");
    }

    /// Files that agents really wrote; see `crates/jobs/tests/formats/record.sh`.
    const V0: &str = include_str!("../../crates/jobs/tests/formats/v0/facts.json");
    const V1: &str = include_str!("../../crates/jobs/tests/formats/v1/facts.json");

    #[test]
    fn the_file_of_version_0_is_read_with_every_field() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), V0).unwrap();
        let verdict = |status, message: &str| Verdict {
            status,
            message: message.to_owned(),
            checked_at: "2026-11-26T14:56:26.467Z".to_owned(),
        };
        let known = Known {
            generation: "d0e5ec6".to_owned(),
            generation_source: String::new(),
            nixpkgs_version: UNKNOWN.to_owned(),
            lock_hash: "c2fb18707c2473f0863837b0a1fc5760f08f4f5d8fe3ce23337842f0b866e210".to_owned(),
            update_status: UpdateStatus {
                git: Verdict::default(),
                lock: verdict(UpdateState::Ok, "flake.lock is as pulled with d0e5ec6"),
                system: verdict(UpdateState::Ok, "d0e5ec6 is deployed"),
                tests: verdict(UpdateState::Outdated, "not run since the last switch"),
            },
            binary: None,
        };
        assert_eq!(memory(folder.path()).kept, known);
    }

    #[test]
    fn what_is_written_is_version_1_to_the_letter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        for (golden, expected) in [(V0, V0.replacen('{', "{\"version\":1,", 1)), (V1, V1.to_owned())] {
            fs::write(&path, golden).unwrap();
            store(&path, &memory(folder.path()).kept).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        }
    }

    #[test]
    fn a_generation_of_another_setting_or_that_is_no_commit_is_not_known() {
        use GenerationSource::{Checkout, Deployed};
        let folder = tempfile::tempdir().unwrap();
        let known = |source| Memory::at(folder.path().to_owned(), source).facts().generation;
        for (written, other) in [(Deployed, Checkout), (Checkout, Deployed)] {
            Memory::at(folder.path().to_owned(), written).keep(&mut facts());
            assert_eq!((known(written).as_str(), known(other).as_str()), ("1d91f2b", ""), "{written:?}");
        }
        fs::write(folder.path().join(FILE), V1).unwrap();
        assert_eq!(
            (known(Deployed).as_str(), known(Checkout).as_str()),
            ("1e28a51", ""),
            "no source: deployed"
        );
        for word in [UNKNOWN, "1E28A51", "1e28a5", "1e28a511", "größer!"] {
            fs::write(folder.path().join(FILE), V1.replacen("1e28a51", word, 1)).unwrap();
            assert_eq!(known(Deployed), "", "{word}");
        }
    }

    #[test]
    fn a_word_of_a_newer_version_costs_its_verdict_alone_and_another_form_all_verdicts() {
        let folder = tempfile::tempdir().unwrap();
        let read = |text: String| {
            assert_ne!(text, V1);
            fs::write(folder.path().join(FILE), text).unwrap();
            memory(folder.path()).kept
        };
        let newer = V1.replace("\"version\":1", "\"version\":2,\"news\":[]");
        let same = read(newer.clone());
        let kept = read(newer.replace("\"outdated\"", "\"stale\""));
        assert!(!kept.generation.is_empty() && !kept.lock_hash.is_empty());
        let words = |kept: &Known| serde_json::to_string(&kept.update_status).unwrap();
        assert_eq!(words(&kept), words(&same).replace("outdated", "unknown"));
        assert_ne!(words(&kept), words(&same));
        let kept = read(newer.replace("\"outdated\"", "7"));
        assert!(!kept.generation.is_empty());
        assert_eq!(kept.update_status, UpdateStatus::default());
    }

    #[test]
    fn a_hash_is_kept_for_its_file_alone_and_a_damaged_one_costs_only_the_hash() {
        let folder = tempfile::tempdir().unwrap();
        let file = FileId::of_running().unwrap();
        let hash = "ab".repeat(32);
        let mut first = memory(folder.path());
        assert_eq!(first.hash_of(&file), None);
        first.hashed(file.clone(), hash.clone());
        first.keep(&mut facts());
        let mut second = memory(folder.path());
        assert_eq!(second.hash_of(&file), Some(hash.as_str()));
        assert_eq!(second.hash_of(&FileId::default()), None);
        second.keep(&mut Facts { lock_hash: "22".repeat(32), ..facts() });
        assert_eq!(memory(folder.path()).hash_of(&file), Some(hash.as_str()), "nobody hashed it anew");
        let path = folder.path().join(FILE);
        let damaged = fs::read_to_string(&path).unwrap().replace("\"inode\":", "\"inode\":-");
        fs::write(&path, damaged).unwrap();
        assert_eq!(memory(folder.path()).hash_of(&file), None);
        assert_eq!(memory(folder.path()).facts().generation, "1d91f2b");
    }

    #[test]
    fn sameness_is_not_written_and_a_full_disk_is_no_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut memory = self::memory(folder.path());
        memory.keep(&mut facts());
        fs::remove_file(folder.path().join(FILE)).unwrap();
        memory.keep(&mut facts());
        assert!(!folder.path().join(FILE).exists());
        fs::write(folder.path().join("file"), "").unwrap();
        let mut memory = self::memory(&folder.path().join("file"));
        memory.keep(&mut facts());
        assert!(memory.broken);
    }
}
