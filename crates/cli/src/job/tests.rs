use nixfleet_protocol::{CommandRejected, OutputBatch, Stream};

use super::*;
use crate::exit::Exit;

fn line(seq: u64) -> BatchLine {
    BatchLine { seq, at: String::new(), stream: Stream::Stdout, line: format!("line {seq}"), cont: false }
}

fn lines(job: &str, seqs: &[u64]) -> AgentMessage {
    let lines = seqs.iter().map(|seq| line(*seq)).collect();
    AgentMessage::OutputBatch(OutputBatch { command: "switch".to_owned(), job_id: job.to_owned(), lines })
}

fn status(job: &str, kind: StatusKind, lines: u64) -> Status {
    let job_id = Some(job.to_owned()).filter(|job| !job.is_empty());
    Status { job_id, lines: Some(lines), ..Status::answer("switch", kind, 0, "done") }
}

fn ended(job: &str) -> AgentMessage {
    AgentMessage::Status(status(job, StatusKind::Ok, 0))
}

fn track(lines: bool) -> Track {
    Track::new(Asked::Command { command: "switch".to_owned(), id: "id".to_owned(), lines })
}

fn floor(sequence: u64, job: &str) -> Floor {
    let job = Some(job.to_owned()).filter(|job| !job.is_empty());
    Floor { sequence, seen: job.clone(), ended: job }
}

fn accepted() -> Result<Reply, AskError> {
    Ok(Reply::Accepted { evidence: "output".to_owned() })
}

/// The steps in short.
fn short(steps: &[Step]) -> String {
    let of = |step: &Step| match step {
        Step::Accepted { evidence } => format!("by {evidence}"),
        Step::Line { line, .. } => line.seq.to_string(),
        Step::Ended(outcome) => outcome.word().to_owned(),
    };
    steps.iter().map(of).collect::<Vec<_>>().join(" ")
}

#[test]
fn lines_come_once_and_the_status_ends_it() {
    let mut track = track(true);
    assert_eq!(short(&track.replied(floor(10, "a"), accepted())), "by output");
    assert_eq!(short(&track.said(11, lines("b", &[1, 2]))), "1 2");
    assert_eq!(short(&track.said(12, lines("b", &[2, 3, 7]))), "3 7");
    let end = AgentMessage::Status(status("b", StatusKind::Error, 7));
    assert_eq!(short(&track.said(13, end.clone())), "failed");
    assert!(track.is_over());
    assert_eq!(track.said(14, end), []);
}

#[test]
fn a_status_waits_for_the_lines_that_it_counts() {
    let mut track = track(true);
    track.replied(floor(10, ""), accepted());
    assert_eq!(track.said(11, AgentMessage::Status(status("b", StatusKind::Ok, 2))), []);
    assert!(track.is_ending());
    assert_eq!(short(&track.said(12, lines("b", &[1, 2]))), "1 2 good");

    let mut track = self::track(true);
    track.replied(floor(10, ""), accepted());
    track.said(11, AgentMessage::Status(status("b", StatusKind::Ok, 2)));
    assert_eq!(short(&track.give_up(Outcome::Late { runs: true })), "good");
}

#[test]
fn words_of_jobs_before_are_not_those_of_this_one() {
    let mut track = track(true);
    track.replied(floor(10, "b"), accepted());
    for job in ["a", "b"] {
        assert_eq!(track.said(11, lines(job, &[9])), [], "{job}");
        assert_eq!(track.said(11, ended(job)), [], "{job}");
    }
    assert_eq!(track.said(10, ended("c")), [], "it was there before");
    assert_eq!(short(&track.said(12, lines("c", &[1]))), "1");
    assert_eq!(track.said(13, ended("d")), []);
    let other = Status { command: "pull".to_owned(), ..status("c", StatusKind::Ok, 0) };
    assert_eq!(track.said(13, AgentMessage::Status(other)), []);
    assert_eq!(short(&track.said(14, ended("c"))), "good");
}

#[test]
fn what_comes_before_the_reply_counts_after_it() {
    let mut first = track(true);
    assert_eq!(first.said(11, lines("b", &[1])), []);
    assert_eq!(first.said(12, ended("b")), []);
    assert_eq!(short(&first.replied(floor(10, "a"), accepted())), "by output 1 good");

    // The lines were those of the job of somebody else.
    let rejection = CommandRejected {
        reason: "command already running".to_owned(),
        current_command: Some("switch".to_owned()),
        current_pid: Some(7),
        command: None,
        command_id: None,
    };
    let mut second = track(true);
    second.said(11, lines("b", &[1]));
    let steps = second.replied(floor(10, "a"), Ok(Reply::Rejected { rejection: rejection.clone() }));
    assert_eq!(short(&steps), "rejected");
    assert_eq!(Outcome::Rejected(rejection).text(), "command already running: switch, process 7");
}

#[test]
fn a_bounded_number_waits_for_the_reply() {
    let mut track = track(false);
    for sequence in 0..2000 {
        track.said(sequence, lines("b", &[sequence]));
    }
    track.said(2001, ended("b"));
    assert_eq!(track.dropped, 2001 - 1024);
    assert_eq!(short(&track.replied(floor(0, ""), accepted())), "by output good");
}

