use std::fs::{self, OpenOptions};
use std::io::Write;

use super::*;
use crate::spec::{JobResult, Outcome};
use crate::test_util::wait_until_dead;
use crate::{JobId, JobsDir};

fn scratch() -> (tempfile::TempDir, JobDir) {
    let folder = tempfile::tempdir().unwrap();
    let dir = JobsDir::new(folder.path()).job(&JobId::generate());
    fs::create_dir(dir.path()).unwrap();
    (folder, dir)
}

fn drain(reader: &mut Reader) -> Vec<u64> {
    let mut seqs = Vec::new();
    loop {
        let batch = reader.read(1000).unwrap();
        if batch.is_empty() {
            return seqs;
        }
        seqs.extend(batch.iter().map(|entry| entry.seq));
    }
}

#[test]
fn a_reader_gets_what_was_there_and_what_comes_later() {
    let (_folder, dir) = scratch();
    let mut writer = Writer::create(dir.clone(), 1 << 20).unwrap();
    let mut reader = Reader::new(dir.clone(), 0);
    writer.line(Source::Stdout, "one", false);
    assert!(reader.read(1000).unwrap().is_empty(), "nothing before a flush");
    writer.flush();
    assert_eq!(reader.read(1000).unwrap()[0].line, "one");
    writer.remark("two");
    assert_eq!(drain(&mut reader), [2]);
    assert_eq!(drain(&mut Reader::new(dir, 1)), [2]);
}

#[test]
fn a_lock_that_somebody_holds_on_a_new_log_is_an_error_and_no_wait_for_ever() {
    let (_folder, dir) = scratch();
    let other = dir.disk().open(&dir.log(0), Open::Append).unwrap();
    assert!(other.lock(Lock::Shared).unwrap());
    let (answer, answered) = std::sync::mpsc::channel();
    let new = dir.clone();
    std::thread::spawn(move || answer.send(Writer::create(new, 1 << 20).map(drop)));
    let answer = answered.recv_timeout(std::time::Duration::from_secs(30)).expect("an answer");
    let text = answer.unwrap_err().to_string();
    assert!(text.starts_with("another process holds its lock for 2s"), "{text}");
    drop(other);
    Writer::create(dir, 1 << 20).unwrap();
}

#[test]
fn a_reader_that_begins_late_finds_what_lies_behind_a_long_log() {
    let (_folder, dir) = scratch();
    let mut writer = Writer::create(dir.clone(), 1 << 20).unwrap();
    for n in 1..=1000 {
        writer.line(Source::Stdout, &format!("line {n}"), false);
    }
    writer.flush();
    for after in [1, 500, 999] {
        let first = Reader::new(dir.clone(), after).read(1000).unwrap();
        assert_eq!(first.first().map(|entry| entry.seq), Some(after + 1), "an empty answer is the end");
    }
    assert!(Reader::new(dir, 1000).read(1000).unwrap().is_empty());
}

#[test]
fn a_flood_costs_its_middle_and_the_loss_is_counted() {
    let (_folder, dir) = scratch();
    let mut writer = Writer::create(dir.clone(), 80_000).unwrap();
    for n in 0..20_000 {
        writer.line(Source::Stdout, &format!("line {n}"), false);
        if n % 10 == 0 {
            writer.flush();
        }
    }
    writer.flush();
    let seqs = drain(&mut Reader::new(dir.clone(), 0));
    assert_eq!((seqs.first(), seqs.last()), (Some(&1), Some(&20_000)));
    assert_eq!(seqs.len() as u64 + writer.dropped(), 20_000);
    assert_eq!(seqs.windows(2).filter(|pair| pair[1] != pair[0] + 1).count(), 1, "one gap");
    let size: u64 = fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum();
    assert!(size <= 80_000, "{size}");
}

