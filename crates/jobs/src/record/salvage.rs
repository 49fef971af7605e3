//! A damaged record: what can still be said about its command.
//!
//! The command was accepted, so it has to be answered. The id of the job is the name of the file, the job's folder
//! has the command and maybe the result, and the damaged file may have more.

use std::io::{self, Read, Write};
use std::path::Path;

use nixfleet_os::disk::{Kind, Open};
use nixfleet_os::short;
use nixfleet_os::text::one_line;
use serde_json::Value;

use super::{Record, Records, Retry};
use crate::spec::{JobResult, Outcome, Spec};
use crate::{JobId, JobsDir, atomic_file, damage};

/// Damaged records that are kept for people to look at. Further ones push out the oldest.
const MAX_ASIDE: usize = 8;

/// Bytes that are read and kept of a damaged record. A whole one has less than 1 KiB, or the message of a result more.
const MAX_READ: u64 = 64 * 1024;

/// The command that goes down with the machine. A job of it is started when its success was reported.
const REBOOT: &str = "reboot";

/// Fields at the end of a file that was cut off that may be given up to read those before them.
const MAX_CUT: usize = 32;

/// Characters of a command's name that are kept. A custom command has 32 at most.
const MAX_NAME: usize = 64;

/// Bytes of an id of a request that is kept. The agent refuses longer ones.
const MAX_REQUEST_ID: usize = 256;

/// Bytes of a time, RFC 3339 with any fraction.
const MAX_TIME: usize = 40;

/// The command of a record when nothing says what it was.
const UNKNOWN: &str = "unknown";

/// Makes a damaged record anew from what can be read. The damaged one is kept beside it.
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
    let start = read_start(records, &path);
    let left = fields(&start);
    let text = |name: &str| {
        left.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let of_this_job = left.get("id").is_none_or(|other| other.as_str() == Some(id.as_str()));
    let command = spec.as_ref().map(|spec| spec.command.clone());
    // The name goes into messages and log lines, and damage may have made anything of it.
    let named = || {
        let name = text("command").filter(|_| of_this_job).map(|name| one_line(&name, MAX_NAME));
        name.filter(|name| !name.is_empty())
    };
    let command = command.or_else(named).unwrap_or_else(|| UNKNOWN.to_owned());
    let started_at = spec.map(|spec| spec.started_at);
    let is_time = |text: &String| text.len() <= MAX_TIME && text.bytes().all(|byte| byte.is_ascii_graphic());
    let accepted_at = text("accepted_at").filter(|text| of_this_job && is_time(text)).or(started_at);
    let mut record = Record {
        id: id.clone(),
        announced: command == REBOOT,
        command,
        accepted_at: accepted_at.unwrap_or_else(|| jobs.clock().timestamp()),
        // Everything is delivered again. Dashboards know lines by their numbers.
        delivered_seq: 0,
        line_numbers: true,
        command_id: text("command_id").filter(|id| of_this_job && id.len() <= MAX_REQUEST_ID),
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
    let kept = match keep_aside(records, &path, &aside, &start) {
        Ok(()) => format!("what could be read of it is now {}", aside.display()),
        Err(err) => format!("it cannot be kept as {}: {err}", aside.display()),
    };
    let saved = records.save(&record);
    if saved.is_err() && disk.kind(&path).is_err() {
        // Something must say that the command was accepted, for the next agent. If this fails too, nothing can.
        drop(disk.rename(&aside, &path));
    }
    record.span().in_scope(|| {
        let told = if record.result.is_some() { "as lost" } else { "as the job's folder says" };
        tracing::warn!("{what}: {kept}. The command is told {told}.");
        if let Err(err) = saved {
            tracing::warn!(
                "Cannot write {}: {err}. The next agent may tell the command again.",
                path.display()
            );
        }
    });
    Ok(record)
}

/// The beginning of a file; nothing if it cannot be read.
fn read_start(records: &Records, path: &Path) -> Vec<u8> {
    let mut start = Vec::new();
    let opened = records.0.disk().open(path, Open::Read);
    // What was read before an error counts.
    drop(opened.and_then(|file| file.take(MAX_READ).read_to_end(&mut start)));
    start
}

/// The fields that can be read, also of a file whose end is missing.
fn fields(start: &[u8]) -> serde_json::Map<String, Value> {
    let text = String::from_utf8_lossy(start);
    // Bytes, as in all other files: a parser of texts is another copy of the parser in the program.
    if let Ok(fields) = serde_json::from_slice(text.as_bytes()) {
        return fields;
    }
    let mut left = &*text;
    for _ in 0..MAX_CUT {
        let Some((before, _)) = left.rsplit_once(',') else { break };
        if let Ok(fields) = serde_json::from_slice(format!("{before}}}").as_bytes()) {
            return fields;
        }
        left = before;
    }
    serde_json::Map::new()
}

/// Keeps a damaged record for people, and removes the oldest of those that were kept before.
///
/// A file is copied: until the new record takes its place, its name says that the command was accepted. What is no file
/// is moved, because no file can take the place of a folder.
fn keep_aside(records: &Records, path: &Path, aside: &Path, start: &[u8]) -> io::Result<()> {
    let disk = records.0.disk();
    if disk.kind(path)? == Kind::File {
        disk.open(aside, Open::Truncate)?.write_all(start)?;
    } else {
        disk.rename(path, aside)?;
    }
    let names = disk.list(records.path())?;
    let mut kept: Vec<JobId> =
        names.iter().filter_map(|name| name.to_str()?.strip_suffix(".damaged")?.parse().ok()).collect();
    short::sort(&mut kept);
    kept.truncate(kept.len().saturating_sub(MAX_ASIDE));
    for id in kept {
        let old = records.file(&id).with_extension("damaged");
        // If it cannot be removed, the next damaged record tries again.
        drop(disk.remove(&old).or_else(|_| disk.remove_folder(&old)));
    }
    Ok(())
}
