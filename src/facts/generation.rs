//! The commit that is reported as the generation of the host. By default it is that of the deployed
//! configuration, the first of these that is known:
//!
//! 1. the commit of the last successful switch, if the system that it made still runs, or if the host has no
//!    link to its system;
//! 2. `configurationRevision` of the running system;
//! 3. HEAD of the checkout. It is the last choice, because a pull changes it without a deployment. If the
//!    checkout belongs to root, HEAD as the last job noted it.
//!
//! The setting `generation = "checkout"` chooses the third one alone.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;

use nixfleet_config::GenerationSource;
use nixfleet_jobs::git::short;
use nixfleet_jobs::history::{History, Last};
use nixfleet_jobs::{JobsDir, checkout};
use nixfleet_os::subprocess;

/// Suffix of the commit when the checkout has local changes (`self.dirtyRev` of a flake).
pub(super) const DIRTY: &str = "-dirty";

/// Time limit for [`VERSION_PROGRAM`]. It answers within 50 ms; during a rebuild it may take seconds.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// Time after which a program that did not answer in time is run again.
const RETRY: Duration = Duration::from_secs(60);

/// The program that reports the revision of the running system, relative to the link to that system.
const VERSION_PROGRAM: &str =
    if cfg!(target_os = "macos") { "sw/bin/darwin-version" } else { "sw/bin/nixos-version" };

/// Result of a lookup that runs no program.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// The generation, shortened.
    Known(String),
    /// The running system has not been asked yet, or it did not answer in time; see [`Generation::ask`]. What was
    /// known before is still the best answer.
    NotAnswered,
    /// No source knows it.
    Unknown,
}

/// Finds the generation and remembers the answer of the running system.
#[derive(Debug)]
pub(super) struct Generation {
    source: GenerationSource,
    jobs: JobsDir,
    current_system: PathBuf,
    repo: Option<PathBuf>,
    asked: Option<Asked>,
}

/// The answer of a system. It is valid as long as this system runs.
#[derive(Debug)]
struct Asked {
    system: PathBuf,
    revision: Option<String>,
    /// When the program did not answer in time: asking again may help.
    timed_out: Option<Instant>,
}

impl Generation {
    pub(super) fn new(
        source: GenerationSource,
        jobs: JobsDir,
        current_system: PathBuf,
        repo: Option<PathBuf>,
    ) -> Self {
        Self { source, jobs, current_system, repo, asked: None }
    }

    /// The generation, as far as small files contain it.
    ///
    /// HEAD is not used before the system has answered: it could be a wrong answer until then.
    pub(super) fn lookup(&self, history: &History) -> Lookup {
        if self.source == GenerationSource::Deployed {
            let system = std::fs::read_link(&self.current_system).ok();
            if let Some(commit) = deployed(history, system.as_deref()).and_then(short) {
                return Lookup::Known(commit);
            }
            match system.map(|system| self.answer_of(&system)) {
                Some(Some(Asked { revision: Some(revision), .. })) => {
                    return Lookup::Known(revision.strip_suffix(DIRTY).unwrap_or(revision).to_owned());
                }
                Some(Some(Asked { timed_out: Some(_), .. }) | None) => return Lookup::NotAnswered,
                Some(Some(Asked { timed_out: None, .. })) | None => {}
            }
        }
        let head = self.repo.as_deref().and_then(|repo| checkout::commit(&self.jobs, repo));
        head.as_deref().and_then(short).map_or(Lookup::Unknown, Lookup::Known)
    }

    /// The revision that `system` reported, with [`DIRTY`] if its checkout had changes. The outer option is
    /// none if the system has not been asked yet.
    pub(super) fn revision(&self, system: &Path) -> Option<Option<&str>> {
        Some(self.answer_of(system)?.revision.as_deref())
    }

    /// The answer of `system`; none if it has to be asked.
    fn answer_of(&self, system: &Path) -> Option<&Asked> {
        let asked = self.asked.as_ref().filter(|asked| asked.system == *system)?;
        asked.timed_out.is_none_or(|at| at.elapsed() < RETRY).then_some(asked)
    }

    /// Runs the version program of the running system and remembers the answer. A system without the program or
    /// without a revision is asked only once.
    pub(super) fn ask(&mut self) {
        let Ok(system) = std::fs::read_link(&self.current_system) else { return };
        // Not through the link, which may name another system by now.
        let folder = self.current_system.parent().unwrap_or(Path::new("/"));
        let in_system = folder.join(&system).join(VERSION_PROGRAM);
        // If the link is dangling, try the PATH.
        let in_path = Path::new(VERSION_PROGRAM).file_name().map(PathBuf::from).unwrap_or_default();
        let program = if in_system.exists() { in_system } else { in_path };
        let (revision, timed_out) = match subprocess::output(&program, &["--json"], ANSWER) {
            Ok(output) => (revision(&output), None),
            Err(error) => {
                tracing::debug!(program = %program.display(), %error, "The system does not tell its revision.");
                (None, error.is_timeout().then(Instant::now))
            }
        };
        self.asked = Some(Asked { system, revision, timed_out });
    }
}

/// The commit of the last successful switch, if the system that it made is `system`; see [`deployment`].
pub(super) fn deployed<'a>(history: &'a History, system: Option<&Path>) -> Option<&'a str> {
    deployment(history, system)?.commit.as_deref()
}

/// The last successful switch, if the system that it made is `system`, or else the last `boot`, if the machine has booted
/// what that prepared. A host without a link to its system, such as one with Home Manager alone, had none after that
/// switch either: the switch counts.
pub(super) fn deployment<'a>(history: &'a History, system: Option<&Path>) -> Option<&'a Last> {
    let made = |last: &&Last| last.system.as_deref() == system;
    let booted = || history.boot.as_ref().filter(|last| last.system.is_some()).filter(made);
    history.deployed.as_ref().filter(made).or_else(booted)
}

/// `configurationRevision`, shortened, with [`DIRTY`] if it ends with that.
fn revision(output: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        configuration_revision: Option<String>,
    }
    let version: Version = serde_json::from_slice(output).ok()?;
    let revision = version.configuration_revision?;
    let suffix = if revision.ends_with(DIRTY) { DIRTY } else { "" };
    Some(short(&revision)? + suffix)
}

#[cfg(test)]
mod tests;
