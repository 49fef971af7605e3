//! The agent's records of accepted jobs. A record exists until the dashboard has received the job's end.
//!
//! Each record is a small file in a folder that the agent owns; the job's folder belongs to its supervisor.
//! When an agent starts, each existing record names a job to resume.

use std::io;
use std::path::{Path, PathBuf};

use nixfleet_os::{Clock, Machine};
use serde::{Deserialize, Serialize};

use crate::format::Format;
use crate::spec::Spec;
use crate::{Instance, JobId, JobsDir, atomic_file};

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
}

impl Format for Record {
    /// Version 2 added `line_numbers`.
    const VERSION: u32 = 2;
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
        }
    }

    /// The span of all log lines about this job. It has no parent, because a job outlives every connection.
    /// Its level is `error`, so that no `log_level` removes the job's name from a line that is shown.
    pub fn span(&self) -> tracing::Span {
        tracing::error_span!(parent: None, "job", id = %self.id, command = self.command)
    }

    /// The instance name for its supervisor.
    pub fn instance(&self) -> Instance {
        Instance { command: self.command.clone(), id: self.id.clone() }
    }
}

/// The folder with the records, on its machine.
#[derive(Debug, Clone)]
pub struct Records(PathBuf, Machine);

impl Records {
    /// The folder at `path` of this machine. It need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::on(Machine::default(), path)
    }

    /// The folder at `path` of that machine.
    pub fn on(machine: Machine, path: impl Into<PathBuf>) -> Self {
        Self(path.into(), machine)
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn file(&self, id: &JobId) -> PathBuf {
        self.0.join(format!("{id}.json"))
    }

    /// Writes a record.
    ///
    /// # Errors
    /// An error of the file system.
    pub fn save(&self, record: &Record) -> io::Result<()> {
        // The mode of `std::fs`; the umask of the process narrows it.
        self.1.disk.make_folders(&self.0, 0o777)?;
        atomic_file::store_on(&self.1.disk, &self.file(&record.id), record)
    }

    /// Removes a record. A record that does not exist is no error.
    ///
    /// # Errors
    /// An error of the file system.
    pub fn forget(&self, id: &JobId) -> io::Result<()> {
        match self.1.disk.remove(&self.file(id)) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
            _ => Ok(()),
        }
    }

    /// Returns the records of jobs to resume, oldest first, and those of announced reboots that have
    /// happened. An announced reboot has happened if its job was started in another boot than `boot_id`; its
    /// record is removed.
    pub fn open(&self, jobs: &JobsDir, boot_id: Option<&str>) -> (Vec<Record>, Vec<Record>) {
        let happened = |record: &Record| {
            let spec: Option<Spec> =
                atomic_file::load_on(jobs.disk(), &jobs.job(&record.id).spec()).ok().flatten();
            record.announced && spec.is_some_and(|spec| spec.boot_id.as_deref() != boot_id)
        };
        let (happened, open): (Vec<_>, Vec<_>) = self.load().into_iter().partition(happened);
        for record in &happened {
            record.span().in_scope(|| tracing::info!("The announced command was carried out."));
            // If the file cannot be removed, the next start tries again.
            drop(self.forget(&record.id));
        }
        (open, happened)
    }

    /// All records, oldest job first. Only files named `<job id>.json` are read: an agent that is killed
    /// during a write leaves a temporary file behind.
    pub fn load(&self) -> Vec<Record> {
        let names = self.1.disk.list(&self.0).unwrap_or_default();
        let mut ids: Vec<JobId> =
            names.iter().filter_map(|name| name.to_str()?.strip_suffix(".json")?.parse().ok()).collect();
        ids.sort();
        let record = |id: &JobId| atomic_file::load_on(&self.1.disk, &self.file(id)).ok().flatten();
        ids.iter().filter_map(record).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn records_come_back_in_the_order_of_their_jobs() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(folder.path().join("delivery"));
        assert!(records.load().is_empty());
        let made: Vec<Record> =
            (0..3).map(|n| Record { delivered_seq: n, ..Record::accept(format!("c{n}"), None) }).collect();
        for record in made.iter().rev() {
            records.save(record).unwrap();
        }
        fs::write(records.path().join("junk.json"), "{").unwrap();
        let torn = records.file(&made[0].id).with_extension("tmp");
        fs::copy(records.file(&made[0].id), torn).unwrap();
        assert_eq!(records.load(), made);
        records.forget(&made[1].id).unwrap();
        records.forget(&made[1].id).unwrap();
        assert_eq!(records.load().len(), 2);
    }

    #[test]
    fn an_announced_reboot_is_forgotten_in_the_next_boot() {
        let folder = tempfile::tempdir().unwrap();
        let (records, jobs) = (Records::new(folder.path().join("delivery")), JobsDir::new(folder.path()));
        let (reboot, pull) = (
            Record { announced: true, ..Record::accept("reboot".to_owned(), None) },
            Record::accept("pull".to_owned(), None),
        );
        for record in [&reboot, &pull] {
            records.save(record).unwrap();
            fs::create_dir_all(jobs.job(&record.id).path()).unwrap();
            let spec = Spec {
                id: record.id.clone(),
                command: record.command.clone(),
                steps: Vec::new(),
                timeout_s: None,
                boot_id: Some("one".to_owned()),
                started_at: String::new(),
            };
            atomic_file::store(&jobs.job(&record.id).spec(), &spec).unwrap();
        }
        let both = vec![reboot.clone(), pull.clone()];
        assert_eq!(records.open(&jobs, Some("one")), (both, vec![]), "it has not happened yet");
        assert_eq!(records.open(&jobs, Some("two")), (vec![pull.clone()], vec![reboot]));
        assert_eq!(records.load(), [pull], "for good");
    }
}
