//! A damaged record beside a whole file of answers, and the other way round.

use std::fs;

use nixfleet_jobs::record::Unread;
use nixfleet_protocol::StatusKind;

use super::*;

fn record(command_id: Option<&str>) -> Record {
    Record::accept("pull".to_owned(), command_id.map(str::to_owned))
}

/// As a session tells it.
fn status(record: &Record, outcome: &str, message: &str) -> Status {
    Status {
        job_id: Some(record.id.to_string()),
        outcome: Some(outcome.to_owned()),
        duration_ms: Some(7),
        lines: Some(3),
        dropped_lines: Some(1),
        ..Status::answer("pull", StatusKind::Error, 1, message)
    }
}

/// What is left of a record after damage: the name of its file.
fn damaged(record: &Record, result: Option<JobResult>) -> Record {
    Record { command: "unknown".to_owned(), command_id: None, result: result.map(Box::new), ..record.clone() }
}

fn lost(message: &str) -> JobResult {
    JobResult::without_supervisor(Outcome::Lost, message.to_owned(), 0)
}

#[tokio::test]
async fn a_record_that_was_damaged_before_the_answer_has_its_request_again() {
    let (whole, mut answered) = (record(Some("a")), Answered::default());
    assert!(answered.accepted(&whole));
    let mut left = damaged(&whole, None);
    assert!(answered.repair(&mut left));
    assert_eq!(left, whole);
    assert!(!answered.repair(&mut left), "it is whole now");
    let mut other = damaged(&record(Some("a")), None);
    assert!(!answered.repair(&mut other), "another job");
}

#[tokio::test]
async fn a_record_that_was_damaged_behind_the_answer_has_its_words_again() {
    for (outcome, message) in [("not_started", "Too many open files"), ("lost", "its supervisor died")] {
        let (whole, mut answered) = (record(Some("a")), Answered::default());
        answered.accepted(&whole);
        let told = status(&whole, outcome, message);
        answered.add("a".to_owned(), "pull".to_owned(), &told);
        assert!(!answered.is_open("a"), "its end was told");
        for result in [None, Some(lost("the record is damaged, and the job has no folder"))] {
            let mut left = damaged(&whole, result.clone());
            assert!(answered.repair(&mut left));
            assert_eq!((left.command.as_str(), left.command_id.as_deref()), ("pull", Some("a")));
            let again = left.result.as_deref().unwrap();
            assert_eq!((again.outcome.as_str(), again.message.as_str()), (outcome, message));
            assert_eq!((again.exit_code, again.line_count(), again.missing_lines()), (1, 3, 1));
            // Without a folder there is nothing to follow; else the whole log is told again.
            assert_eq!(left.decided().is_some(), result.is_some());
            assert!(!answered.repair(&mut left), "it is whole now");
        }
    }
}

#[tokio::test]
async fn a_whole_record_stays_as_it_is() {
    let (mut whole, mut answered) = (record(Some("a")), Answered::default());
    // Longer than what is kept of an answer, and with another outcome than a fresh look would give.
    let message = "m".repeat(3000);
    whole.result = Some(Box::new(lost(&message)));
    answered.add("a".to_owned(), "pull".to_owned(), &status(&whole, "lost", &message));
    let before = whole.clone();
    assert!(!answered.repair(&mut whole));
    assert_eq!(whole, before);
}

#[tokio::test]
async fn a_record_that_was_removed_is_made_anew_until_the_status_of_its_job_was_read() {
    for (has_folder, is_told, is_read, is_unread, expected) in [
        (true, false, false, false, true),
        (true, true, false, false, true),
        (true, true, true, false, false),
        (false, true, false, false, true),
        (false, true, true, false, false),
        (false, false, false, false, false),
        (true, false, false, true, false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (jobs, records) =
            (JobsDir::new(folder.path().join("jobs")), Records::new(folder.path().join("delivery")));
        let (older, removed) = (record(Some("o")), record(Some("a")));
        let mut answered = Answered::default();
        answered.accepted(&older);
        answered.accepted(&removed);
        records.save(&older).unwrap();
        if has_folder {
            let spec = jobs.job(&removed.id).spec();
            fs::create_dir_all(spec.parent().unwrap()).unwrap();
            fs::write(&spec, "{}").unwrap();
        }
        if is_told {
            answered.add("a".to_owned(), "pull".to_owned(), &status(&removed, "ok", "done"));
        }
        if is_read {
            assert!(answered.delivered(&removed.id));
            assert!(!answered.delivered(&removed.id), "once");
        }
        // As the next agent reads it.
        let path = folder.path().join(super::super::FILE);
        nixfleet_jobs::atomic_file::store(&path, &answered.file()).unwrap();
        let answered = Answered::load(jobs.disk(), &path).unwrap();
        let mut opened = records.open(&jobs, None);
        if is_unread {
            opened.unread = Unread { ids: vec![removed.id.clone()], folder: false };
        }
        answered.restore(&mut opened, &records, &jobs);
        let whole: Vec<_> = if expected { vec![older, removed] } else { vec![older] };
        assert_eq!(opened.resumed, whole, "{has_folder} {is_told} {is_read} {is_unread}");
        assert_eq!(records.load(), whole);
    }
}
