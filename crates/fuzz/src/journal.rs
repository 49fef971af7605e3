//! The log of a job, while it is written, cut, rotated and damaged.

use std::cell::RefCell;
use std::fs::{self, OpenOptions};
use std::io::Write;

use nixfleet_jobs::journal::{Entry, Reader, gap_count};
use nixfleet_jobs::spec::{JobResult, Outcome};
use nixfleet_jobs::{JobDir, JobId, JobsDir};
use tempfile::TempDir;

mod naive;

/// Memory of a reader, in bytes: the longest entry, the part that is read at once, and as much again, because a vector
/// may have allocated twice of what it holds.
const MAX_MEMORY: usize = 2 * (512 + 64) * 1024;

/// Segments of the log that an input can name.
const SEGMENTS: u8 = 4;

/// Bytes that a step which repeats appends at most, and such steps together: more than the longest entry, and more than
/// the memory of a reader.
const MAX_APPENDED: usize = 640 * 1024;
const MAX_WRITTEN: usize = 1280 * 1024;

/// Bytes that are read at once of a log that is longer than this.
const LARGE: usize = 64 * 1024;

/// Most steps of one input, so that a run takes milliseconds.
const MAX_STEPS: usize = 64;

thread_local! {
    static FOLDER: RefCell<Option<(TempDir, JobDir)>> = const { RefCell::new(None) };
}

/// Steps, separated by 0xff: two bytes that say what happens to which segment and how much is read at once, and bytes
/// that are appended, once or often. Whatever happens, positions rise, each line is either returned or announced as
/// missing, and memory is bounded. Of a log that only grew, plain entries at its beginning are exactly those that a
/// second reader finds, and a reader that begins behind some of them returns the others.
pub fn journal(data: &[u8]) {
    FOLDER.with_borrow_mut(|folder| {
        let (_, dir) = folder.get_or_insert_with(|| {
            let scratch = crate::scratch();
            let dir = JobsDir::new(scratch.path()).job(&JobId::generate());
            (scratch, dir)
        });
        fs::create_dir_all(dir.path()).expect("a folder of a job");
        run(dir, data);
        for segment in 0..SEGMENTS {
            drop(fs::remove_file(dir.log(segment.into())));
        }
    });
}

fn run(dir: &JobDir, data: &[u8]) {
    let mut reader = Reader::new(dir.clone(), 0);
    let mut seen = Seen::default();
    let mut written = 0;
    let mut log = Growth::default();
    for step in data.split(|byte| *byte == 0xff).take(MAX_STEPS) {
        let [what, size, bytes @ ..] = step else { continue };
        let square = usize::from(*size) * usize::from(*size);
        let repeated;
        let bytes = if what / SEGMENTS % 8 == 3 {
            let room = MAX_APPENDED.min(MAX_WRITTEN.saturating_sub(written));
            repeated = bytes.repeat(square.min(room / bytes.len().max(1)));
            repeated.as_slice()
        } else {
            bytes
        };
        log.note(*what, change(dir, *what, bytes));
        written += bytes.len();
        // From single bytes to all at once. A long entry is read again with each part of it.
        let at_once = if written > LARGE { LARGE.max(square) } else { 1 + square };
        // An empty read is the end for now. Each read before it takes a byte at least.
        for _ in 0..=2 * written + 2 * MAX_STEPS {
            let entries = reader.read(at_once).expect("a log that can be read");
            assert!(reader.memory() <= MAX_MEMORY, "{} bytes in memory", reader.memory());
            if entries.is_empty() {
                break;
            }
            entries.iter().for_each(|entry| seen.take(entry));
            assert_eq!(reader.after(), seen.seq);
            log.read.extend(entries);
        }
        let rest = reader.read(at_once).expect("a log that can be read");
        assert!(rest.is_empty(), "the log has no end: {rest:?}");
        seen.check(reader.lines());
    }
    if log.only_grew {
        compare(dir, &log.read);
    }
    finish(&mut reader, &mut seen);
}

/// How the log became what it is.
struct Growth {
    only_grew: bool,
    segment: u8,
    read: Vec<Entry>,
}

impl Default for Growth {
    fn default() -> Self {
        Self { only_grew: true, segment: 0, read: Vec::new() }
    }
}

impl Growth {
    /// A writer goes on in its segment, or begins the next one.
    fn note(&mut self, what: u8, appended: bool) {
        let segment = what % SEGMENTS;
        self.only_grew &= appended && segment >= self.segment;
        self.segment = segment;
    }
}

