//! The agent's records of accepted jobs. A record exists until the dashboard has received the job's end.
//!
//! Each record is a small file in a folder that the agent owns; the job's folder belongs to its supervisor.
//! When an agent starts, each existing record names a job to resume.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use nixfleet_os::disk::PRIVATE;
use nixfleet_os::{Clock, Machine, planted, short};
use serde::{Deserialize, Serialize};

use crate::format::{self, Format};
use crate::spec::{JobResult, Spec};
use crate::{Folder, Instance, JobId, JobsDir, atomic_file, damage};

mod salvage;

/// An accepted command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The job that runs it.
    pub id: JobId,
    /// Name of the command.
    pub command: String,
    /// The dashboard's id of the request.
    pub command_id: Option<String>,
    /// Time of acceptance, RFC 3339.
    pub accepted_at: String,
    /// The dashboard has confirmed the log entries up to this `seq`.
    pub delivered_seq: u64,
    /// Success was reported before the command began, because the machine goes down with it. Only a reboot
    /// does this.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub announced: bool,
    /// The dashboard gets lines with their line numbers. An older agent that delivers a part of the job numbers
    /// them by position, and drops this field. The rest of the job is then numbered by position, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub line_numbers: bool,
    /// How the job ended, as a dashboard was told first. It is told in the same way again, whatever has become of the
    /// job's folder.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "format::or_default")]
    pub result: Option<Box<JobResult>>,
}

impl Format for Record {
    /// Version 2 added `line_numbers`, version 3 `result`.
    const VERSION: u32 = 3;
}

impl Record {
    /// Makes the record of a command that is accepted now.
    pub fn accept(command: String, command_id: Option<String>) -> Self {
        Self::accept_at(&Clock::real(), command, command_id)
    }

    /// Makes the record of a command that is accepted at the time of that clock.
    pub fn accept_at(clock: &Clock, command: String, command_id: Option<String>) -> Self {
        Self {
            id: JobId::generate_at(clock),
            command,
            command_id,
            accepted_at: clock.timestamp(),
            delivered_seq: 0,
            announced: false,
            line_numbers: true,
            result: None,
        }
    }

    /// The span of all log lines about this job. It has no parent, because a job outlives every connection.
    /// Its level is `error`, so that no `log_level` removes the job's name from a line that is shown.
    pub fn span(&self) -> tracing::Span {
        tracing::error_span!(parent: None, "job", id = %self.id, command = self.command)
    }

    /// The same job with an id that sorts behind `newest`.
    #[must_use]
    pub fn after(self, newest: Option<&JobId>) -> Self {
        Self { id: self.id.after(newest), ..self }
    }

    /// How the job ended, if that is decided and nothing of its output is left to deliver. Its folder is then not
    /// needed any more.
    pub fn decided(&self) -> Option<&JobResult> {
        self.result.as_deref().filter(|result| self.delivered_seq >= result.last_seq)
    }

    /// The instance name for its supervisor.
    pub fn instance(&self) -> Instance {
        Instance { command: self.command.clone(), id: self.id.clone() }
    }
}

/// The folder with the records.
#[derive(Debug, Clone)]
pub struct Records(Folder);