#[test]
fn a_reader_that_keeps_up_misses_nothing_of_a_flood() {
    let (_folder, dir) = scratch();
    let mut writer = Writer::create(dir.clone(), 80_000).unwrap();
    let mut reader = Reader::new(dir, 0);
    let mut seen = Vec::new();
    for n in 0..5_000 {
        writer.line(Source::Stdout, &format!("line {n}"), false);
        if n % 50 == 0 {
            writer.flush();
            seen.extend(drain(&mut reader));
        }
    }
    writer.flush();
    seen.extend(drain(&mut reader));
    assert_eq!(seen, (1..=5_000).collect::<Vec<_>>());
}

/// Numbers of lines, and the lines that are missing before each; progress is 0.
fn numbers(entries: &[Entry]) -> Vec<(u64, u64)> {
    entries.iter().map(|entry| (entry.line_number.unwrap_or_default(), entry.missing)).collect()
}

fn read_all(dir: &JobDir, after: u64) -> (Vec<Entry>, Reader) {
    let mut reader = Reader::new(dir.clone(), after);
    let mut entries = Vec::new();
    loop {
        let batch = reader.read(1000).unwrap();
        if batch.is_empty() {
            // Without a result: only an entry that was held back.
            entries.extend(reader.finish(None));
            return (entries, reader);
        }
        entries.extend(batch);
    }
}

fn result(writer: &Writer) -> JobResult {
    JobResult {
        dropped: writer.dropped(),
        lines: Some(writer.lines()),
        dropped_lines: Some(writer.dropped_lines()),
        unwritten_lines: Some(writer.unwritten_lines()),
        unwritten: writer.unwritten_at_end(),
        ..JobResult::without_supervisor(Outcome::Ok, String::new(), writer.last_seq())
    }
}

fn progress() -> TestProgress {
    TestProgress { current: 1, total: 9, passed: 0, running: true, result: None }
}

#[test]
fn lines_have_numbers_of_their_own_and_progress_has_none() {
    let (_folder, dir) = scratch();
    let mut writer = Writer::create(dir.clone(), 1 << 20).unwrap();
    writer.progress(&progress());
    writer.line(Source::Stdout, "one, ", true);
    writer.line(Source::Stdout, "and its end", false);
    writer.operation(&OperationProgress::default());
    writer.progress(&progress());
    writer.remark("three");
    let (entries, reader) = read_all(&dir, 0);
    assert_eq!(numbers(&entries), [(0, 0), (1, 0), (2, 0), (0, 0), (0, 0), (3, 0)]);
    assert_eq!((writer.last_seq(), writer.lines(), reader.lines()), (6, 3, 3));
    for (after, skipped) in [(1, 1), (4, 4), (5, 5), (6, 6)] {
        let (rest, reader) = read_all(&dir, after);
        assert_eq!(rest, entries[skipped..], "after {after}");
        assert_eq!(reader.lines(), 3, "skipped lines are known too");
    }
}