/// The same log by a second reader, and by one that begins in the middle.
fn compare(dir: &JobDir, read: &[Entry]) {
    let plain = naive::beginning(dir, SEGMENTS);
    assert!(read.len() >= plain.len(), "{} of {} entries", read.len(), plain.len());
    assert_eq!(read.get(..plain.len()), Some(plain.as_slice()));
    let after = plain.len() as u64 / 2;
    let mut later = Reader::new(dir.clone(), after);
    let mut found = Vec::new();
    while let Ok(entries) = later.read(usize::from(u16::MAX))
        && !entries.is_empty()
    {
        found.extend(entries);
    }
    let wanted: Vec<&Entry> = read.iter().filter(|entry| entry.seq > after).collect();
    assert_eq!(found.iter().collect::<Vec<_>>(), wanted, "behind {after}");
}

/// Appends to a segment, cuts it, or removes it. Whether it appended.
fn change(dir: &JobDir, what: u8, bytes: &[u8]) -> bool {
    let path = dir.log(u32::from(what % SEGMENTS));
    match what / SEGMENTS % 8 {
        // The size limit removes segments behind the head.
        0 if !what.is_multiple_of(SEGMENTS) => {
            drop(fs::remove_file(&path));
            return false;
        }
        // A write that the disk cut off, and that was taken back.
        1 => {
            if let Ok(file) = OpenOptions::new().write(true).open(&path) {
                let length = file.metadata().expect("its length").len();
                file.set_len(length.saturating_sub(bytes.len() as u64)).expect("a shorter file");
            }
            return false;
        }
        _ => {
            let mut file = OpenOptions::new().append(true).create(true).open(&path).expect("a segment");
            file.write_all(bytes).expect("bytes of a log");
        }
    }
    true
}

/// The end of the job, 3 entries behind the last one.
fn finish(reader: &mut Reader, seen: &mut Seen) {
    let mut result = JobResult::without_supervisor(Outcome::Failed, String::new(), 0);
    result.last_seq = seen.seq.saturating_add(3);
    result.lines = (seen.numbered > 0).then(|| reader.lines().saturating_add(3));
    let behind = reader.finish(Some(&result));
    let (remarks, held): (Vec<Entry>, Vec<Entry>) = behind
        .into_iter()
        .partition(|entry| entry.seq >= result.last_seq && gap_count(&entry.line).is_some());
    held.iter().for_each(|entry| seen.take(entry));
    assert!(remarks.len() <= 1, "{remarks:?}");
    seen.missing += remarks.iter().filter_map(|remark| gap_count(&remark.line)).map(u128::from).sum::<u128>();
    // The number of an entry that was held back is not in the count of lines that this end was made with.
    if held.is_empty() && seen.seq < u64::MAX - 3 {
        seen.check(reader.lines().saturating_sub(1));
    }
}

/// What was returned so far.
#[derive(Default)]
struct Seen {
    seq: u64,
    lines: u128,
    missing: u128,
    numbered: u64,
    unnumbered: u64,
    progress: u64,
}

impl Seen {
    fn take(&mut self, entry: &Entry) {
        assert!(entry.seq > self.seq, "position {} behind {}", entry.seq, self.seq);
        self.seq = entry.seq;
        if !entry.is_text() {
            assert_eq!(entry.missing, 0, "missing lines are announced before a line");
            self.progress += 1;
            return;
        }
        self.lines += 1;
        self.missing += u128::from(entry.missing);
        if entry.missing > 0 {
            let remark = entry.gap().expect("a remark about missing lines");
            assert_eq!(gap_count(&remark.line), Some(entry.missing), "{remark:?}");
        }
        *(if entry.line_number.is_some() { &mut self.numbered } else { &mut self.unnumbered }) += 1;
    }

    /// Each line up to the last one was returned, or announced as missing. Exact only if the log has line numbers
    /// throughout, or neither those nor progress: otherwise nobody knows which of the missing entries were lines.
    fn check(&self, last: u64) {
        let exact = match (self.numbered, self.unnumbered) {
            (0, _) => self.progress == 0,
            (_, unnumbered) => unnumbered == 0,
        };
        let told = self.lines + self.missing;
        let last = u128::from(last);
        assert!(told <= last || !exact, "{told} lines told of {last}");
        assert!(told >= last || !exact, "{} of {last} lines vanished", last - told.min(last));
    }
}