impl Records {
    /// The folder at `path` of this machine. It need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::on(Machine::default(), path)
    }

    /// The folder at `path` of that machine.
    pub fn on(machine: Machine, path: impl Into<PathBuf>) -> Self {
        Self(Folder::new(machine, path))
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, id: &JobId) -> PathBuf {
        self.path().join(format!("{id}.json"))
    }

    /// Writes a record.
    ///
    /// # Errors
    /// An error of the file system.
    pub fn save(&self, record: &Record) -> io::Result<()> {
        // It is the agent's alone: a supervisor that reads the names in it is root, or the same user.
        self.0.disk().make_folders(self.path(), PRIVATE)?;
        atomic_file::store_on(self.0.disk(), &self.file(&record.id), record)
    }

    /// Removes a record. A record that does not exist is no error.
    ///
    /// # Errors
    /// An error of the file system.
    pub fn forget(&self, id: &JobId) -> io::Result<()> {
        if planted!("keep-the-record") {
            return Ok(());
        }
        match self.0.disk().remove(&self.file(id)) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
            _ => Ok(()),
        }
    }

    /// Reads the records of an earlier agent, and removes leftovers of writes that were cut short. A record that is
    /// damaged is made anew from what can be read, and kept beside the new one.
    ///
    /// An announced reboot has happened if its job was started in another boot than `boot_id`; its record is removed.
    pub fn open(&self, jobs: &JobsDir, boot_id: Option<&str>) -> Opened {
        let ids = match self.ids() {
            Ok(ids) => ids,
            Err(err) => {
                damage::report(
                    self.path(),
                    &err,
                    "commands that an earlier agent accepted are told when it can be read",
                );
                let unread = Unread { ids: Vec::new(), folder: true };
                return Opened { unread, newest: newest_job(jobs), ..Opened::default() };
            }
        };
        let newest = ids.last().cloned().max(newest_job(jobs));
        let mut opened = Opened { newest, ..Opened::default() };
        for id in ids {
            let Some(record) = self.open_one(&id, jobs).transpose() else { continue };
            match record {
                Err(Retry) => opened.unread.ids.push(id),
                Ok(record) if self.has_happened(&record, jobs, boot_id) => opened.happened.push(record),
                Ok(record) => opened.resumed.push(record),
            }
        }
        opened
    }

    /// Reads one record, and repairs it if it is damaged. None if there is none.
    fn open_one(&self, id: &JobId, jobs: &JobsDir) -> Result<Option<Record>, Retry> {
        let path = self.file(id);
        match self.read(id) {
            Ok(record) => Ok(record),
            Err(err) if damage::is_damage(&err) => salvage::record(self, id, &err, jobs).map(Some),
            Err(err) => {
                damage::report(&path, &err, "its command is told as soon as the file can be read");
                Err(Retry)
            }
        }
    }

    fn has_happened(&self, record: &Record, jobs: &JobsDir, boot_id: Option<&str>) -> bool {
        if !record.announced {
            return false;
        }
        let path = jobs.job(&record.id).spec();
        let spec: Option<Spec> = atomic_file::load_on(jobs.disk(), &path).unwrap_or_else(|err| {
            damage::report(
                &path,
                &err,
                "nobody knows whether the announced reboot has happened; it is told again",
            );
            None
        });
        let happened = spec.is_some_and(|spec| spec.boot_id.as_deref() != boot_id);
        if happened {
            record.span().in_scope(|| tracing::info!("The announced command was carried out."));
            // If the file cannot be removed, the next start tries again.
            drop(self.forget(&record.id));
        }
        happened
    }

    /// Tries to read what could not be read before. `own` are the jobs of this agent, which has their records.
    /// Returns the records that were found; what is still not read stays in `unread`.
    pub fn open_unread(&self, unread: &mut Unread, own: &BTreeSet<JobId>, jobs: &JobsDir) -> Vec<Record> {
        if unread.folder
            && let Ok(ids) = self.ids()
        {
            *unread = Unread { ids: ids.into_iter().filter(|id| !own.contains(id)).collect(), folder: false };
        }
        let mut found = Vec::new();
        unread.ids.retain(|id| match self.open_one(id, jobs) {
            Ok(record) => {
                found.extend(record);
                false
            }
            Err(Retry) => true,
        });
        found
    }

    /// The records that can be read, oldest job first.
    pub fn load(&self) -> Vec<Record> {
        self.ids().unwrap_or_default().iter().filter_map(|id| self.read(id).ok().flatten()).collect()
    }

    fn read(&self, id: &JobId) -> io::Result<Option<Record>> {
        let record: Option<Record> = atomic_file::load_on(self.0.disk(), &self.file(id))?;
        if record.as_ref().is_some_and(|record| record.id != *id) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is the record of another job"));
        }
        // Earlier agents took an empty text for an id.
        Ok(record
            .map(|record| Record { command_id: record.command_id.filter(|id| !id.is_empty()), ..record }))
    }

    /// The ids of all records, oldest job first. Only files named `<job id>.json` are records. Temporary files of an
    /// agent that was killed during a write are removed.
    fn ids(&self) -> io::Result<Vec<JobId>> {
        let names = match self.0.disk().list(self.path()) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            names => names?,
        };
        let named = |suffix: &str| -> Vec<JobId> {
            let id = |name: &OsString| name.to_str()?.strip_suffix(suffix)?.parse().ok();
            names.iter().filter_map(id).collect()
        };
        for id in named(".tmp") {
            // It does no harm; the next start tries again.
            drop(self.0.disk().remove(&self.file(&id).with_extension("tmp")));
        }
        let mut ids = named(".json");
        short::sort(&mut ids);
        Ok(ids)
    }
}

/// The newest job with a folder. A folder that cannot be read has none.
fn newest_job(jobs: &JobsDir) -> Option<JobId> {
    let names = jobs.disk().list(jobs.path()).unwrap_or_default();
    names.iter().filter_map(|name| name.to_str()?.parse().ok()).max()
}

/// The records of an earlier agent.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Jobs to resume, oldest first.
    pub resumed: Vec<Record>,
    /// Announced reboots that have happened.
    pub happened: Vec<Record>,
    /// What could not be read; see [`Records::open_unread`].
    pub unread: Unread,
    /// The newest job of this host. Newer jobs get ids that sort behind it.
    pub newest: Option<JobId>,
}

/// Records that could not be read for a reason that may pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unread {
    /// Their jobs.
    pub ids: Vec<JobId>,
    /// The names of the records could not be read.
    pub folder: bool,
}

impl Unread {
    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty() && !self.folder
    }
}

/// A file cannot be read now.
#[derive(Debug)]
struct Retry;

#[cfg(test)]
mod tests;
