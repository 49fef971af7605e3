//! A disk that is full for a while: RLIMIT_FSIZE stands in for it, which stops a write in the middle of an entry.

use super::*;
use crate::test_util::{alone, limit_files};

#[test]
fn a_write_that_stops_in_the_middle_keeps_what_was_complete_and_a_reader_gets_all_of_it() {
    alone("journal::tests::full_disk::inside_small_files");
}

/// Entries that the reader has now.
fn all(reader: &mut Reader) -> Vec<Entry> {
    std::iter::from_fn(|| Some(reader.read(1000).unwrap()).filter(|batch| !batch.is_empty()))
        .flatten()
        .collect()
}

#[test]
#[ignore = "runs in a process of its own"]
fn inside_small_files() {
    limit_files(Some(8 * 1024));
    let (_folder, dir) = scratch();
    let mut writer = Writer::create(dir.clone(), 1 << 20).unwrap();
    let mut reader = Reader::new(dir.clone(), 0);
    let mut seen = Vec::new();
    // 8 KiB are some 70 lines. The burst that meets the end is written in part.
    for burst in 0..5 {
        for n in 0..20 {
            writer.line(Source::Stdout, &format!("line {burst} {n}"), false);
        }
        writer.flush();
        seen.extend(all(&mut reader));
    }
    let length = fs::metadata(dir.log(0)).unwrap().len();
    assert!(fs::read(dir.log(0)).unwrap().ends_with(b"\n"), "nothing torn stays");
    assert!(length > 8 * 1024 - 300, "complete entries stay: {length}");
    assert!(writer.dropped() > 0 && writer.dropped() < 40, "{}", writer.dropped());
    assert_eq!(writer.unwritten_lines(), writer.dropped_lines());
    // Room again, as after the removal of other files: the next segment has some.
    let lost = writer.dropped_lines();
    writer.head_limit = 0;
    writer.remark("there is room again");
    writer.remark("and more");
    seen.extend(all(&mut reader));
    let texts: Vec<&str> = seen.iter().map(|entry| entry.line.as_str()).collect();
    let back =
        seen.iter().position(|entry| entry.line == "there is room again").expect("the first line after it");
    assert_eq!(seen[back].missing, lost, "{texts:?}");
    let remark = seen[back].gap().unwrap().line;
    assert_eq!(
        remark,
        format!("{lost} lines are missing here: the log could not be written: File too large (os error 27)")
    );
    assert_eq!(seen.len() as u64, writer.last_seq() - lost, "none twice and none lost: {texts:?}");
    assert_eq!(seen.last().map(|entry| entry.line.as_str()), Some("and more"));
}

#[test]
fn a_reader_that_met_a_torn_entry_reads_what_replaced_it() {
    for more in [0, 500] {
        let (_folder, dir) = scratch();
        let mut writer = Writer::create(dir.clone(), 1 << 20).unwrap();
        let mut reader = Reader::new(dir.clone(), 0);
        writer.remark("one");
        let length = fs::metadata(dir.log(0)).unwrap().len();
        // As a write that a full disk cut, before the writer takes it back.
        let mut log = OpenOptions::new().append(true).open(dir.log(0)).unwrap();
        // Longer than the next entry in one case, shorter in the other.
        let torn =
            format!(r#"{{"seq":2,"line_number":2,"at":"","stream":"stderr","line":"{}"#, "x".repeat(more));
        log.write_all(torn.as_bytes()).unwrap();
        assert_eq!(drain(&mut reader), [1]);
        log.set_len(length).unwrap();
        writer.remark("two");
        writer.remark("three");
        assert_eq!(drain(&mut reader), [2, 3], "the first line after the recovery");
    }
}

#[test]
fn a_sync_covers_every_segment_and_survives_one_that_is_gone() {
    let (_folder, dir) = scratch();
    let mut writer = Writer::create(dir.clone(), 20_000).unwrap();
    writer.sync().unwrap();
    for _ in 0..1000 {
        writer.line(Source::Stdout, "some text", false);
        writer.flush();
    }
    assert!(writer.segment > 5, "{}", writer.segment);
    writer.sync().unwrap();
    fs::remove_file(dir.log(writer.segment)).unwrap();
    assert_eq!(writer.sync().unwrap_err().kind(), io::ErrorKind::NotFound, "it looks at the newest one");
}
