//! What the file of answers knows of a job whose record is damaged or missing.

use std::io;

use nixfleet_jobs::record::{Opened, Record, Records};
use nixfleet_jobs::spec::{JobResult, Outcome};
use nixfleet_jobs::{JobId, JobsDir, damage};
use nixfleet_os::{short, text};
use nixfleet_protocol::Status;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};

use super::{Answered, Entry, MAX_MESSAGE, Open};

/// `last_seq` of a job of which only the answer is known: its log may have any length, so all of it is told again.
const ANY_LENGTH: u64 = u64::MAX;

impl Answered {
    /// Repairs what a damaged record has lost: the id of its request, and how its end was told. False if nothing has
    /// changed.
    pub fn repair(&self, record: &mut Record) -> bool {
        let before = record.clone();
        let told = self.told(&record.id);
        let open = self.file.open.iter().find(|open| open.job_id == record.id);
        let request = told.map(|entry| (&entry.command_id, &entry.command));
        let request = request.or_else(|| open.map(|open| (&open.command_id, &open.command)));
        if let (None, Some((command_id, command))) = (&record.command_id, request) {
            record.command_id = Some(command_id.clone());
            record.command.clone_from(command);
        }
        if let Some(entry) = told
            && !record.announced
            && !record.result.as_ref().is_some_and(|result| says(result, &entry.status))
        {
            record.result = Some(Box::new(result(&entry.status, record)));
        }
        *record != before
    }

    /// The answer to the request of this job.
    fn told(&self, job: &JobId) -> Option<&Entry> {
        self.file.answered.iter().find(|entry| entry.status.job_id.as_deref() == Some(job.as_str()))
    }

    /// Makes the records anew that somebody has removed: their requests are open, and their jobs have a folder or were
    /// told. A record is written before there is a folder, and an agent removes it when this file says that the request
    /// is not open any more. Without either, the job may never have had a record.
    pub fn restore(&self, opened: &mut Opened, records: &Records, jobs: &JobsDir) {
        if opened.unread.folder {
            return;
        }
        for open in &self.file.open {
            let is_known = opened.resumed.iter().any(|record| record.id == open.job_id)
                || opened.unread.ids.contains(&open.job_id);
            let has_folder = || jobs.disk().kind(&jobs.job(&open.job_id).spec()).is_ok();
            if is_known || (self.told(&open.job_id).is_none() && !has_folder()) {
                continue;
            }
            let record = restored(open);
            let path = records.path().join(format!("{}.json", open.job_id));
            record.span().in_scope(|| {
                let missing = io::Error::new(io::ErrorKind::NotFound, "it is missing");
                damage::report(
                    &path,
                    &missing,
                    "it is made anew, and the command is told as before, or else as the job's folder says",
                );
                if let Err(err) = records.save(&record) {
                    tracing::warn!("Cannot write {}: {err}. The next agent makes it anew.", path.display());
                }
            });
            opened.resumed.push(record);
        }
        short::sort_by(&mut opened.resumed, |one, other| one.id.cmp(&other.id));
    }
}

fn restored(open: &Open) -> Record {
    let Open { job_id, command_id, command, accepted_at } = open.clone();
    Record {
        id: job_id,
        command,
        command_id: Some(command_id),
        accepted_at,
        // Everything is delivered again. Dashboards know lines by their numbers.
        delivered_seq: 0,
        announced: false,
        line_numbers: true,
        result: None,
    }
}

/// Whether the end in a record is the one that was told, whose message may have been cut.
fn says(result: &JobResult, told: &Status) -> bool {
    let mut message = result.message.clone();
    text::shorten(&mut message, MAX_MESSAGE);
    Some(result.outcome.as_str()) == told.outcome.as_deref()
        && (result.exit_code, result.signal) == (told.exit_code, told.signal)
        && message == told.message
}

/// The end of a job as it was told.
fn result(told: &Status, record: &Record) -> JobResult {
    let outcome: StrDeserializer<'_, Error> = told.outcome.as_deref().unwrap_or_default().into_deserializer();
    let outcome = Outcome::deserialize(outcome).unwrap_or(Outcome::Failed);
    let known = record.result.as_ref().map(|result| result.last_seq);
    let last_seq = known.unwrap_or(if told.lines == Some(0) { 0 } else { ANY_LENGTH });
    JobResult {
        exit_code: told.exit_code,
        signal: told.signal,
        started_at: record.accepted_at.clone(),
        ended_at: record.accepted_at.clone(),
        duration_ms: told.duration_ms.unwrap_or_default(),
        dropped: told.dropped_lines.unwrap_or_default(),
        lines: told.lines,
        dropped_lines: told.dropped_lines,
        ..JobResult::without_supervisor(outcome, told.message.clone(), last_seq)
    }
}

#[cfg(test)]
mod tests;
