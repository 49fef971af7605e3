//! Paths of the files of jobs.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use nixfleet_os::{Clock, Disk, Machine};

use crate::JobId;
use crate::activation::Activations;

/// A folder, on its machine.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    machine: Machine,
}

impl Folder {
    pub(crate) fn new(machine: Machine, path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), machine }
    }

    /// The machine of the folder.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The disk with the folder.
    pub fn disk(&self) -> &Disk {
        &self.machine.disk
    }

    /// The clock of its machine.
    pub fn clock(&self) -> &Clock {
        &self.machine.clock
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The folder that holds all job folders.
#[derive(Debug, Clone)]
pub struct JobsDir {
    folder: Folder,
    activations: Option<Activations>,
}

impl Deref for JobsDir {
    type Target = Folder;

    fn deref(&self) -> &Folder {
        &self.folder
    }
}

impl JobsDir {
    /// The folder at `path` of this machine. It need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::on(Machine::default(), path)
    }

    /// The folder at `path` of that machine.
    pub fn on(machine: Machine, path: impl Into<PathBuf>) -> Self {
        Self { folder: Folder::new(machine, path), activations: None }
    }

    /// The same folder, with where the activations of its jobs can be seen.
    #[must_use]
    pub fn with_activations(mut self, activations: Activations) -> Self {
        self.activations = Some(activations);
        self
    }

    /// Where the activations of its jobs can be seen, if somebody said so.
    pub fn activations(&self) -> Option<&Activations> {
        self.activations.as_ref()
    }

    /// The lock that the supervisor of the running job holds: at most one job runs on a host.
    pub fn lock(&self) -> PathBuf {
        self.path().join("lock")
    }

    /// How the last jobs ended: [`crate::history::History`].
    pub fn history(&self) -> PathBuf {
        self.path().join("history.json")
    }

    /// The checkout as the last job saw it: [`crate::checkout::Checkout`].
    pub fn checkout(&self) -> PathBuf {
        self.path().join("checkout.json")
    }

    /// What the next boot runs, as the last job saw it: [`crate::next_boot::NextBoot`].
    pub fn next_boot(&self) -> PathBuf {
        self.path().join("next-boot.json")
    }

    /// The folder of one job.
    pub fn job(&self, id: &JobId) -> JobDir {
        JobDir(Folder::new(self.machine().clone(), self.path().join(id.as_str())))
    }
}

/// The folder of one job.
#[derive(Debug, Clone)]
pub struct JobDir(Folder);

impl Deref for JobDir {
    type Target = Folder;

    fn deref(&self) -> &Folder {
        &self.0
    }
}

impl JobDir {
    /// What was requested: [`crate::spec::Spec`].
    pub fn spec(&self) -> PathBuf {
        self.path().join("spec.json")
    }

    /// What is running: [`crate::spec::State`].
    pub fn state(&self) -> PathBuf {
        self.path().join("state.json")
    }

    /// How it ended: [`crate::spec::JobResult`].
    pub fn result(&self) -> PathBuf {
        self.path().join("result.json")
    }

    /// A segment of the log. Segment 0 is the head, which is never removed.
    pub fn log(&self, segment: u32) -> PathBuf {
        match segment {
            0 => self.path().join("log.jsonl"),
            n => self.path().join(format!("log.{n}.jsonl")),
        }
    }
}
