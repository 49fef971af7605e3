//! Paths of the files of jobs.

use std::path::{Path, PathBuf};

use nixfleet_os::{Clock, Disk, Machine};

use crate::JobId;

/// The folder that holds all job folders, on its machine.
#[derive(Debug, Clone)]
pub struct JobsDir(PathBuf, Machine);

impl JobsDir {
    /// The folder at `path` of this machine. It need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::on(Machine::default(), path)
    }

    /// The folder at `path` of that machine.
    pub fn on(machine: Machine, path: impl Into<PathBuf>) -> Self {
        Self(path.into(), machine)
    }

    /// The machine of the folder.
    pub fn machine(&self) -> &Machine {
        &self.1
    }

    /// The disk with the folder.
    pub fn disk(&self) -> &Disk {
        &self.1.disk
    }

    /// The clock of its machine.
    pub fn clock(&self) -> &Clock {
        &self.1.clock
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The lock that the supervisor of the running job holds: at most one job runs on a host.
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// How the last jobs ended: [`crate::history::History`].
    pub fn history(&self) -> PathBuf {
        self.0.join("history.json")
    }

    /// The checkout as the last job saw it: [`crate::checkout::Checkout`].
    pub fn checkout(&self) -> PathBuf {
        self.0.join("checkout.json")
    }

    /// The folder of one job.
    pub fn job(&self, id: &JobId) -> JobDir {
        JobDir(self.0.join(id.as_str()), self.1.clone())
    }
}

/// The folder of one job, on its machine.
#[derive(Debug, Clone)]
pub struct JobDir(PathBuf, Machine);

impl JobDir {
    /// The machine of the folder.
    pub fn machine(&self) -> &Machine {
        &self.1
    }

    /// The disk with the folder.
    pub fn disk(&self) -> &Disk {
        &self.1.disk
    }

    /// The clock of its machine.
    pub fn clock(&self) -> &Clock {
        &self.1.clock
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What was requested: [`crate::spec::Spec`].
    pub fn spec(&self) -> PathBuf {
        self.0.join("spec.json")
    }

    /// What is running: [`crate::spec::State`].
    pub fn state(&self) -> PathBuf {
        self.0.join("state.json")
    }

    /// How it ended: [`crate::spec::JobResult`].
    pub fn result(&self) -> PathBuf {
        self.0.join("result.json")
    }

    /// A segment of the log. Segment 0 is the head, which is never removed.
    pub fn log(&self, segment: u32) -> PathBuf {
        match segment {
            0 => self.0.join("log.jsonl"),
            n => self.0.join(format!("log.{n}.jsonl")),
        }
    }
}
