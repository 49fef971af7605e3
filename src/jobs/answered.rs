//! Requests that were answered with the end of their command, by the id that the dashboard gave them: a request that
//! is repeated gets the same status again and does not run twice, also after a restart of the agent.
//!
//! Requests whose status no dashboard is known to have read are in it, too, so that each of them is in two files: here
//! and in the record of its job. Damage to one of them is repaired from the other one.
//!
//! [`Answered`] does no I/O. The executor writes it to disk.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::Duration;

use nixfleet_os::planted;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use nixfleet_jobs::format::Format;
use nixfleet_jobs::record::Record;
use nixfleet_jobs::{JobId, atomic_file, damage};
use nixfleet_os::{Disk, text};
use nixfleet_protocol::Status;

mod repair;

/// Name of the file in the agent's own folder.
pub const FILE: &str = "answered.json";

/// Requests that are kept: more than a dashboard has open at a time, in a file of about 100 KiB.
pub const MAX_KEPT: usize = 256;

/// How long a request is kept, as time that an agent ran: a day. Time is counted by a clock that is never set, and
/// only while an agent runs, so that neither a wrong clock nor a long time without an agent makes a command run twice.
/// The time between the last write of the file and the end of an agent is not counted, so it may be longer.
pub const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// Longest message that is kept, in characters. A status has one sentence.
const MAX_MESSAGE: usize = 1024;

/// A request that was answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    /// The dashboard's id of the request.
    command_id: String,
    /// Name of the command that was asked for.
    command: String,
    /// The answer.
    status: Status,
    /// Seconds that agents have run since the answer.
    age_s: u64,
}

/// Requests that are open, at most: a table has half as many jobs. A request whose record could not be written and whose
/// agent was killed stays until newer ones push it out.
const MAX_OPEN: usize = 32;

/// A request whose command was accepted, and whose job has a record: no dashboard is known to have read its status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Open {
    /// The job that runs the command.
    job_id: JobId,
    /// The dashboard's id of the request.
    command_id: String,
    /// Name of the command that was asked for.
    command: String,
    /// Time of acceptance, RFC 3339.
    accepted_at: String,
}

/// Content of [`FILE`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct File {
    /// Oldest first.
    #[serde(default)]
    answered: VecDeque<Entry>,
    /// Oldest first.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    open: VecDeque<Open>,
    /// The agent has added what an earlier one wrote and could not be read at the start.
    #[serde(skip)]
    has_older: bool,
}

impl Format for File {
    /// Version 2 added `open`.
    const VERSION: u32 = 2;
    /// [`MAX_KEPT`] entries of at most 4 KiB for the message, 1.5 KiB for the id and some short texts. Those in `open`
    /// are fewer, and have no message.
    const MAX_BYTES: u64 = 4 * 1024 * 1024;
}

impl File {
    /// Adds what an earlier agent wrote. None if the agent has done that.
    pub fn with_older(&self, older: &Self) -> Option<Self> {
        if self.has_older {
            return None;
        }
        let mut all = self.clone();
        all.add(older.clone());
        Some(all)
    }

    fn add(&mut self, older: Self) {
        let Self { answered, open, .. } = std::mem::replace(self, older);
        for entry in answered {
            self.put(entry);
        }
        self.open.retain(|known| open.iter().all(|own| own.job_id != known.job_id));
        self.open.extend(open);
        self.bound();
    }

    fn put(&mut self, entry: Entry) {
        self.answered.retain(|known| known.command_id != entry.command_id);
        self.answered.push_back(entry);
        self.bound();
    }

    fn bound(&mut self) {
        self.answered.retain(|entry| entry.age_s < KEPT_FOR.as_secs() && !entry.command_id.is_empty());
        let surplus = self.answered.len().saturating_sub(MAX_KEPT);
        self.answered.drain(..surplus);
        let surplus = self.open.len().saturating_sub(MAX_OPEN);
        self.open.drain(..surplus);
    }
}

/// The requests that were answered.
#[derive(Debug, PartialEq)]
pub struct Answered {
    file: File,
    /// Up to when the ages are counted.
    counted: Instant,
}

impl Default for Answered {
    fn default() -> Self {
        Self { file: File::default(), counted: Instant::now() }
    }
}

impl Answered {
    /// Reads the file of an earlier agent. A damaged one is moved aside.
    ///
    /// # Errors
    /// The file exists and cannot be read now, so that nothing must be stored over it.
    pub fn load(disk: &Disk, path: &Path) -> io::Result<Self> {
        const LOST: &str = "a request that an earlier agent has answered runs again if it is repeated";
        let file = match atomic_file::load_on(disk, path) {
            Ok(_) if planted!("lose-the-answers") => File::default(),
            Ok(file) => file.unwrap_or_default(),
            Err(err) => {
                damage::report(path, &err, LOST);
                if !damage::is_damage(&err) {
                    return Err(err);
                }
                // Over a file that stays, a new one is written. Only a folder stays in the way, which is logged then.
                drop(disk.rename(path, &path.with_extension("damaged")));
                File::default()
            }
        };
        let mut answered = Self { file, ..Self::default() };
        answered.file.bound();
        Ok(answered)
    }

    /// The content of the file, now.
    pub fn file(&mut self) -> File {
        self.count();
        self.file.clone()
    }

