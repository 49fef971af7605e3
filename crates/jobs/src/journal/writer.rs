//! The supervisor's end of the log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;

use super::Source;
use crate::JobDir;
use crate::progress::{OperationProgress, TestProgress};
use nixfleet_os::timestamp;

/// The newest segments that are kept beside the head.
const TAIL_SEGMENTS: u32 = 4;

/// Entries gathered before they go to the file, in bytes: one write for a burst, and little lost
/// to a crash of the supervisor.
const BUFFER: usize = 64 * 1024;

/// The supervisor's end of the log.
#[derive(Debug)]
pub struct Writer {
    dir: JobDir,
    /// Bytes that the head may grow to.
    head_limit: u64,
    /// Bytes that each later segment may grow to.
    segment_limit: u64,
    file: File,
    /// Number of the segment that `file` is.
    segment: u32,
    /// Good bytes in `file`; a failed write is cut back to here.
    length: u64,
    /// Entries in each tail segment that still exists, oldest first.
    tail: Vec<u64>,
    /// Encoded entries that are not in the file yet, and how many they are.
    buffer: Vec<u8>,
    buffered: u64,
    seq: u64,
    dropped: u64,
    /// Time of the current burst: formatting it for every line would cost more than the line.
    at: String,
    /// Held for as long as the supervisor lives; see [`super::supervisor_lives`].
    _alive: File,
}

impl Writer {
    /// Starts the log in an existing folder and marks the job as alive.
    ///
    /// # Errors
    /// Of the file system.
    pub fn create(dir: JobDir, limit: u64) -> io::Result<Self> {
        let file = open_segment(&dir, 0)?;
        // A reader that probes holds the lock for microseconds: wait for it.
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(Self {
            head_limit: limit / 2,
            segment_limit: limit / 2 / u64::from(TAIL_SEGMENTS),
            _alive: file.try_clone()?,
            file,
            dir,
            segment: 0,
            length: 0,
            tail: Vec::new(),
            buffer: Vec::with_capacity(BUFFER),
            buffered: 0,
            seq: 0,
            dropped: 0,
            at: timestamp(),
        })
    }

    /// Position of the newest entry.
    pub fn last_seq(&self) -> u64 {
        self.seq
    }

    /// Entries that no longer are in the log, or never came to be.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes the time for the entries up to the next call.
    pub fn tick(&mut self) {
        self.at = timestamp();
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
        self.seq += 1;
        let entry = Borrowed { seq: self.seq, at: &self.at, stream, line, cont, test, operation };
        serde_json::to_writer(&mut self.buffer, &entry).expect("writing to memory cannot fail");
        self.buffer.push(b'\n');
        self.buffered += 1;
        if self.buffer.len() >= BUFFER {
            self.flush();
        }
    }

    /// Hands everything to the file. A disk that takes no more costs the buffered entries, which
    /// are counted, and never the command.
    pub fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        match self.write_out() {
            Ok(()) => self.length += self.buffer.len() as u64,
            Err(_) => {
                self.dropped += self.buffered;
                // A torn entry would make the next one unreadable as well.
                drop(self.file.set_len(self.length));
            }
        }
        self.buffer.clear();
        self.buffered = 0;
    }

    fn write_out(&mut self) -> io::Result<()> {
        let limit = if self.segment == 0 { self.head_limit } else { self.segment_limit };
        if self.length > 0 && self.length + self.buffer.len() as u64 > limit {
            self.next_segment()?;
        }
        self.file.write_all(&self.buffer)?;
        if let Some(entries) = self.tail.last_mut() {
            *entries += self.buffered;
        }
        Ok(())
    }

    fn next_segment(&mut self) -> io::Result<()> {
        self.file = open_segment(&self.dir, self.segment + 1)?;
        self.segment += 1;
        self.length = 0;
        self.tail.push(0);
        if self.segment > TAIL_SEGMENTS {
            fs::remove_file(self.dir.log(self.segment - TAIL_SEGMENTS))?;
            self.dropped += self.tail.remove(0);
        }
        Ok(())
    }
}

/// What an entry has in the place of text.
enum Progress<'a> {
    None,
    Test(&'a TestProgress),
    Operation(&'a OperationProgress),
}

fn open_segment(dir: &JobDir, segment: u32) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(dir.log(segment))
}
