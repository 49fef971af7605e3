//! The settings that the agent last started with, as a file: for a start with a settings file that is wrong.
//!
//! There is one copy, `settings/last-good.json` in the state folder. It has one writer: root where jobs are units of
//! systemd, else the agent. The agent and its supervisors read it, and use the same part of it, so they agree. Root
//! believes only what nobody but root can have written; see [`Place::read`].
//!
//! Where the copy is must not depend on the file that is wrong, so the state folder is here that of the environment
//! alone: the units set it there.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nixfleet_jobs::atomic_file;
use nixfleet_jobs::format::Format;
use nixfleet_os::disk::PRIVATE;
use nixfleet_os::{Disk, sha256};
use serde::{Deserialize, Serialize};

/// Folder of the copy, within the state folder.
const FOLDER: &str = "settings";

/// The copy.
const FILE: &str = "last-good.json";

/// The agent's note about the settings with which a dashboard took its registration, within the state folder. The
/// agent's user writes it, so it only ever chooses between two texts of the copy.
const PROOF: &str = "agent/registered-settings.json";

/// Mode of the state folder, as far as the umask allows: people who may read logs go through it.
const STATE_MODE: u32 = 0o755;

/// Others than the owner may write: in group and others.
const WRITABLE: u32 = 0o022;

/// The copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Path of the settings file. An agent with another file does not use the copy.
    pub(super) file: String,
    /// The settings that the agent last started with. Every process that falls back uses these.
    pub(super) accepted: Accepted,
    /// The newest older ones with which a dashboard took the registration, while nobody knows that of `accepted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) proven: Option<Accepted>,
}

/// The text of a settings file without a mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Accepted {
    /// The whole file. The token is not in it.
    pub(super) text: String,
    /// When an agent first started with it, RFC 3339.
    pub(super) at: String,
}

impl Format for Kept {
    const VERSION: u32 = 1;
    /// Two files of the greatest length, of which JSON may escape each byte. A usual one has some kilobytes.
    const MAX_BYTES: u64 = 13 * crate::layers::MAX_FILE;
}

/// The note about the settings with which a dashboard took the registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Registered {
    /// SHA-256 of their text, in hex.
    sha256: String,
}

impl Format for Registered {
    const VERSION: u32 = 1;
}

/// A note that can be written when a dashboard has taken the registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    path: PathBuf,
    sha256: String,
}

impl Proof {
    /// For these settings.
    pub(super) fn of(place: &Place, text: &str) -> Self {
        Self { path: place.proof(), sha256: sha256::hash_bytes(text.as_bytes()) }
    }

    /// Writes the note, if it is not there yet.
    ///
    /// # Errors
    /// An error of the file system, with the path.
    pub fn store(&self) -> Result<(), String> {
        let note = Registered { sha256: self.sha256.clone() };
        if atomic_file::load(&self.path).is_ok_and(|found| found.as_ref() == Some(&note)) {
            return Ok(());
        }
        // The agent's own folder may be elsewhere, by `state_dir` of the file.
        let made = self.path.parent().map_or(Ok(()), |folder| Disk::real().make_folders(folder, PRIVATE));
        made.and_then(|()| atomic_file::store(&self.path, &note))
            .map_err(|err| format!("{}: {err}", self.path.display()))
    }
}

impl Kept {
    /// What is kept when an agent starts with this good text. `registered` is the hash of the settings with which a
    /// dashboard took the last registration.
    fn after_start(
        before: Option<Self>,
        file: &str,
        text: &str,
        now: String,
        registered: Option<&str>,
    ) -> Self {
        let Some(before) = before.filter(|before| before.file == file) else {
            return Self {
                file: file.to_owned(),
                accepted: Accepted { text: text.to_owned(), at: now },
                proven: None,
            };
        };
        if before.accepted.text == text {
            return before;
        }
        let proven = if before.accepted.is(registered) { Some(before.accepted) } else { before.proven };
        Self { accepted: Accepted { text: text.to_owned(), at: now }, proven, ..before }
    }

    /// What is kept when an agent starts and the file is wrong. Settings that never led to a registration may be what
    /// keeps the host from its dashboard, so older ones that did are better.
    fn after_mistake(self, registered: Option<&str>) -> Self {
        match self.proven {
            Some(proven) if !self.accepted.is(registered) => Self { accepted: proven, proven: None, ..self },
            proven => Self { proven, ..self },
        }
    }
}

impl Accepted {
    fn is(&self, sha256: Option<&str>) -> bool {
        sha256.is_some_and(|wanted| sha256::hash_bytes(self.text.as_bytes()) == wanted)
    }
}

/// Where the copy is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    state_dir: PathBuf,
}

