//! Which commit is deployed (T02: "Git commit hash of deployed config").
//!
//! The commit of the checkout is not it: a mere pull moves that one. So, in this order:
//!
//! 1. what the last successful switch noted down, if the system it made is still the one that runs;
//! 2. `configurationRevision` of the system that runs;
//! 3. HEAD of the checkout, for want of better; as the last job saw it if the checkout is root's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use nixfleet_jobs::git::short;
use nixfleet_jobs::history::History;
use nixfleet_jobs::{JobsDir, checkout};
use nixfleet_os::subprocess;

/// What flakes put behind the commit of a checkout with changes in it (`self.dirtyRev`).
pub(super) const DIRTY: &str = "-dirty";

/// Longest wait for [`VERSION_PROGRAM`]. It answers within 50 ms; on a host that is busy rebuilding
/// itself, seconds.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// The program of the running system that knows its revision, below the system's link.
const VERSION_PROGRAM: &str =
    if cfg!(target_os = "macos") { "sw/bin/darwin-version" } else { "sw/bin/nixos-version" };

/// What a quick look can say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The generation, shortened.
    Known(String),
    /// The running system has not been asked yet; [`Generation::ask`] does.
    MustAsk,
    /// Nobody knows.
    Unknown,
}

/// Finds the generation and remembers what the system answered.
#[derive(Debug)]
pub(super) struct Generation {
    jobs: JobsDir,
    current_system: PathBuf,
    repo: Option<PathBuf>,
    asked: Option<Asked>,
}

/// An answer, good for as long as the same system runs.
#[derive(Debug)]
struct Asked {
    system: PathBuf,
    revision: Option<String>,
    /// The program did not answer in time: asking again may help.
    in_vain: bool,
}

impl Generation {
    pub(super) fn new(jobs: JobsDir, current_system: PathBuf, repo: Option<PathBuf>) -> Self {
        Self { jobs, current_system, repo, asked: None }
    }

    /// Reads small files only.
    ///
    /// While the system is still to be asked, HEAD is not given out in its place: it would be a
    /// wrong answer for some milliseconds rather than none.
    pub(super) fn look(&self, history: &History) -> Look {
        let system = std::fs::read_link(&self.current_system).ok();
        if let Some(system) = &system {
            if let Some(commit) = deployed(history, system).and_then(short) {
                return Look::Known(commit);
            }
            match self.revision(system) {
                Some(Some(revision)) => {
                    return Look::Known(revision.strip_suffix(DIRTY).unwrap_or(revision).to_owned());
                }
                Some(None) => {}
                None => return Look::MustAsk,
            }
        }
        let head = self.repo.as_deref().and_then(|repo| checkout::commit(&self.jobs, repo));
        head.as_deref().and_then(short).map_or(Look::Unknown, Look::Known)
    }

    /// What that system said its revision is, with [`DIRTY`] if it was; none if it has not been asked yet.
    pub(super) fn revision(&self, system: &Path) -> Option<Option<&str>> {
        let asked = self.asked.as_ref().filter(|asked| asked.system == *system)?;
        Some(asked.revision.as_deref())
    }

    /// Runs the system's version program, which takes a moment, and remembers the answer. A system
    /// without the program, or one that does not know its revision, is asked only once.
    pub(super) fn ask(&mut self) {
        let Ok(system) = std::fs::read_link(&self.current_system) else { return };
        let own = self.current_system.join(VERSION_PROGRAM);
        // A link that hangs in the air has no programs, but PATH may.
        let named = Path::new(VERSION_PROGRAM).file_name().map(PathBuf::from).unwrap_or_default();
        let program = if own.exists() { own } else { named };
        let (revision, in_vain) = match subprocess::output(&program, &["--json"], ANSWER) {
            Ok(output) => (revision(&output), false),
            Err(error) => {
                tracing::debug!(program = %program.display(), %error, "The system does not tell its revision.");
                (None, error.is_timeout())
            }
        };
        self.asked = Some(Asked { system, revision, in_vain });
    }

    /// Forgets an answer that never came, so that the next look asks again.
    pub(super) fn forgive(&mut self) {
        self.asked.take_if(|asked| asked.in_vain);
    }
}

/// The commit of the last good switch, if the system it made is the one that runs.
pub(super) fn deployed<'a>(history: &'a History, system: &Path) -> Option<&'a str> {
    let last = history.deployed.as_ref().filter(|last| last.system.as_deref() == Some(system))?;
    last.commit.as_deref()
}

/// `configurationRevision`, shortened, with [`DIRTY`] if it has that.
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
