//! Logs that are damaged, or cannot be read for a while. What is missing is counted with its cause.

use super::*;

const DAMAGED: &str = "the log is damaged";

/// A log with these lines, and the result of its job.
fn log(count: u64) -> (tempfile::TempDir, JobDir, JobResult) {
    let (folder, dir) = scratch();
    let mut writer = Writer::create(dir.clone(), 1 << 20).unwrap();
    for n in 1..=count {
        writer.line(Source::Stdout, &format!("line {n}"), false);
    }
    writer.flush();
    let result = result(&writer);
    (folder, dir, result)
}

/// Replaces line `n` of the log, from 1. The new text has its line end, or none.
fn replace(dir: &JobDir, n: usize, change: impl Fn(&str) -> String) {
    let text = fs::read_to_string(dir.log(0)).unwrap();
    let lines = text.split_inclusive('\n').enumerate();
    let changed: String =
        lines.map(|(index, line)| if index + 1 == n { change(line) } else { line.to_owned() }).collect();
    fs::write(dir.log(0), changed).unwrap();
}

/// What a dashboard is told, with remarks: the numbers of lines, and the remarks.
fn told(dir: &JobDir, after: u64, result: &JobResult) -> (Vec<u64>, Vec<(u64, String)>, Reader) {
    let (mut lines, mut remarks) = (Vec::new(), Vec::new());
    let mut reader = Reader::new(dir.clone(), after);
    let mut take = |batch: Vec<Entry>| {
        for entry in batch {
            let gap = entry.gap();
            let remark = gap.as_ref().unwrap_or(&entry);
            if gap_count(&remark.line).is_some() {
                remarks.push((remark.number(), remark.line.clone()));
            }
            if gap_count(&entry.line).is_none() {
                lines.push(entry.number());
            }
        }
    };
    loop {
        let batch = reader.read(1000).unwrap();
        if batch.is_empty() {
            break;
        }
        take(batch);
    }
    take(reader.finish(Some(result)));
    (lines, remarks, reader)
}

#[test]
fn damage_anywhere_costs_the_damaged_lines_and_is_announced() {
    let one = format!("1 line is missing here: {DAMAGED}");
    type Change = fn(&str) -> String;
    let changes: [(&str, Change); 14] = [
        ("zeros", |line| "\0".repeat(line.len() - 1) + "\n"),
        ("zeros over the line end", |line| "\0".repeat(line.len())),
        ("no line end", |line| line.trim_end().to_owned()),
        ("half a line", |line| line[..line.len() / 2].to_owned() + "\n"),
        ("another object", |_| "{\"a\":1}\n".to_owned()),
        ("a huge line", |_| "x".repeat(3 << 20) + "\n"),
        ("deep brackets", |_| "[".repeat(100_000) + "\n"),
        ("a higher position", |line| line.replacen("\"seq\":", "\"seq\":90", 1)),
        ("the highest position", |line| line.replacen("\"seq\":", "\"seq\":18446744073709551615,\"x\":", 1)),
        ("position 1", |line| line.replacen("\"seq\":", "\"seq\":1,\"x\":", 1)),
        ("position 0", |line| line.replacen("\"seq\":", "\"seq\":0,\"x\":", 1)),
        ("another number", |line| line.replacen("\"line_number\":", "\"line_number\":7", 1)),
        ("number 1", |line| line.replacen("\"line_number\":", "\"line_number\":1,\"x\":", 1)),
        ("no number", |line| line.replacen("\"line_number\"", "\"line_numbeR\"", 1)),
    ];
    for (what, change) in changes {
        for n in [2, 5, 9, 10] {
            let (_folder, dir, result) = log(10);
            replace(&dir, n, change);
            let (lines, remarks, reader) = told(&dir, 0, &result);
            // Without its line end a line takes the next one with it.
            let joined = ["zeros over the line end", "no line end"].contains(&what) && n < 10;
            let gone: Vec<u64> = (n as u64..=n as u64 + u64::from(joined)).collect();
            let kept: Vec<u64> = (1..=10).filter(|n| !gone.contains(n)).collect();
            let remark = if joined { format!("2 lines are missing here: {DAMAGED}") } else { one.clone() };
            if what == "no line end" && n == 10 {
                // The entry is whole, but the writer may not have finished it.
                assert_eq!((lines, remarks), (kept, vec![(10, one.clone())]));
            } else {
                let last = *gone.last().unwrap();
                assert_eq!((lines, remarks), (kept, vec![(last, remark)]), "{what}, line {n}");
            }
            assert_eq!((reader.dropped_lines(), reader.dropped()), (gone.len() as u64, gone.len() as u64));
        }
    }
}

#[test]
fn a_repeated_entry_is_told_once_and_foreign_lines_cost_nothing() {
    let (_folder, dir, result) = log(10);
    replace(&dir, 4, |line| format!("{line}{line}junk\n\n"));
    let (lines, remarks, reader) = told(&dir, 0, &result);
    assert_eq!((lines, remarks, reader.dropped_lines()), ((1..=10).collect(), vec![], 0));
}