impl Place {
    pub(super) fn new(state_dir: PathBuf) -> Self {
        Self { state_dir }
    }

    /// Whether it is in this state folder.
    pub(super) fn is_in(&self, state_dir: &Path) -> bool {
        self.state_dir == state_dir
    }

    fn folder(&self) -> PathBuf {
        self.state_dir.join(FOLDER)
    }

    pub(super) fn file(&self) -> PathBuf {
        self.folder().join(FILE)
    }

    fn proof(&self) -> PathBuf {
        self.state_dir.join(PROOF)
    }

    /// The copy of this settings file; none if there is none.
    ///
    /// # Errors
    /// It cannot be read, or somebody else than root and this user can have written it: a sentence with the path.
    pub(super) fn read(&self, settings: &Path) -> Result<Option<Kept>, String> {
        let (folder, file) = (self.folder(), self.file());
        // The state folder may be a link of the operator.
        for (path, is_there) in [
            (&self.state_dir, fs::metadata as fn(_) -> _),
            (&self.state_dir, fs::symlink_metadata),
            (&folder, fs::symlink_metadata),
            (&file, fs::symlink_metadata),
        ] {
            match is_there(path.as_path()) {
                Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(err) => return Err(format!("{} cannot be read: {err}", path.display())),
                Ok(found) if found.is_symlink() && path != &self.state_dir => {
                    return Err(format!("{} is a symbolic link", path.display()));
                }
                Ok(found) => trusted(path, &found)?,
            }
        }
        let kept: Option<Kept> =
            atomic_file::load(&file).map_err(|err| format!("{} cannot be read: {err}", file.display()))?;
        Ok(kept.filter(|kept| Path::new(&kept.file) == settings))
    }

    /// Keeps the text of a file with which an agent starts. Writes only if something is new.
    ///
    /// # Errors
    /// An error of the file system, with the path.
    pub(super) fn keep(&self, settings: &Path, text: &str) -> Result<(), String> {
        // A copy that cannot be read, or that nobody should believe, is replaced.
        let before = self.read(settings).unwrap_or_default();
        let file = settings.display().to_string();
        let now = nixfleet_os::timestamp();
        let kept = Kept::after_start(before.clone(), &file, text, now, self.registered().as_deref());
        if before.as_ref() == Some(&kept) { Ok(()) } else { self.store(&kept) }
    }

    /// Decides which settings count, because the file is wrong.
    ///
    /// # Errors
    /// As for [`Self::read`] and [`Self::keep`].
    pub(super) fn fall_back(&self, settings: &Path) -> Result<(), String> {
        let Some(before) = self.read(settings)? else { return Ok(()) };
        let kept = before.clone().after_mistake(self.registered().as_deref());
        if kept == before { Ok(()) } else { self.store(&kept) }
    }

    fn registered(&self) -> Option<String> {
        let found: Option<Registered> = atomic_file::load(&self.proof()).ok()?;
        found.map(|found| found.sha256)
    }

    fn store(&self, kept: &Kept) -> Result<(), String> {
        let disk = Disk::real();
        // Where root writes for the agent's group, `dist/tmpfiles.d` has made the folder for that group.
        let made = disk
            .make_folders(&self.state_dir, STATE_MODE)
            .and_then(|()| disk.make_folders(&self.folder(), PRIVATE));
        made.map_err(|err| format!("{}: {err}", self.folder().display()))?;
        atomic_file::store(&self.file(), kept).map_err(|err| format!("{}: {err}", self.file().display()))
    }

    /// Whether everybody who reads the copy may read the settings file as well. Where root writes it for the agent's
    /// group, a file that this group cannot read is not kept.
    pub(super) fn may_keep(&self, settings: &Path) -> bool {
        let Ok(file) = fs::metadata(settings) else { return false };
        let readers = fs::metadata(self.folder()).ok().filter(|folder| folder.mode() & 0o050 != 0);
        readers.is_none_or(|folder| {
            file.mode() & 0o004 != 0 || file.mode() & 0o040 != 0 && file.gid() == folder.gid()
        })
    }
}

/// Refuses what somebody else than root or this user can have changed.
fn trusted(path: &Path, found: &Metadata) -> Result<(), String> {
    let path = path.display();
    let own = rustix::process::geteuid().as_raw();
    if found.uid() != 0 && found.uid() != own {
        let believed = if own == 0 { "root is".to_owned() } else { format!("root and user {own} are") };
        return Err(format!("{path} belongs to user {}, and only {believed} believed", found.uid()));
    }
    // The mode of a link has no meaning.
    if !found.is_symlink() && found.mode() & WRITABLE != 0 {
        let mode = found.mode() & 0o7777;
        return Err(format!("others than its owner may write to {path} (mode {mode:o})"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