#[test]
fn lines_that_are_missing_are_counted_without_the_progress_among_them() {
    let (_folder, dir) = scratch();
    let mut writer = Writer::create(dir.clone(), 20_000).unwrap();
    // The line number of each entry, or 0; and the number of the last line up to it.
    let (mut written, mut lines) = (vec![0], vec![0]);
    for n in 0..1000_u64 {
        if n % 7 == 3 {
            writer.progress(&progress());
        } else {
            writer.line(Source::Stdout, "some text", false);
            writer.flush();
        }
        written.push(if n % 7 == 3 { 0 } else { writer.lines() });
        lines.push(writer.lines());
    }
    let (entries, mut reader) = read_all(&dir, 0);
    let missing: u64 = entries.iter().map(|entry| entry.missing).sum();
    assert!(missing > 500 && writer.dropped() > missing + 50, "{missing} of {}", writer.dropped());
    assert_eq!((missing, reader.dropped_lines()), (writer.dropped_lines(), writer.dropped_lines()));
    assert_eq!(reader.lines(), writer.lines());
    assert_eq!(reader.finish(Some(&result(&writer))), []);
    let behind = entries.iter().position(|entry| entry.missing > 0).unwrap();
    let before = entries[..behind].iter().rfind(|entry| entry.is_text()).unwrap();
    let hole = before.seq + 1..entries[behind].seq - 1;
    let removed_progress = writer.dropped() - writer.dropped_lines();
    for after in 0..writer.last_seq() {
        let mut last = lines[usize::try_from(after).unwrap()];
        let mut excess = 0;
        for entry in read_all(&dir, after).0.iter().filter(|entry| entry.is_text()) {
            assert_eq!(entry.number(), written[usize::try_from(entry.seq).unwrap()]);
            excess += (last + 1 + entry.missing).checked_sub(entry.number()).expect("no line is left out");
            last = entry.number();
        }
        assert_eq!(last, writer.lines());
        // Nobody knows which of the removed entries were progress.
        let most = if hole.contains(&after) { removed_progress } else { 0 };
        assert!(excess <= most, "after {after} in {hole:?}: {excess} lines too many");
    }
}

#[test]
fn what_a_full_disk_cost_is_counted_and_a_loss_at_the_end_has_a_remark_too() {
    let (_folder, dir) = scratch();
    let mut writer = Writer::create(dir.clone(), 10_000).unwrap();
    // No segment behind the head can be opened.
    fs::create_dir(dir.log(1)).unwrap();
    let flood = |writer: &mut Writer| {
        for _ in 0..100 {
            writer.line(Source::Stdout, "some text", false);
            writer.progress(&progress());
        }
    };
    flood(&mut writer);
    let lost = (writer.dropped(), writer.dropped_lines());
    assert!(lost.1 > 0 && lost.0 == 2 * lost.1, "{lost:?}");
    fs::remove_dir(dir.log(1)).unwrap();
    writer.remark("there is room again");
    fs::create_dir(dir.log(2)).unwrap();
    flood(&mut writer);
    fs::remove_dir(dir.log(2)).unwrap();
    let at_end = writer.dropped_lines() - lost.1;
    assert!(at_end > 0 && writer.dropped() == 2 * writer.dropped_lines(), "{at_end}");

    let (entries, mut reader) = read_all(&dir, 0);
    let first = entries.iter().find(|entry| entry.missing > 0).unwrap();
    assert_eq!((first.line.as_str(), first.missing, first.number()), ("there is room again", lost.1, 101));
    let why = "the log could not be written: Is a directory (os error 21)";
    let remark = first.gap().unwrap();
    let line = format!("{} lines are missing here: {why}", lost.1);
    assert_eq!((remark.number(), remark.seq, remark.line), (100, 200, line));
    let [end] = &reader.finish(Some(&result(&writer)))[..] else { panic!("no remark") };
    assert_eq!((end.number(), end.seq), (201, 401));
    assert_eq!(end.line, format!("{at_end} lines are missing here: {why}"));
    assert_eq!(writer.unwritten_lines(), writer.dropped_lines());
    assert_eq!(reader.dropped_lines(), writer.dropped_lines());
    // Once it was delivered, it is not told again.
    let (_, mut reader) = read_all(&dir, 401);
    assert_eq!(reader.finish(Some(&result(&writer))), []);
}

