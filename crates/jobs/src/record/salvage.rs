//! A damaged record: what can still be said about its command.
//!
//! The command was accepted, so it has to be answered. The id of the job is the name of the file, the job's folder
//! has the command and maybe the result, and the damaged file may have more.

use std::io::{self, Read};
use std::path::Path;

use nixfleet_os::disk::Open;
use serde_json::Value;

use super::{Record, Records, Retry};
use crate::spec::{JobResult, Outcome, Spec};
use crate::{JobId, JobsDir, atomic_file, damage};

/// Damaged records that are kept for people to look at. Further ones push out the oldest.
const MAX_ASIDE: usize = 8;

/// Bytes that are read of a damaged record. A whole one has less than 1 KiB, or the message of a result more.
const MAX_READ: u64 = 64 * 1024;

/// Fields at the end of a file that was cut off that may be given up to read those before them.
const MAX_CUT: usize = 32;

/// The command of a record when nothing says what it was.
const UNKNOWN: &str = "unknown";

/// Moves a damaged record aside and makes it anew from what can be read.
pub(super) fn record(
    records: &Records,
    id: &JobId,
    err: &io::Error,
    jobs: &JobsDir,
) -> Result<Record, Retry> {
    let (disk, path, dir) = (jobs.disk(), records.file(id), jobs.job(id));
    let spec: Option<Spec> = match atomic_file::load_on(disk, &dir.spec()) {
        Ok(spec) => spec,
        Err(err) => {
            damage::report(&dir.spec(), &err, "nobody knows what the job was asked to do");
            if !damage::is_damage(&err) {
                return Err(Retry);
            }
            None
        }
    };
    let left = fields(records, &path);
    let text = |name: &str| {
        left.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let of_this_job = left.get("id").is_none_or(|other| other.as_str() == Some(id.as_str()));
    let command = spec.as_ref().map(|spec| spec.command.clone());
    let command =
        command.or_else(|| text("command").filter(|_| of_this_job)).unwrap_or_else(|| UNKNOWN.to_owned());
    let started_at = spec.map(|spec| spec.started_at);
    let accepted_at = text("accepted_at").filter(|_| of_this_job).or(started_at);
    let mut record = Record {
        id: id.clone(),
        command,
        accepted_at: accepted_at.unwrap_or_else(|| jobs.clock().timestamp()),
        // Everything is delivered again. Dashboards know lines by their numbers.
        delivered_seq: 0,
        announced: false,
        line_numbers: true,
        command_id: text("command_id").filter(|_| of_this_job),
        result: None,
    };
    let what = damage::describe(&path, err);
    let exists = disk.kind(dir.path());
    if exists.is_err_and(|err| err.kind() == io::ErrorKind::NotFound) {
        let message =
            format!("{}: {what}, and the job has no folder: nobody knows how it ended", record.command);
        let (started_at, ended_at) = (record.accepted_at.clone(), jobs.clock().timestamp());
        let lost = JobResult::without_supervisor(Outcome::Lost, message, 0);
        record.result = Some(Box::new(JobResult { started_at, ended_at, ..lost }));
    }
    let aside = path.with_extension("damaged");
    let moved = match move_aside(records, &path, &aside) {
        Ok(()) => format!("it is now {}", aside.display()),
        Err(err) => format!("it cannot be moved away: {err}"),
    };
    let saved = records.save(&record);
    record.span().in_scope(|| {
        let told = if record.result.is_some() { "as lost" } else { "as the job's folder says" };
        tracing::warn!("{what}: {moved}. The command is told {told}.");
        if let Err(err) = saved {
            tracing::warn!(
                "Cannot write {}: {err}. The next agent may tell the command again.",
                path.display()
            );
        }
    });
    Ok(record)
}

/// The fields that can be read, also of a file whose end is missing.
fn fields(records: &Records, path: &Path) -> serde_json::Map<String, Value> {
    let mut text = Vec::new();
    let read =
        records.1.disk.open(path, Open::Read).and_then(|file| file.take(MAX_READ).read_to_end(&mut text));
    let text = read.map(|_| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
    if let Ok(fields) = serde_json::from_str(&text) {
        return fields;
    }
    let mut left = text.as_str();
    for _ in 0..MAX_CUT {
        let Some((before, _)) = left.rsplit_once(',') else { break };
        if let Ok(fields) = serde_json::from_str(&format!("{before}}}")) {
            return fields;
        }
        left = before;
    }
    serde_json::Map::new()
}

/// Moves a damaged record away, and removes the oldest of those that were moved before.
fn move_aside(records: &Records, path: &Path, aside: &Path) -> io::Result<()> {
    let disk = &records.1.disk;
    disk.rename(path, aside)?;
    let names = disk.list(&records.0)?;
    let mut kept: Vec<JobId> =
        names.iter().filter_map(|name| name.to_str()?.strip_suffix(".damaged")?.parse().ok()).collect();
    kept.sort();
    kept.truncate(kept.len().saturating_sub(MAX_ASIDE));
    for id in kept {
        let old = records.file(&id).with_extension("damaged");
        // If it cannot be removed, the next damaged record tries again.
        drop(disk.remove(&old).or_else(|_| disk.remove_folder(&old)));
    }
    Ok(())
}