#[test]
fn silence_is_no_word_of_the_agent() {
    let mut track = track(false);
    let reply = Ok(Reply::Accepted { evidence: SILENCE.to_owned() });
    assert_eq!(short(&track.replied(floor(0, ""), reply)), "by silence");
    let rejection = |id: &str| {
        AgentMessage::CommandRejected(CommandRejected {
            reason: "maintenance".to_owned(),
            current_command: None,
            current_pid: None,
            command: Some("switch".to_owned()),
            command_id: Some(id.to_owned()),
        })
    };
    assert_eq!(track.said(5, rejection("another")), []);
    assert_eq!(short(&track.said(6, rejection("id"))), "rejected");
}

#[test]
fn a_lost_reply_is_not_offline_and_the_command_may_run() {
    for reply in [
        Ok(Reply::Unknown { reason: "the connection ended".to_owned() }),
        Err(AskError::Late("web-1".to_owned())),
    ] {
        let mut track = track(false);
        assert_eq!(track.replied(floor(0, ""), reply), []);
        assert!(track.unclear().is_some());
        assert_eq!(short(&track.said(5, ended("b"))), "good");
    }
    let mut track = track(true);
    track.replied(floor(0, ""), Err(AskError::Late("web-1".to_owned())));
    track.said(5, lines("b", &[1]));
    assert_eq!(track.unclear(), None, "it runs");
    for (reply, word) in [
        (Err(AskError::Offline("web-1".to_owned())), "offline"),
        (Ok(Reply::Refused { reason: "it registers".to_owned() }), "refused"),
        (Err(AskError::Away("web-1".to_owned())), "refused"),
    ] {
        let mut track = self::track(false);
        assert_eq!(short(&track.replied(floor(0, ""), reply)), word);
    }
}

#[test]
fn a_request_without_a_job_is_answered_by_its_command() {
    let mut track = track(true);
    track.replied(floor(10, "b"), accepted());
    let answer = Status { lines: None, ..status("", StatusKind::Ok, 0) };
    assert_eq!(track.said(10, AgentMessage::Status(answer.clone())), []);
    assert_eq!(short(&track.said(11, AgentMessage::Status(answer))), "good");
}

#[test]
fn a_stop_is_answered_by_the_job_or_by_its_own_status() {
    let stop = || {
        let mut track = Track::new(Asked::Stop);
        let floor = Floor { sequence: 10, seen: Some("c".to_owned()), ended: Some("b".to_owned()) };
        assert_eq!(track.replied(floor, Ok(Reply::Sent)), []);
        track
    };
    let mut track = stop();
    assert_eq!(track.said(11, ended("b")), [], "it is a repeat");
    assert_eq!(track.said(12, lines("c", &[5])), []);
    let mut refusal = line(6);
    refusal.line = format!("{REFUSED}it activates");
    let batch =
        OutputBatch { command: "switch".to_owned(), job_id: "c".to_owned(), lines: vec![line(5), refusal] };
    assert_eq!(short(&track.said(13, AgentMessage::OutputBatch(batch.clone()))), "6");
    assert_eq!(track.said(14, AgentMessage::OutputBatch(batch.clone())), [], "it is said again");
    assert_eq!(short(&track.said(14, AgentMessage::Status(status("c", StatusKind::Stopped, 9)))), "stopped");

    let nothing = Status::answer("stop", StatusKind::Error, 1, "nothing is running");
    assert_eq!(short(&stop().said(11, AgentMessage::Status(nothing))), "failed");

    // A stop that was refused has stopped nothing, whatever the end.
    let mut refused = stop();
    refused.said(11, AgentMessage::OutputBatch(batch));
    let steps = refused.said(12, ended("c"));
    assert!(
        matches!(&steps[..], [Step::Ended(outcome)] if outcome.word() == "ended" && outcome.exit() == Exit::NotDone),
        "{steps:?}"
    );
    let steps = stop().said(11, ended("c"));
    assert!(
        matches!(&steps[..], [Step::Ended(outcome)] if outcome.word() == "ended" && outcome.exit() == Exit::Good),
        "{steps:?}"
    );
}

#[test]
fn only_what_was_seen_running_is_said_to_run() {
    let late = |track: &Track| track.late() == Outcome::Late { runs: true };
    let by = |evidence: &str| Ok(Reply::Accepted { evidence: evidence.to_owned() });
    for (evidence, runs, text) in [
        ("output", true, "it runs"),
        (SILENCE, false, "sent, and not rejected within 2 s"),
        ("status", false, "it has ended already; `nixfleet logs` shows how"),
    ] {
        let mut track = track(true);
        track.replied(floor(0, ""), by(evidence));
        assert_eq!(late(&track), runs, "{evidence}");
        assert_eq!(track.not_waited().text(), text);
        track.said(1, lines("b", &[1]));
        assert!(late(&track), "its job is there");
    }
    let mut stop = Track::new(Asked::Stop);
    stop.replied(floor(0, ""), Ok(Reply::Sent));
    assert!(!late(&stop));
    let mut lost = track(false);
    lost.replied(floor(0, ""), Err(AskError::Late("web-1".to_owned())));
    assert_eq!(lost.not_waited().text().matches("look").count(), 1, "{}", lost.not_waited().text());
}
