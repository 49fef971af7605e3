//! A damaged record of an accepted command: the command is answered all the same.

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use nixfleet_jobs::record::{Record, Records};
use nixfleet_jobs::spec::{Outcome, Spec};
use nixfleet_jobs::{JobId, JobsDir, format};
use nixfleet_os::text::one_line;
use serde_json::Value;
use tempfile::TempDir;

/// The job of the record. Its file has this name.
const ID: &str = "0192f0c123457abc8def0123456789ab";

/// Characters of a command's name, and bytes of the id of a request, that are kept at most.
const MAX_NAME: usize = 64;
const MAX_REQUEST_ID: usize = 256;

thread_local! {
    static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

/// The files of a record and of its job's spec, separated by 0xff. Whatever they hold, exactly one record is there for
/// the command, it is the same for the next agent, and nothing in it is invented.
pub fn salvage(data: &[u8]) {
    FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(crate::scratch).path();
        let (delivery, jobs) = (folder.join("delivery"), folder.join("jobs"));
        run(data, &delivery, &JobsDir::new(&jobs));
        for used in [delivery, jobs] {
            drop(fs::remove_dir_all(used));
        }
    });
}

fn run(data: &[u8], delivery: &Path, jobs: &JobsDir) {
    let id: JobId = ID.parse().expect("an id");
    let mut files = data.split(|byte| *byte == 0xff);
    let (bytes, spec) = (files.next().unwrap_or_default(), files.next());
    fs::create_dir_all(delivery).expect("a folder of records");
    let path = delivery.join(format!("{ID}.json"));
    fs::write(&path, bytes).expect("a record");
    if let Some(spec) = spec {
        fs::create_dir_all(jobs.job(&id).path()).expect("a folder of a job");
        fs::write(jobs.job(&id).spec(), spec).expect("a spec");
    }
    let record = opened(delivery, jobs);
    assert_eq!(record.id, id);
    // The next agent, and the one behind it, tell the same.
    for _ in 0..2 {
        assert_eq!(opened(delivery, jobs), record);
    }
    let whole: Option<Record> = format::parse(&path, bytes).ok();
    match whole.filter(|whole| whole.id == id) {
        Some(whole) => assert_eq!(record, whole, "a record that can be read is not damaged"),
        None => made_anew(&record, bytes, spec, &path),
    }
}

/// The one record that there is.
fn opened(delivery: &Path, jobs: &JobsDir) -> Record {
    let mut opened = Records::new(delivery).open(jobs, Some("this boot"));
    assert!(opened.unread.is_empty(), "{opened:?}");
    let mut all: Vec<Record> = opened.resumed.drain(..).chain(opened.happened.drain(..)).collect();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn made_anew(record: &Record, bytes: &[u8], spec: Option<&[u8]>, path: &Path) {
    assert_eq!(fs::read(path.with_extension("damaged")).expect("the damaged file"), bytes);
    assert_eq!((record.delivered_seq, record.announced), (0, false), "all of it is delivered");
    let is_lost = record.result.as_ref().map(|result| result.outcome);
    assert_eq!(is_lost, spec.is_none().then_some(Outcome::Lost), "a job with a folder is not lost yet");
    let spec: Option<Spec> = spec.and_then(|spec| format::parse(path, spec).ok());
    if let Some(spec) = &spec {
        assert_eq!(record.command, spec.command);
        return;
    }
    let text = String::from_utf8_lossy(bytes);
    let quoted = |text: &str| Value::from(text).to_string();
    // An escape in the file is another text of the same value.
    let is_there = |value: &str| text.contains('\\') || text.contains(&quoted(value));
    // Odd characters are left out, so what is kept is a part of what is there.
    let mut all = text.chars();
    let kept =
        record.command.chars().filter(char::is_ascii_alphanumeric).all(|c| all.any(|other| other == c));
    assert!(record.command == "unknown" || text.contains('\\') || kept, "{:?}", record.command);
    assert!(record.command.chars().count() <= MAX_NAME, "{:?}", record.command);
    assert!(record.command_id.as_deref().is_none_or(is_there), "{:?}", record.command_id);
    assert!(record.command_id.as_deref() != Some("") && !record.command.is_empty());
    // A file that is JSON, or was until its end was cut off, gives what it says, if it is of this job.
    let fields: Option<Value> = serde_json::from_slice(bytes).ok();
    let Some(Value::Object(fields)) = fields else { return };
    let of_this_job = fields.get("id").is_none_or(|other| other.as_str() == Some(ID));
    let wanted =
        |name: &str| fields.get(name).and_then(Value::as_str).filter(|text| of_this_job && !text.is_empty());
    let command = wanted("command").map(|name| one_line(name, MAX_NAME)).filter(|name| !name.is_empty());
    assert_eq!(record.command, command.unwrap_or_else(|| "unknown".to_owned()));
    assert_eq!(record.command_id.as_deref(), wanted("command_id").filter(|id| id.len() <= MAX_REQUEST_ID));
}
