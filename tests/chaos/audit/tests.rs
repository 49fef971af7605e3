//! An excuse ends where what was done cannot explain what was told.

use std::path::PathBuf;
use std::time::Duration;

use nixfleet_dashboard::{Rule, Violation};
use nixfleet_protocol::{Status, StatusKind};

use super::conduct::is_excused;
use super::excuses::{log_damaged_since, process_lost, request_lost, words_lost};
use crate::act::{Act, When};
use crate::commands::Side;
use crate::damage::{Damaged, How, Noted, Target};
use crate::evidence::{Asked, Done, Evidence, Rest};
use crate::machine::Needs;
use crate::schedule::Family;

const JOB: &str = "01";

fn evidence(done: Vec<Done>) -> Evidence {
    let asked = |name: &str, sent| Asked { name: name.into(), id: format!("id-{name}"), sent, sent_on: 1 };
    Evidence {
        family: Family::Damage,
        strict: true,
        begun: 0,
        ended: 90_000,
        folder: tempfile::tempdir().unwrap(),
        disk: None,
        messages: Vec::new(),
        violations: Vec::new(),
        connections: Vec::new(),
        asked: vec![asked("one", vec![10_000]), asked("two", vec![11_000, 12_000])],
        done,
        excused: Vec::new(),
        mute: Vec::new(),
        side: Side::default(),
        deaths: Vec::new(),
        together: Vec::new(),
        starts: 1,
        needs: Needs::default(),
        log_bytes: 0,
        rest: Rest::default(),
        skipped: Vec::new(),
    }
}

/// A file of the job of `one` that was damaged 20 s after the begin.
fn damaged(target: Target, noted: Noted, readable: bool) -> Evidence {
    let how = How::Garbage;
    let (job, command) = (Some(JOB.to_owned()), Some("one".to_owned()));
    let damaged = Damaged { path: PathBuf::new(), target, how, job, command, noted, readable };
    let act = Act::Damage { target, how, down: false };
    evidence(vec![Done { at: 20_000, act, note: String::new(), hit: true, damaged: Some(damaged) }])
}

fn status(outcome: &str) -> Status {
    let answer = Status::answer("one", StatusKind::Error, 1, "");
    Status { outcome: Some(outcome.to_owned()), ..answer }
}

#[test]
fn damage_explains_what_is_told_behind_it() {
    let record = damaged(Target::Record, Noted::Nothing, false);
    assert!(request_lost(&record, "one", 20_000) && !request_lost(&record, "two", 20_000));
    assert!(!request_lost(&record, "one", 19_999));
    let state = damaged(Target::State, Noted::Request, true);
    assert!(process_lost(&state, "one", 20_000) && !process_lost(&state, "one", 19_999));
}

#[test]
fn damage_explains_a_repeat_behind_it() {
    let log = damaged(Target::Log, Noted::Answer, false);
    assert!(log_damaged_since(&log, JOB, 19_000, 21_000) && !log_damaged_since(&log, "02", 19_000, 21_000));
    assert!(!log_damaged_since(&log, JOB, 18_000, 19_000) && !log_damaged_since(&log, JOB, 21_000, 22_000));
    let record = damaged(Target::Record, Noted::Answer, true);
    let lost = |told, again| words_lost(&record, JOB, (told, &status("ok")), (again, &status("failed")));
    assert!(lost(19_000, 21_000));
    assert!(!lost(18_000, 19_000) && !lost(21_000, 22_000));
}

#[test]
fn a_result_is_not_forgotten_with_its_record() {
    let lost = |evidence: &Evidence, first, other| {
        words_lost(evidence, JOB, (19_000, &status(first)), (21_000, &status(other)))
    };
    let record = damaged(Target::Record, Noted::Request, false);
    assert!(lost(&record, "lost", "lost") && lost(&record, "not_started", "lost"));
    assert!(
        !lost(&record, "ok", "failed") && !lost(&record, "ok", "lost") && !lost(&record, "failed", "failed")
    );
    assert!(!lost(&damaged(Target::Record, Noted::Answer, false), "lost", "lost"));
}

fn violation(rule: Rule, command: &str, at: &str) -> Violation {
    let message = format!(r#"{{"command":"{command}"}}"#);
    Violation {
        host: "host".into(),
        rule,
        why: String::new(),
        message,
        at: format!("1970-01-01T00:00:{at}Z"),
    }
}

#[test]
fn a_full_disk_excuses_the_numbers_of_commands_that_it_met() {
    let act = Act::FullDisk(When::Now, Duration::from_secs(1));
    let full = evidence(vec![Done { at: 20_000, act, note: String::new(), hit: true, damaged: None }]);
    let excused = |at| is_excused(&full, &violation(Rule::LineNumbers, "one", at));
    assert!(excused("20.000") && !excused("19.999"));
    let mut early = full;
    early.done[0].at = 4_999;
    assert!(!is_excused(&early, &violation(Rule::LineNumbers, "one", "20.000")));
}

#[test]
fn a_rejection_is_excused_for_the_request_that_was_sent_twice() {
    let nothing = evidence(Vec::new());
    let excused = |command| is_excused(&nothing, &violation(Rule::Rejection, command, "20.000"));
    assert!(excused("two") && !excused("one"));
}
