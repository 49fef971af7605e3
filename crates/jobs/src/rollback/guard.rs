//! The guard of a trial: looks at the facts, and carries out what follows from them.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nixfleet_os::boot_id;
use nixfleet_os::disk::{File, Lock, Open};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::actions::{check, commit, go_back};
use super::decision::{Action, Checks, Facts, decide};
use super::state::{Decision, GuardState, Kind, Stage};
use super::{Contact, Trial, now_ms, unpin};
use crate::damage::is_damage;
use crate::journal::supervisor_lives;
use crate::{JobDir, remains};

/// How often the guard looks. A look reads three small files, for the minutes of a trial.
const TICK: Duration = Duration::from_millis(250);

/// How long to wait for the lock. Whoever asks whether there is a guard holds it for a moment.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes that are reserved at the start, so that the decision can be written when the disk is full.
const RESERVE: usize = 16 * 1024;

/// Why there is no guard.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The job has no trial.
    #[error("no system is on trial: there is no trial.json in {}", .0.display())]
    NoTrial(PathBuf),
    /// Somebody else is the guard.
    #[error("the job in {} has a guard already", .0.display())]
    Taken(PathBuf),
    /// A file of the job cannot be used.
    #[error("cannot use the files in {}", path.display())]
    Folder {
        /// The job's folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// What a look led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing is decided yet.
    Waiting,
    /// The decision is on disk.
    Decided,
    /// The machine was booted since, which has decided.
    Rebooted,
}

/// Whoever holds the lock `guard.lock` of a job decides about its trial.
#[derive(Debug)]
pub struct Guard {
    dir: JobDir,
    trial: Trial,
    state: GuardState,
    checks: Checks,
    boot_id: Option<String>,
    /// The newest state is on disk.
    stored: bool,
    _lock: File,
}

fn lock_path(dir: &JobDir) -> PathBuf {
    dir.path().join("guard.lock")
}

fn reserve(dir: &JobDir) -> PathBuf {
    dir.path().join("guard.reserve")
}

/// Whether a guard is alive. The kernel releases its lock however it ends.
pub fn is_guarded(dir: &JobDir) -> bool {
    let file = dir.disk().open(&lock_path(dir), Open::Read);
    file.and_then(|file| file.lock(Lock::Shared)).is_ok_and(|free| !free)
}

impl Guard {
    /// Becomes the guard of a job.
    ///
    /// # Errors
    /// [`GuardError`]
    pub fn take(dir: &JobDir) -> Result<Self, GuardError> {
        let path = || dir.path().to_owned();
        let failed = |source| GuardError::Folder { path: path(), source };
        let trial = Trial::load(dir).map_err(failed)?.ok_or_else(|| GuardError::NoTrial(path()))?;
        let lock = dir.disk().open(&lock_path(dir), Open::Keep).map_err(failed)?;
        let begun = Instant::now();
        while !lock.lock(Lock::Exclusive).map_err(failed)? {
            if begun.elapsed() >= LOCK_TIMEOUT {
                return Err(GuardError::Taken(path()));
            }
            thread::sleep(Duration::from_millis(10));
        }
        let file = dir.disk().open(&reserve(dir), Open::Truncate);
        // Without it a full disk delays what is told, and nothing else.
        drop(file.and_then(|mut file| file.write_all(&[0; RESERVE])));
        Ok(Self {
            state: earlier(dir).map_err(failed)?,
            dir: dir.clone(),
            boot_id: boot_id(&trial.proc),
            trial,
            checks: Checks::default(),
            stored: true,
            _lock: lock,
        })
    }

    /// Looks once, and does what follows. That may take as long as an activation.
    pub fn step(&mut self) -> Step {
        if self.state.decision.is_none() {
            // A trial that cannot be read now is the one that was read before.
            if let Ok(Some(trial)) = Trial::load(&self.dir) {
                self.trial = trial;
            }
            let contact = Contact::read(&self.trial.contact);
            let running = fs::read_link(&self.trial.running).ok();
            let action = decide(&Facts {
                trial: &self.trial,
                stage: self.state.stage,
                reason: &self.state.reason,
                boot_id: self.boot_id.as_deref(),
                now_ms: now_ms(),
                running: running.as_deref(),
                // Nobody who cannot be asked is dead.
                supervisor_lives: supervisor_lives(&self.dir).unwrap_or(true),
                contact: contact.as_ref(),
                checks: &self.checks,
            });
            match action {
                Action::Rebooted => return Step::Rebooted,
                Action::Wait => {}
                Action::Check => self.checks = check(&self.trial, &mut self.state),
                Action::Commit => self.commit(),
                Action::GoBack(reason) => self.go_back(reason),
                Action::Leave => self.decided(Decision { kind: Kind::Unchanged, message: String::new() }),
            }
        }
        if !self.stored {
            self.store();
        }
        if self.state.decision.is_some() && self.stored { Step::Decided } else { Step::Waiting }
    }

