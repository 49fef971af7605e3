//! Log entries of a job as messages.

use nixfleet_jobs::journal::{Reader, Writer};
use nixfleet_jobs::progress::TestProgress;
use nixfleet_jobs::{JobsDir, MAX_COMMAND_NAME};
use nixfleet_protocol::{MAX_LINE_BYTES, MAX_SENT_BYTES};

use super::*;
use crate::jobs::follower::BATCH;

fn entry(seq: u64, stream: Source, line: &str) -> Entry {
    Entry::new(seq, nixfleet_os::timestamp(), stream, line.to_owned())
}

fn decoded(texts: &[String]) -> Vec<AgentMessage> {
    texts.iter().map(|text| AgentMessage::decode(text).unwrap()).collect()
}

#[test]
fn a_batch_and_single_lines_say_the_same() {
    let id = JobId::generate();
    let progress = TestProgress { current: 1, total: 1, passed: 0, running: true, result: None };
    let line = |number, entry: Entry| Entry { line_number: Some(number), ..entry };
    let entries = vec![
        line(1, entry(1, Source::Stdout, "one")),
        line(2, entry(2, Source::System, "a remark")),
        Entry { test: Some(Box::new(progress.clone())), ..entry(3, Source::System, "") },
        line(3, Entry { cont: true, ..entry(4, Source::Stderr, "three") }),
        // From a supervisor that did not number lines.
        entry(5, Source::Stdout, "five"),
    ];
    let singles = decoded(&single(&id, "test", entries.clone()));
    let mut flattened = Vec::new();
    for message in decoded(&batched(&id, "test", entries)) {
        let AgentMessage::OutputBatch(batch) = message else {
            flattened.push(message);
            continue;
        };
        flattened.extend(batch.lines.into_iter().map(|line| {
            AgentMessage::Output(Output {
                line: line.line,
                stream: line.stream,
                command: batch.command.clone(),
                is_error: line.stream == Stream::Stderr,
                seq: Some(line.seq),
                job_id: Some(batch.job_id.clone()),
                at: Some(line.at),
                cont: line.cont,
            })
        }));
    }
    assert_eq!(flattened, singles);
    assert_eq!(
        singles[2],
        AgentMessage::TestProgress(wire::progress::test(progress)),
        "between the lines around it"
    );
    let number = |at: usize| match &singles[at] {
        AgentMessage::Output(output) => output.seq,
        other => panic!("{other:?}"),
    };
    assert_eq!((number(3), number(4)), (Some(3), Some(5)), "progress has no number");
    let AgentMessage::Output(remark) = &singles[1] else { panic!("{:?}", singles[1]) };
    assert_eq!((remark.line.as_str(), remark.stream), ("nixfleet: a remark", Stream::Stdout));
}

/// A follower passes on as much as one read returns.
#[test]
fn the_longest_batch_fits_into_one_message() {
    let longest = "\u{1}".repeat(MAX_LINE_BYTES);
    // Nearly as many as one read takes, so that the same read includes the line behind them.
    let short = BATCH / 110;
    let logs: [(&str, Vec<&str>); 3] = [
        ("one longest line behind short ones", [vec!["x"; short], vec![&longest]].concat()),
        ("longest lines only", vec![&longest; 3]),
        ("empty lines, where the frame around each weighs most", vec![""; 5000]),
    ];
    for (what, lines) in logs {
        for stream in [Source::Stdout, Source::System] {
            let folder = tempfile::tempdir().unwrap();
            let dir = JobsDir::new(folder.path()).job(&JobId::generate());
            std::fs::create_dir(dir.path()).unwrap();
            let mut writer = Writer::create(dir.clone(), 64 << 20).unwrap();
            for line in &lines {
                writer.line(stream, line, true);
            }
            writer.flush();
            let mut reader = Reader::new(dir, 0);
            let command = "x".repeat(MAX_COMMAND_NAME);
            let mut seen = 0;
            loop {
                let entries = reader.read(BATCH).unwrap();
                if entries.is_empty() {
                    break;
                }
                seen += entries.len();
                for text in batched(&JobId::generate(), &command, entries) {
                    assert!(text.len() <= MAX_SENT_BYTES, "{what} {stream:?}: {}", text.len());
                }
            }
            assert_eq!(seen, lines.len());
        }
    }
}