#[test]
fn the_size_limit_is_blamed_for_its_own_cuts_only() {
    let (_folder, dir) = scratch();
    let mut writer = Writer::create(dir.clone(), 20_000).unwrap();
    for n in 1..=1000 {
        writer.line(Source::Stdout, &format!("line {n}"), false);
        writer.flush();
    }
    let result = result(&writer);
    replace(&dir, 5, |_| "junk\n".to_owned());
    let (_, remarks, _) = told(&dir, 0, &result);
    let [(5, first), (_, second)] = &remarks[..] else { panic!("{remarks:?}") };
    assert_eq!(first, &format!("1 line is missing here: {DAMAGED}"));
    assert!(second.ends_with("missing here: the log reached its size limit"), "{second}");
    assert_eq!(writer.unwritten_lines(), 0);
}

#[test]
fn memory_is_bounded_whatever_the_file_holds() {
    let (_folder, dir, _) = log(3);
    let mut file = OpenOptions::new().append(true).open(dir.log(0)).unwrap();
    // A hole of 64 MiB, and an entry behind it.
    file.set_len(64 << 20).unwrap();
    let behind = r#"{"seq":4,"line_number":4,"at":"","stream":"stdout","line":"behind it"}"#;
    writeln!(file, "\n{behind}").unwrap();
    let mut reader = Reader::new(dir, 0);
    let (mut seen, mut most) = (Vec::new(), 0);
    loop {
        let entries = reader.read(32 * 1024).unwrap();
        most = most.max(reader.memory());
        if entries.is_empty() {
            break;
        }
        seen.extend(entries.iter().map(|entry| entry.seq));
    }
    assert_eq!(seen, [1, 2, 3, 4]);
    assert!(most < 2 << 20, "{most} bytes");
}

#[test]
fn a_read_that_fails_loses_nothing_of_what_was_read_before() {
    let (_folder, dir) = scratch();
    let mut writer = Writer::create(dir.clone(), 20_000).unwrap();
    while writer.segment < 2 {
        writer.line(Source::Stdout, "some text", false);
        writer.flush();
    }
    // A folder in place of a segment: it cannot be read, as with a bad block.
    let aside = dir.path().join("aside");
    fs::rename(dir.log(1), &aside).unwrap();
    fs::create_dir(dir.log(1)).unwrap();
    let mut reader = Reader::new(dir.clone(), 0);
    let mut seen = Vec::new();
    let mut errors = 0;
    while errors < 3 {
        match reader.read(1 << 20) {
            Ok(entries) => {
                assert!(!entries.is_empty(), "this is not the end");
                seen.extend(entries.iter().map(|entry| entry.seq));
            }
            Err(_) => errors += 1,
        }
    }
    assert!(!seen.is_empty(), "the head was read");
    fs::remove_dir(dir.log(1)).unwrap();
    fs::rename(&aside, dir.log(1)).unwrap();
    seen.extend(drain(&mut reader));
    assert_eq!(seen, (1..=writer.last_seq()).collect::<Vec<_>>());
}

#[test]
fn a_segment_that_can_never_be_read_is_a_gap_with_its_cause() {
    let (_folder, dir) = scratch();
    let mut writer = Writer::create(dir.clone(), 20_000).unwrap();
    while writer.segment < 2 {
        writer.line(Source::Stdout, "some text", false);
        writer.flush();
    }
    writer.remark("behind it");
    let result = result(&writer);
    for last in [false, true] {
        let segment = if last { 2 } else { 1 };
        let aside = dir.path().join("aside");
        fs::rename(dir.log(segment), &aside).unwrap();
        fs::create_dir(dir.log(segment)).unwrap();
        let mut reader = Reader::new(dir.clone(), 0);
        let mut entries = Vec::new();
        loop {
            match reader.read(1 << 20) {
                Ok(batch) if batch.is_empty() => break,
                Ok(batch) => entries.extend(batch),
                Err(err) => reader.skip_unreadable(&err),
            }
        }
        entries.extend(reader.finish(Some(&result)));
        let remarks: Vec<String> = entries
            .iter()
            .filter_map(|entry| entry.gap().or_else(|| Some(entry.clone())))
            .map(|e| e.line)
            .collect();
        let remarks: Vec<&String> = remarks.iter().filter(|line| gap_count(line).is_some()).collect();
        let [remark] = remarks[..] else { panic!("{remarks:?}") };
        let missing = gap_count(remark).unwrap();
        assert_eq!(
            remark,
            &format!(
                "{missing} lines are missing here: the log could not be read: it is a folder, not a file"
            )
        );
        let told = entries.iter().filter(|entry| gap_count(&entry.line).is_none()).count() as u64;
        assert_eq!(told + missing, writer.last_seq());
        fs::remove_dir(dir.log(segment)).unwrap();
        fs::rename(&aside, dir.log(segment)).unwrap();
    }
}