    /// Adds what an earlier agent had answered and could not be read at the start.
    pub fn add_older(&mut self, older: Self) {
        self.count();
        self.file.add(older.file);
        self.file.has_older = true;
    }

    /// Remembers that the request of this job is open. False if it has no id or is known, so that nothing has changed.
    pub fn accepted(&mut self, record: &Record) -> bool {
        let Record { id: job_id, command, command_id, accepted_at, .. } = record.clone();
        let is_known = || self.file.open.iter().any(|open| open.job_id == job_id);
        let Some(command_id) = command_id.filter(|_| !is_known()) else { return false };
        self.file.open.push_back(Open { job_id, command_id, command, accepted_at });
        self.file.bound();
        true
    }

    /// Whether a request with this id was accepted, and its end was not told.
    pub fn is_open(&self, command_id: &str) -> bool {
        self.file.open.iter().any(|open| open.command_id == command_id) && self.get(command_id).is_none()
    }

    /// A dashboard has read the status of this job, whose record can be removed. False if nothing has changed.
    pub fn delivered(&mut self, job: &JobId) -> bool {
        let before = self.file.open.len();
        self.file.open.retain(|open| open.job_id != *job);
        self.file.open.len() != before
    }

    /// Remembers an answer.
    pub fn add(&mut self, command_id: String, command: String, status: &Status) {
        self.count();
        let mut status = status.clone();
        text::shorten(&mut status.message, MAX_MESSAGE);
        self.file.put(Entry { command_id, command, status, age_s: 0 });
    }

    /// The command and the answer of the request with this id.
    pub fn get(&self, command_id: &str) -> Option<(&str, &Status)> {
        let known = self.file.answered.iter().find(|entry| entry.command_id == command_id);
        let known = known.filter(|entry| entry.age_s + self.counted.elapsed().as_secs() < KEPT_FOR.as_secs());
        known.map(|entry| (entry.command.as_str(), &entry.status))
    }

    /// Counts the time since the last call.
    fn count(&mut self) {
        let seconds = self.counted.elapsed().as_secs();
        self.counted += Duration::from_secs(seconds);
        for entry in &mut self.file.answered {
            entry.age_s = entry.age_s.saturating_add(seconds);
        }
        self.file.bound();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nixfleet_protocol::StatusKind;

    use super::*;

    fn status(text: &str) -> Status {
        Status::answer("pull", StatusKind::Ok, 0, text)
    }

    fn add(answered: &mut Answered, id: impl ToString) {
        answered.add(id.to_string(), "pull".to_owned(), &status(&id.to_string()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_kept_for_a_day_of_running_and_the_newest_are() {
        let mut answered = Answered::default();
        for id in 0..300 {
            add(&mut answered, id);
        }
        assert_eq!(answered.file().answered.len(), MAX_KEPT);
        assert!(
            answered.get("43").is_none() && answered.get("44").is_some() && answered.get("299").is_some()
        );
        let hours = |hours: u64| tokio::time::advance(Duration::from_secs(hours * 3600));
        hours(20).await;
        add(&mut answered, "late");
        hours(4).await;
        assert!(answered.get("299").is_none() && answered.get("late").is_some());
        // The next agent goes on to count from what is in the file.
        let (folder, file) = (tempfile::tempdir().unwrap(), answered.file());
        let path = folder.path().join(FILE);
        atomic_file::store(&path, &file).unwrap();
        hours(1000).await;
        let mut next = Answered::load(&Disk::real(), &path).unwrap();
        hours(19).await;
        assert_eq!(next.get("late"), Some(("pull", &status("late"))));
        hours(1).await;
        assert!(next.get("late").is_none());
        assert!(next.file().answered.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_answer_to_an_id_counts() {
        let mut answered = Answered::default();
        add(&mut answered, "a");
        answered.add("a".to_owned(), "switch".to_owned(), &status("second"));
        assert_eq!(answered.get("a"), Some(("switch", &status("second"))));
        let mut older = Answered::default();
        add(&mut older, "a");
        add(&mut older, "b");
        answered.add_older(older);
        assert_eq!(answered.get("a"), Some(("switch", &status("second"))));
        assert!(answered.get("b").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_message_is_cut_and_a_full_file_can_be_read() {
        let mut answered = Answered::default();
        for id in 0..MAX_KEPT {
            let id = format!("{id}{}", "\u{1}".repeat(250));
            answered.add(id, "c".repeat(32), &status(&"\u{1}é".repeat(100_000)));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        atomic_file::store(&path, &answered.file()).unwrap();
        assert!(fs::metadata(&path).unwrap().len() < File::MAX_BYTES);
        assert_eq!(Answered::load(&Disk::real(), &path).unwrap().file().answered.len(), MAX_KEPT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_damaged_file_is_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        assert!(Answered::load(&Disk::real(), &path).unwrap().file().answered.is_empty(), "no file");
        for damaged in ["", "{", "7", r#"{"answered":[{"command_id":7}]}"#] {
            fs::write(&path, damaged).unwrap();
            assert!(Answered::load(&Disk::real(), &path).unwrap().file().answered.is_empty(), "{damaged:?}");
            assert_eq!(fs::read_to_string(path.with_extension("damaged")).unwrap(), damaged);
            assert!(!path.exists());
        }
    }
}