    /// Whether it may end without harm: nothing has begun that has to be completed.
    pub fn may_end(&self) -> bool {
        self.state.stage == Stage::Watching
    }

    fn commit(&mut self) {
        if self.state.stage == Stage::Watching {
            self.state.note("the new system is confirmed; it becomes the one of the next boot");
        }
        self.state.stage = Stage::Committing;
        self.store();
        let decision = commit(&self.trial, &mut self.state);
        self.decided(decision);
    }

    fn go_back(&mut self, reason: String) {
        if self.state.stage == Stage::Watching {
            self.state.note(format!("the new system is taken back: {reason}"));
        }
        (self.state.stage, self.state.reason) = (Stage::GoingBack, reason);
        self.store();
        if !supervisor_lives(&self.dir).unwrap_or(true) {
            // An activation that goes on without its supervisor holds the lock that this one needs.
            let left = remains::end(std::slice::from_ref(&self.trial.id), || true, || {});
            if let Some(text) = left.describe() {
                self.state.note(text);
            }
        }
        let reason = self.state.reason.clone();
        let decision = go_back(&self.trial, &reason, &mut self.state);
        self.decided(decision);
    }

    fn decided(&mut self, decision: Decision) {
        unpin(&self.trial);
        self.state.decision = Some(decision);
        self.store();
    }

    fn store(&mut self) {
        let mut stored = self.state.store(&self.dir);
        if stored.is_err() && self.dir.disk().remove(&reserve(&self.dir)).is_ok() {
            stored = self.state.store(&self.dir);
        }
        self.stored = stored.is_ok();
        if self.stored && self.state.decision.is_some() {
            drop(self.dir.disk().remove(&reserve(&self.dir)));
        }
    }
}

/// What a guard before this one has decided and begun. If a power failure damaged that, this one begins anew: it looks at
/// the same facts.
fn earlier(dir: &JobDir) -> io::Result<GuardState> {
    match GuardState::load(dir) {
        Err(err) if is_damage(&err) => {
            let mut anew = GuardState::default();
            anew.note(format!("what the guard had decided was damaged, so it begins anew: {err}"));
            Ok(anew)
        }
        loaded => loaded,
    }
}

/// Runs a guard until it has decided. `ready` is called when it is one. A SIGTERM ends it while nothing has begun that
/// has to be completed: at a shutdown the boot decides, and else the supervisor starts another one.
///
/// # Errors
/// [`GuardError`]
pub fn run(dir: &JobDir, ready: impl FnOnce()) -> Result<(), GuardError> {
    // A signal to the session of the caller is not meant for the guard. A service of systemd has its own already.
    rustix::process::setsid().ok();
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&ended))
            .map_err(|source| GuardError::Folder { path: dir.path().to_owned(), source })?;
    }
    let mut guard = Guard::take(dir)?;
    ready();
    loop {
        match guard.step() {
            Step::Decided | Step::Rebooted => return Ok(()),
            Step::Waiting if ended.load(Ordering::Relaxed) && guard.may_end() => return Ok(()),
            Step::Waiting => thread::sleep(TICK),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollback::examples;
    use crate::{JobId, JobsDir};

    #[test]
    fn a_guard_whose_file_was_damaged_begins_anew_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let dir = JobsDir::new(folder.path()).job(&JobId::generate());
        fs::create_dir(dir.path()).unwrap();
        examples::trial(0).store(&dir).unwrap();
        fs::write(dir.path().join("guard.json"), "{\"version\":1,\"sta").unwrap();
        let guard = Guard::take(&dir).unwrap();
        assert!(guard.may_end() && guard.state.decision.is_none());
        assert!(guard.state.notes[0].contains("damaged"), "{:?}", guard.state.notes);
    }
}
