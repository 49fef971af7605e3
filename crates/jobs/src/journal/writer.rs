//! Writing the log of a job.

use std::io::{self, Write};
use std::ops::AddAssign;

use nixfleet_os::disk::{File, Lock, Open};
use nixfleet_os::{Clock, Processes};
use serde::Serialize;

use super::Source;
use crate::JobDir;
use crate::progress::{OperationProgress, TestProgress};

/// Number of segments that are kept besides the head.
const TAIL_SEGMENTS: u32 = 4;

/// Size of the buffer in bytes. A burst of entries needs one write, and a crash of the supervisor loses
/// little.
const BUFFER: usize = 64 * 1024;

/// Writes a log. The supervisor of the job owns it.
#[derive(Debug)]
pub struct Writer {
    dir: JobDir,
    /// Size limit of the head in bytes.
    head_limit: u64,
    /// Size limit of each later segment in bytes.
    segment_limit: u64,
    file: File,
    /// Number of the segment in `file`.
    segment: u32,
    /// Bytes of complete entries in `file`. After a failed write the file is truncated to this length.
    length: u64,
    /// What is in each existing segment after the head, oldest first.
    tail: Vec<Count>,
    /// Encoded entries that are not in the file yet.
    buffer: Vec<u8>,
    /// What is in `buffer`.
    buffered: Count,
    /// All that was written.
    total: Count,
    /// What is missing of it.
    dropped: Count,
    /// Time stamp of the current burst. Formatting the time for each line would cost more than writing the
    /// line.
    at: String,
    /// The lock of a live supervisor; see [`super::supervisor_lives`].
    _alive: File,
}

impl Writer {
    /// Creates the log in an existing folder and takes the lock of a live supervisor. `limit` is the size
    /// limit of the whole log in bytes.
    ///
    /// # Errors
    /// An error of the file system.
    pub fn create(dir: JobDir, limit: u64) -> io::Result<Self> {
        let file = open_segment(&dir, 0)?;
        // A reader that tests the lock holds it for microseconds, so waiting is short.
        file.wait_for_lock(Lock::Exclusive)?;
        Ok(Self {
            head_limit: limit / 2,
            segment_limit: limit / 2 / u64::from(TAIL_SEGMENTS),
            _alive: file.try_clone()?,
            file,
            segment: 0,
            length: 0,
            tail: Vec::new(),
            buffer: Vec::with_capacity(BUFFER),
            buffered: Count::default(),
            total: Count::default(),
            dropped: Count::default(),
            at: dir.clock().timestamp(),
            dir,
        })
    }

    /// The clock that dates the entries.
    pub fn clock(&self) -> &Clock {
        self.dir.clock()
    }

    /// The processes of the supervisor.
    pub fn processes(&self) -> &Processes {
        &self.dir.machine().processes
    }

    /// `seq` of the newest entry.
    pub fn last_seq(&self) -> u64 {
        self.total.entries
    }

    /// Number of the newest line.
    pub fn lines(&self) -> u64 {
        self.total.lines
    }

    /// Number of entries that were removed from the log or could not be written.
    pub fn dropped(&self) -> u64 {
        self.dropped.entries
    }

    /// Number of lines among them.
    pub fn dropped_lines(&self) -> u64 {
        self.dropped.lines
    }

    /// Sets the time stamp of the entries up to the next call to now.
    pub fn tick(&mut self) {
        self.at = self.dir.clock().timestamp();
    }

    /// Adds a line or a piece of one.
    pub fn line(&mut self, stream: Source, line: &str, cont: bool) {
        self.append(stream, line, cont, Progress::None);
    }

    /// Adds a remark of the supervisor and writes it out at once.
    pub fn remark(&mut self, text: &str) {
        self.tick();
        self.append(Source::System, text, false, Progress::None);
        self.flush();
    }

    /// Adds the progress of the `test` command and writes it out at once.
    pub fn progress(&mut self, test: &TestProgress) {
        self.tick();
        self.append(Source::System, "", false, Progress::Test(test));
        self.flush();
    }

    /// Adds the progress of the command's parts and writes it out at once.
    pub fn operation(&mut self, progress: &OperationProgress) {
        self.tick();
        self.append(Source::System, "", false, Progress::Operation(progress));
        self.flush();
    }

    fn append(&mut self, stream: Source, line: &str, cont: bool, progress: Progress<'_>) {
        #[derive(Serialize)]
        struct Borrowed<'a> {
            seq: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            line_number: Option<u64>,
            at: &'a str,
            stream: Source,
            line: &'a str,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            cont: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            test: Option<&'a TestProgress>,
            #[serde(skip_serializing_if = "Option::is_none")]
            operation: Option<&'a OperationProgress>,
        }
        let (test, operation) = match progress {
            Progress::None => (None, None),
            Progress::Test(test) => (Some(test), None),
            Progress::Operation(operation) => (None, Some(operation)),
        };
        let is_text = test.is_none() && operation.is_none();
        let one = Count { entries: 1, lines: u64::from(is_text) };
        self.total += one;
        let Count { entries: seq, lines } = self.total;
        let line_number = is_text.then_some(lines);
        let entry = Borrowed { seq, line_number, at: &self.at, stream, line, cont, test, operation };
        serde_json::to_writer(&mut self.buffer, &entry).expect("writing to memory cannot fail");
        self.buffer.push(b'\n');
        self.buffered += one;
        if self.buffer.len() >= BUFFER {
            self.flush();
        }
    }

    /// Writes the buffer to the file. If the disk is full, the buffered entries are lost and counted; the
    /// command is not affected.
    pub fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        match self.write_out() {
            Ok(()) => self.length += self.buffer.len() as u64,
            Err(_) => {
                self.dropped += self.buffered;
                // An incomplete entry would make the next one unreadable too.
                drop(self.file.set_len(self.length));
            }
        }
        self.buffer.clear();
        self.buffered = Count::default();
    }

    fn write_out(&mut self) -> io::Result<()> {
        let limit = if self.segment == 0 { self.head_limit } else { self.segment_limit };
        if self.length > 0 && self.length + self.buffer.len() as u64 > limit {
            self.next_segment()?;
        }
        self.file.write_all(&self.buffer)?;
        if let Some(count) = self.tail.last_mut() {
            *count += self.buffered;
        }
        Ok(())
    }

    fn next_segment(&mut self) -> io::Result<()> {
        self.file = open_segment(&self.dir, self.segment + 1)?;
        self.segment += 1;
        self.length = 0;
        self.tail.push(Count::default());
        if self.segment > TAIL_SEGMENTS {
            self.dir.disk().remove(&self.dir.log(self.segment - TAIL_SEGMENTS))?;
            self.dropped += self.tail.remove(0);
        }
        Ok(())
    }
}

/// A number of entries, and how many of them are lines.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    entries: u64,
    lines: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.entries += other.entries;
        self.lines += other.lines;
    }
}

/// Progress in an entry without text.
enum Progress<'a> {
    None,
    Test(&'a TestProgress),
    Operation(&'a OperationProgress),
}

fn open_segment(dir: &JobDir, segment: u32) -> io::Result<File> {
    dir.disk().open(&dir.log(segment), Open::Append)
}
