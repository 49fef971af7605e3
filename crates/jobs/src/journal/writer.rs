//! Writing the log of a job.

use std::io::{self, Write};
use std::ops::AddAssign;
use std::time::Duration;

use nixfleet_os::disk::{File, Lock, Open};
use nixfleet_os::{Clock, Processes, planted};
use serde::Serialize;

use super::Source;
use super::causes::bounded;
use crate::JobDir;
use crate::progress::{OperationProgress, TestProgress};
use crate::spec::Unwritten;

/// Number of segments that are kept besides the head.
const TAIL_SEGMENTS: u32 = 4;

/// Size of the buffer in bytes. A burst of entries needs one write, and a crash of the supervisor loses
/// little.
const BUFFER: usize = 64 * 1024;

/// How long to wait for the lock of a new log: much longer than any reader of ours holds it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// How often to try.
const LOCK_TICK: Duration = Duration::from_millis(1);

/// Writes a log. The supervisor of the job owns it.
#[derive(Debug)]
pub struct Writer {
    dir: JobDir,
    /// Size limit of the head in bytes.
    pub(super) head_limit: u64,
    /// Size limit of each later segment in bytes.
    segment_limit: u64,
    file: File,
    /// Number of the segment in `file`.
    pub(super) segment: u32,
    /// Bytes of complete entries in `file`. After a failed write the file is truncated to this length. It never
    /// shrinks, because a reader may have read all complete entries.
    length: u64,
    /// `file` ends with a part of an entry, because it could not be truncated.
    torn: bool,
    /// What is in each existing segment after the head, oldest first.
    tail: Vec<Count>,
    /// Encoded entries that are not in the file yet.
    buffer: Vec<u8>,
    /// For each entry in `buffer`, its end and whether it is a line.
    buffered: Vec<(usize, bool)>,
    /// All that was written.
    total: Count,
    /// What is missing of it.
    dropped: Count,
    /// What of that could not be written.
    unwritten: Count,
    /// What could not be written behind the last entry that was.
    newest_unwritten: Option<Box<Unwritten>>,
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
        take_lock(&file, dir.clock())?;
        Ok(Self {
            head_limit: limit / 2,
            segment_limit: limit / 2 / u64::from(TAIL_SEGMENTS),
            _alive: file.try_clone()?,
            file,
            segment: 0,
            length: 0,
            torn: false,
            tail: Vec::new(),
            buffer: Vec::with_capacity(BUFFER),
            buffered: Vec::new(),
            total: Count::default(),
            dropped: Count::default(),
            unwritten: Count::default(),
            newest_unwritten: None,
            at: dir.clock().timestamp(),
            dir,
        })
    }

    /// The folder of the job.
    pub(crate) fn dir(&self) -> &JobDir {
        &self.dir
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

    /// Number of lines among them that could not be written. The others were removed by the size limit.
    pub fn unwritten_lines(&self) -> u64 {
        self.unwritten.lines
    }

    /// What could not be written behind the last entry of the log.
    pub fn unwritten_at_end(&self) -> Option<Unwritten> {
        self.newest_unwritten.as_deref().cloned()
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
            #[serde(skip_serializing_if = "Option::is_none")]
            unwritten: Option<&'a Unwritten>,
        }
        let (test, operation) = match progress {
            Progress::None => (None, None),
            Progress::Test(test) => (Some(test), None),
            Progress::Operation(operation) => (None, Some(operation)),
        };
        let is_text = test.is_none() && operation.is_none();
        self.total += Count::of(is_text);
        let Count { entries: seq, lines } = self.total;
        let line_number = is_text.then_some(lines);
        let unwritten = self.newest_unwritten.as_deref().filter(|_| self.buffered.is_empty());
        let entry =
            Borrowed { seq, line_number, at: &self.at, stream, line, cont, test, operation, unwritten };
        serde_json::to_writer(&mut self.buffer, &entry).expect("writing to memory cannot fail");
        self.buffer.push(b'\n');
        self.buffered.push((self.buffer.len(), is_text));
        if self.buffer.len() >= BUFFER {
            self.flush();
        }
    }

    /// Writes the buffer to the file. If the disk is full, the entries that do not fit are lost and counted; the
    /// command is not affected.
    pub fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let (written, failed) = self.write_out();
        // A reader may have read the complete ones, so they stay.
        let kept = self.buffered.iter().take_while(|(end, _)| *end <= written).count();
        let end = kept.checked_sub(1).map_or(0, |last| self.buffered[last].0);
        self.length += end as u64;
        let (mut added, mut lost) = (Count::default(), Count::default());
        for (index, (_, is_text)) in self.buffered.iter().enumerate() {
            *(if index < kept { &mut added } else { &mut lost }) += Count::of(*is_text);
        }
        if let Some(count) = self.tail.last_mut() {
            *count += added;
        }
        if kept > 0 {
            self.newest_unwritten = None;
        }
        if planted!("uncounted-loss") && failed.is_err() {
            self.total =
                Count { entries: self.total.entries - lost.entries, lines: self.total.lines - lost.lines };
            self.torn |= written > end;
            self.truncate();
        } else if let Err(err) = failed {
            self.dropped += lost;
            self.unwritten += lost;
            let note = self.newest_unwritten.get_or_insert_default();
            note.entries += lost.entries;
            note.lines += lost.lines;
            note.why = bounded(&err.to_string());
            // An incomplete entry would make the next one unreadable too.
            self.torn |= written > end;
            self.truncate();
        }
        self.buffer.clear();
        self.buffered.clear();
    }

    /// Removes a part of an entry from the end of the file.
    fn truncate(&mut self) {
        self.torn = self.torn && self.file.set_len(self.length).is_err();
    }

    /// Returns how many bytes of the buffer were written, and the error that stopped it.
    fn write_out(&mut self) -> (usize, io::Result<()>) {
        let limit = if self.segment == 0 { self.head_limit } else { self.segment_limit };
        if self.length > 0
            && self.length + self.buffer.len() as u64 > limit
            && let Err(err) = self.next_segment()
        {
            return (0, Err(err));
        }
        self.truncate();
        if self.torn {
            // A line end makes the part a line of its own, which readers skip.
            match self.file.write_all(b"\n").and_then(|()| self.file.length()) {
                Ok(length) => (self.length, self.torn) = (length, false),
                Err(err) => return (0, Err(err)),
            }
        }
        let mut written = 0;
        while written < self.buffer.len() {
            match self.file.write(&self.buffer[written..]) {
                Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return (written, Err(err)),
            }
        }
        (written, Ok(()))
    }

    fn next_segment(&mut self) -> io::Result<()> {
        self.file = open_segment(&self.dir, self.segment + 1)?;
        self.segment += 1;
        self.length = 0;
        self.torn = false;
        self.tail.push(Count::default());
        while self.tail.len() > TAIL_SEGMENTS as usize {
            let oldest = self.segment + 1 - u32::try_from(self.tail.len()).unwrap_or(self.segment);
            match self.dir.disk().remove(&self.dir.log(oldest)) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => {
                    // The log is longer than its limit until the next segment. That is better than a loss.
                    break;
                }
                _ => self.dropped += self.tail.remove(0),
            }
        }
        Ok(())
    }

    /// Writes the log to the disk, so that it survives a power cut. Called once, before the result is written: a
    /// result must not stand over a log that is lost. During the command the kernel writes at its own pace,
    /// because a sync for each burst would delay the command.
    ///
    /// # Errors
    /// The first error of the file system: a part of the log may be lost in a power cut. The rest was synced.
    pub fn sync(&mut self) -> io::Result<()> {
        self.flush();
        let oldest = self.segment + 1 - u32::try_from(self.tail.len()).unwrap_or(self.segment);
        // A sync by another descriptor writes all of a file, so earlier segments need not be kept open.
        let mut done = Ok(());
        for segment in [0].into_iter().chain(oldest.max(1)..=self.segment) {
            let opened = self.dir.disk().open(&self.dir.log(segment), Open::Read);
            done = done.and(opened.and_then(|file| file.sync_all()));
        }
        // The entries of new segments in the folder.
        done.and(self.dir.disk().sync_folder(self.dir.path()))
    }
}

/// A number of entries, and how many of them are lines.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    entries: u64,
    lines: u64,
}

impl Count {
    /// One entry.
    fn of(is_text: bool) -> Self {
        Self { entries: 1, lines: u64::from(is_text) }
    }
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

/// Takes the lock of a live supervisor. A reader that tests it holds it for microseconds.
///
/// # Errors
/// An error of the file system, or that somebody who may read logs holds it for longer than [`LOCK_TIMEOUT`].
fn take_lock(file: &File, clock: &Clock) -> io::Result<()> {
    let begun = clock.instant();
    while !file.lock(Lock::Exclusive)? {
        if clock.elapsed(begun) >= LOCK_TIMEOUT {
            let text = format!("another process holds its lock for {LOCK_TIMEOUT:?}; `lslocks` names it");
            return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
        }
        clock.sleep(LOCK_TICK);
    }
    Ok(())
}

fn open_segment(dir: &JobDir, segment: u32) -> io::Result<File> {
    dir.disk().open(&dir.log(segment), Open::Append)
}