/// Writes a log as supervisors did that numbered no lines.
fn without_line_numbers(dir: &JobDir, kept: impl Fn(u64) -> bool) {
    let mut log = fs::File::create(dir.log(0)).unwrap();
    for (seq, what) in (1_u64..).zip([
        r#""line":"","test":{"current":1,"total":1,"passed":0,"running":true}"#,
        r#""line":"two""#,
        r#""line":"three""#,
        r#""line":"","test":{"current":1,"total":1,"passed":1,"running":true}"#,
        r#""line":"five""#,
        r#""line":"","operation":{"progress":{}}"#,
    ]) {
        if kept(seq) {
            let at = "2026-11-26T14:58:18.671Z";
            writeln!(log, r#"{{"seq":{seq},"at":"{at}","stream":"stdout",{what}}}"#).unwrap();
        }
    }
}

#[test]
fn the_lines_of_an_older_supervisor_have_their_positions_as_numbers() {
    let (_folder, dir) = scratch();
    let old = JobResult::without_supervisor(Outcome::Ok, String::new(), 6);
    // Which entries are missing, and the remarks: number and count.
    for (missing, expected) in [
        (vec![], vec![]),
        (vec![2, 3], vec![(4, 2)]),
        (vec![3], vec![(4, 1)]),
        (vec![1], vec![(1, 1)]),
        (vec![5, 6], vec![(6, 2)]),
    ] {
        without_line_numbers(&dir, |seq| !missing.contains(&seq));
        let (entries, mut reader) = read_all(&dir, 0);
        assert!(entries.iter().all(|entry| entry.line_number.is_none() && entry.number() == entry.seq));
        let mut remarks: Vec<(u64, u64)> =
            entries.iter().filter_map(|entry| Some((entry.gap()?.number(), entry.missing))).collect();
        let end = reader.finish(Some(&old));
        let behind: Vec<(u64, u64)> =
            end.iter().filter_map(|entry| Some((entry.gap()?.number(), entry.missing))).collect();
        remarks.extend(behind);
        let told = end.iter().filter(|entry| entry.missing == 0);
        remarks.extend(told.filter_map(|end| Some((end.number(), gap_count(&end.line)?))));
        assert_eq!(remarks, expected, "{missing:?}");
        assert_eq!(reader.dropped_lines(), missing.len() as u64, "{missing:?}");
    }
}

#[test]
fn a_remark_waits_for_a_line_and_a_reader_that_left_before_it_gets_it_again() {
    let (_folder, dir) = scratch();
    let at = "2026-11-26T14:58:18.671Z";
    let lines = [
        format!(r#"{{"seq":1,"line_number":1,"at":"{at}","stream":"stdout","line":"one"}}"#),
        format!(r#"{{"seq":6,"at":"{at}","stream":"system","line":"","operation":{{"progress":{{}}}}}}"#),
        format!(r#"{{"seq":7,"line_number":6,"at":"{at}","stream":"stdout","line":"six"}}"#),
    ];
    fs::write(dir.log(0), lines.map(|line| line + "\n").concat()).unwrap();
    // Lines 2 to 5 are missing. Some of them may have been read before they were removed.
    for (after, missing) in [(0, 4), (1, 4), (3, 2), (5, 0), (6, 4)] {
        let (entries, reader) = read_all(&dir, after);
        let six = entries.last().unwrap();
        assert_eq!((six.number(), six.missing), (6, missing), "after {after}");
        assert!(entries.iter().all(|entry| entry.is_text() || entry.missing == 0));
        assert_eq!(reader.dropped_lines(), 4);
    }
}

#[test]
fn the_lock_tells_a_live_supervisor_from_a_dead_one() {
    let (_folder, dir) = scratch();
    assert!(supervisor_lives(&dir).is_err(), "not begun");
    let writer = Writer::create(dir.clone(), 1 << 20).unwrap();
    assert!(supervisor_lives(&dir).unwrap());
    drop(writer);
    wait_until_dead(&dir);
}

#[test]
fn a_torn_or_foreign_line_is_skipped() {
    let (_folder, dir) = scratch();
    let mut writer = Writer::create(dir.clone(), 1 << 20).unwrap();
    writer.remark("one");
    OpenOptions::new().append(true).open(dir.log(0)).unwrap().write_all(b"{\"seq\":\nnot json\n").unwrap();
    writer.remark("two");
    assert_eq!(drain(&mut Reader::new(dir, 0)), [1, 2]);
}

mod damage;
mod full_disk;
