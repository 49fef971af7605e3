//! What the agent remembers of the jobs it accepted until the dashboard has seen their end.
//!
//! One small file for each job, in a folder of the agent's own: the job's folder belongs to its
//! supervisor. A record that is still there when an agent starts names a job to pick up again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Instance, JobId, spec};

/// An accepted command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its job.
    pub id: JobId,
    /// Its name.
    pub command: String,
    /// The dashboard's own id of it.
    pub command_id: Option<String>,
    /// RFC 3339.
    pub accepted_at: String,
    /// Entries up to here have been read by a dashboard, by its own proof.
    pub delivered_seq: u64,
}

impl Record {
    /// What its supervisor is told.
    pub fn instance(&self) -> Instance {
        Instance { command: self.command.clone(), id: self.id.clone() }
    }
}

/// The folder of records.
#[derive(Debug, Clone)]
pub struct Records(PathBuf);

impl Records {
    /// The folder at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn file(&self, id: &JobId) -> PathBuf {
        self.0.join(format!("{id}.json"))
    }

    /// Writes a record.
    ///
    /// # Errors
    /// Of the file system.
    pub fn save(&self, record: &Record) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        spec::store(&self.file(&record.id), record)
    }

    /// Removes a record; none is fine.
    ///
    /// # Errors
    /// Of the file system.
    pub fn forget(&self, id: &JobId) -> io::Result<()> {
        match fs::remove_file(self.file(id)) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
            _ => Ok(()),
        }
    }

    /// All records, oldest job first. Only `<job id>.json` counts: an agent that was killed in the
    /// middle of a write leaves a second file of the same content behind.
    pub fn load(&self) -> Vec<Record> {
        let names = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut ids: Vec<JobId> =
            names.filter_map(|item| item.file_name().to_str()?.strip_suffix(".json")?.parse().ok()).collect();
        ids.sort();
        let record = |id: &JobId| spec::load(&self.file(id)).ok().flatten();
        ids.iter().filter_map(record).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_in_the_order_of_their_jobs() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(folder.path().join("delivery"));
        assert!(records.load().is_empty());
        let made: Vec<Record> = (0..3)
            .map(|n| Record {
                id: JobId::generate(),
                command: format!("c{n}"),
                command_id: None,
                accepted_at: crate::job::timestamp(),
                delivered_seq: n,
            })
            .collect();
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
}
