//! Output and progress of commands as a dashboard receives them: latency of lines, standard error, the error of
//! a failed command, progress of test scripts.
//!
//! The commands themselves are tested in `command.rs`, `stop.rs` and `conversation.rs`.

use std::fs;

use nixfleet_dashboard::Recorded;
use nixfleet_protocol::{AgentMessage, Output, StatusKind, Stream};

use crate::command::{commit, with_origin};
use crate::rig::{Fleet, in_nats};

/// Number of lines whose latency is measured: enough for a 99th percentile.
const LINES: usize = 200;

/// Longest time from writing a line to its arrival, in milliseconds, as dashboards expect it.
const BOUND_MS: i64 = 100;

/// Factor by which a loaded test machine may be slower. The benchmark measures the real values.
const LOAD_FACTOR: i64 = 10;

/// A line, on its own or of a batch.
struct Told {
    arrived_ms: i64,
    at: Option<String>,
    line: String,
    stream: Stream,
    command: String,
    /// It came on its own, and is marked as an error.
    is_error: Option<bool>,
}

fn told(recorded: Recorded) -> Vec<Told> {
    let arrived_ms = recorded.at_ms;
    match recorded.message {
        AgentMessage::Output(Output { at, line, stream, command, is_error, .. }) => {
            vec![Told { arrived_ms, at, line, stream, command, is_error: Some(is_error) }]
        }
        AgentMessage::OutputBatch(batch) => {
            let line = |line: nixfleet_protocol::BatchLine| Told {
                arrived_ms,
                at: Some(line.at),
                line: line.line,
                stream: line.stream,
                command: batch.command.clone(),
                is_error: None,
            };
            batch.lines.into_iter().map(line).collect()
        }
        _ => Vec::new(),
    }
}

/// All lines. Existing dashboards get each on its own.
fn outputs(fleet: &Fleet) -> Vec<Told> {
    fleet.messages().into_iter().flat_map(told).collect()
}

#[tokio::test]
async fn a_line_arrives_soon_after_it_was_written() {
    let script = format!("for i in $(seq 1 {LINES}); do date +%s%3N; sleep 0.01; done");
    for strict in [true, false] {
        let fleet = if strict { Fleet::strict().await } else { Fleet::start().await };
        let fleet = fleet.script("clock", &script);
        let _agent = fleet.agent().await;
        assert_eq!(fleet.run("clock").await.exit_code, 0);
        let lines = outputs(&fleet);
        let is_alone = strict && !in_nats::is_on();
        assert!(lines.iter().all(|line| line.is_error.is_some() == is_alone), "alone: {is_alone}");
        assert_soon(&lines);
        fleet.assert_no_violations();
    }
}

/// Checks that half of the lines arrive in time. A loaded test machine may delay the others.
fn assert_soon(lines: &[Told]) {
    let mut written = Vec::new();
    let mut read = Vec::new();
    for Told { arrived_ms, at, line, .. } in lines {
        written.push(arrived_ms - line.parse::<i64>().unwrap());
        let at: jiff::Timestamp = at.as_deref().unwrap().parse().unwrap();
        read.push(arrived_ms - at.as_millisecond());
    }
    assert_eq!(written.len(), LINES);
    for (what, mut took) in [("written", written), ("read by the supervisor", read)] {
        took.sort_unstable();
        let (median, p99) = (took[LINES / 2], took[LINES * 99 / 100]);
        println!("from being {what} to its arrival: median {median} ms, p99 {p99} ms");
        assert!(median <= BOUND_MS * LOAD_FACTOR, "median {median} ms after being {what}: {took:?}");
    }
}

#[tokio::test]
async fn lines_of_standard_error_are_marked() {
    let fleet = Fleet::strict().await.script("both", "echo fine; echo odd >&2; echo fine again");
    let _agent = fleet.agent().await;
    assert_eq!(fleet.run("both").await.exit_code, 0);
    let lines = outputs(&fleet).into_iter();
    // A batch has no such mark: the stream says it.
    let is_error = |line: &Told| line.is_error.unwrap_or(line.stream == Stream::Stderr);
    let mut lines: Vec<_> =
        lines.map(|told| (told.line.clone(), told.stream, is_error(&told), told.command)).collect();
    // The order of lines from two pipes is not defined.
    lines.sort_by(|a, b| a.0.cmp(&b.0));
    let line = |text: &str, stream, is_error| (text.to_owned(), stream, is_error, "both".to_owned());
    let expected = [
        line("fine", Stream::Stdout, false),
        line("fine again", Stream::Stdout, false),
        line("odd", Stream::Stderr, true),
    ];
    assert_eq!(lines, expected);
    fleet.assert_no_violations();
}

#[tokio::test]
async fn a_failed_switch_carries_its_error_and_not_what_came_after_it() {
    let fleet = with_origin(Fleet::strict().await);
    let rebuild = "#!/bin/sh\nseq 1 50\necho \"error: attribute 'gnome' missing\" >&2\nexit 1\n";
    fs::write(fleet.path("rebuild"), rebuild).unwrap();
    let _agent = fleet.agent().await;
    fleet.ended("clone").await;
    let status = fleet.run("switch").await;
    assert_eq!((status.status, status.exit_code), (StatusKind::Error, 1));
    let message = status.message;
    assert!(message.contains("switch failed with exit code 1"), "{message}");
    assert!(message.contains("error: attribute 'gnome' missing"), "{message}");
    fleet.assert_no_violations();
}

#[tokio::test]
async fn test_progress_is_told_before_and_after_each_script() {
    let fleet = with_origin(Fleet::strict().await);
    let origin = fleet.path("origin");
    for number in 1..=5 {
        let exit_code = i32::from(number == 4);
        let script = format!("#!/bin/sh\necho test {number}\nexit {exit_code}");
        commit(&origin, &format!("hosts/test-host/tests/T{number}.sh"), &script);
    }
    let _agent = fleet.agent().await;
    fleet.ended("clone").await;
    let status = fleet.run("test").await;
    assert_eq!((status.exit_code, status.message.as_str()), (1, "Test: 4/5 passed"));
    // The output of a script is between the report of its start and that of its end.
    let mut received = Vec::new();
    for recorded in fleet.messages() {
        match &recorded.message {
            AgentMessage::TestProgress(p) => {
                received.push(format!("{}/{} {}", p.current, p.passed, p.running))
            }
            _ => received.extend(
                told(recorded).into_iter().filter(|told| told.command == "test").map(|told| told.line),
            ),
        }
    }
    let expected = [
        "1/0 true",
        "test 1",
        "1/1 true",
        "2/1 true",
        "test 2",
        "2/2 true",
        "3/2 true",
        "test 3",
        "3/3 true",
        "4/3 true",
        "test 4",
        "4/3 true",
        "5/3 true",
        "test 5",
        "5/4 false",
    ];
    assert_eq!(received, expected);
    fleet.assert_no_violations();
}
