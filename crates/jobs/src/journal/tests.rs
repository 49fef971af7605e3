use std::fs::{self, OpenOptions};
use std::io::Write;

use super::*;
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
