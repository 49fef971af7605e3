//! The files of a log, as one sequence of lines.

use std::ffi::OsString;
use std::io::{self, Read};

use nixfleet_os::disk::{File, Open};

use super::Causes;
use crate::JobDir;

/// Longest entry that is read, in bytes: a line of maximum length in which every byte is escaped, with a
/// margin.
const MAX_ENTRY: usize = 512 * 1024;

/// Step in bytes over a part of a file that cannot be read: the smallest unit in which a disk fails.
const BLOCK: u64 = 4096;

/// Reads lines, also while they are being written. Its position moves over complete lines only: what has no line
/// end yet is read again, because the writer takes back a line that it could not write as a whole.
#[derive(Debug)]
pub(super) struct Segments {
    dir: JobDir,
    segment: u32,
    file: Option<File>,
    /// Position of the first byte of `pending` in the file.
    offset: u64,
    /// Bytes that were read but not yet returned.
    pending: Vec<u8>,
    /// Start of the next line in `pending`.
    start: usize,
    /// The bytes up to the next line end are no line.
    skipping: bool,
    /// Errors of this segment count as its end; see [`Self::skip`].
    given_up: bool,
    /// What explains why lines are missing before the next one.
    causes: Causes,
}

impl Segments {
    pub(super) fn new(dir: JobDir) -> Self {
        Self {
            dir,
            segment: 0,
            file: None,
            offset: 0,
            pending: Vec::new(),
            start: 0,
            skipping: false,
            given_up: false,
            causes: Causes::default(),
        }
    }

    /// What explains why lines are missing before the next one. It is told once.
    pub(super) fn take_causes(&mut self) -> Causes {
        std::mem::take(&mut self.causes)
    }

    /// Whether there are bytes behind the last line end.
    pub(super) fn is_torn(&self) -> bool {
        self.start < self.pending.len()
    }

    /// Bytes of memory in use.
    #[cfg(any(test, feature = "test-util"))]
    pub(super) fn memory(&self) -> usize {
        self.pending.capacity()
    }

    /// The next line that was read.
    pub(super) fn line(&mut self) -> Option<&[u8]> {
        loop {
            let start = self.start;
            let end = start + self.pending[start..].iter().position(|&byte| byte == b'\n')?;
            self.start = end + 1;
            if !std::mem::take(&mut self.skipping) {
                return Some(&self.pending[start..end]);
            }
        }
    }

    /// Reads more bytes, from the next segment if the current one is at its end. False if there are none.
    ///
    /// # Errors
    /// An error of the file system. The position is then unchanged.
    pub(super) fn fill(&mut self, max_bytes: usize) -> io::Result<bool> {
        self.forget_lines();
        if self.read_on(max_bytes)? {
            return Ok(true);
        }
        let Some(next) = self.next_segment()? else { return Ok(false) };
        // The writer may have appended to this segment after the read and before the folder was listed.
        if self.read_on(max_bytes)? {
            return Ok(true);
        }
        // Only segments behind the head are removed.
        let is_missing = self.file.is_none() && !self.given_up;
        self.causes.damaged |= self.is_torn() || (is_missing && self.segment == 0);
        self.causes.size_limit |= next > self.segment + 1 || (is_missing && self.segment > 0);
        let causes = self.take_causes();
        *self = Self { segment: next, causes, ..Self::new(self.dir.clone()) };
        self.read_on(max_bytes)
    }

    fn forget_lines(&mut self) {
        self.pending.drain(..self.start);
        self.offset += self.start as u64;
        self.start = 0;
        if self.pending.len() > MAX_ENTRY {
            self.skipping = true;
            self.causes.damaged = true;
        }
        if self.skipping {
            self.offset += self.pending.len() as u64;
            self.pending.clear();
        }
    }

    /// Reads from the end of the last line. False if there is no more than before.
    fn read_on(&mut self, max_bytes: usize) -> io::Result<bool> {
        match self.read_again(max_bytes) {
            // Nothing to be had: what comes next is in the next segment, or is the end of the log.
            Err(_) if self.given_up => Ok(false),
            read => read,
        }
    }

    fn read_again(&mut self, max_bytes: usize) -> io::Result<bool> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => match self.open() {
                Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(false),
                file => file?,
            },
        };
        let limit = self.pending.len().saturating_add(max_bytes);
        // Room for all that a follower reads: a buffer that doubles leaves its smaller forms on the heap.
        let mut bytes = Vec::with_capacity(limit.min(MAX_ENTRY));
        let read = file
            .seek_to(self.offset)
            .and_then(|()| Read::take(&mut file, limit as u64).read_to_end(&mut bytes));
        match read {
            // What was read before the error counts. The error comes again, in front of its byte.
            Err(_) if bytes.len() > self.pending.len() => {}
            // The file is opened anew for the next attempt.
            Err(err) => return Err(err),
            // A supervisor of an older version takes back complete lines, too.
            Ok(0) => self.offset = self.offset.min(file.length()?),
            Ok(_) => {}
        }
        self.file = Some(file);
        let more = bytes.len() > self.pending.len() || bytes.contains(&b'\n');
        self.given_up &= !more;
        self.pending = bytes;
        Ok(more)
    }

    fn open(&self) -> io::Result<File> {
        self.dir.disk().open(&self.dir.log(self.segment), Open::Read)
    }

    /// Passes over what could not be read, because of `err`: one block of the file, or else the rest of the segment.
    pub(super) fn skip(&mut self, err: &io::Error) {
        self.causes.unreadable = Some(err.to_string());
        let at = self.offset + self.pending.len() as u64;
        let length = self.open().and_then(|file| file.length()).unwrap_or_default();
        let next = (at / BLOCK + 1).saturating_mul(BLOCK).min(length);
        if next <= at {
            self.given_up = true;
            return;
        }
        self.offset = next;
        self.pending.clear();
        self.start = 0;
        self.skipping = true;
    }

    /// The oldest existing segment after the current one. Segments between them may have been removed.
    fn next_segment(&self) -> io::Result<Option<u32>> {
        let names = match self.dir.disk().list(self.dir.path()) {
            Err(err) if err.kind() == io::ErrorKind::NotFound || self.given_up => return Ok(None),
            names => names?,
        };
        let number =
            |name: &OsString| name.to_str()?.strip_prefix("log.")?.strip_suffix(".jsonl")?.parse().ok();
        Ok(names.iter().filter_map(number).filter(|number| *number > self.segment).min())
    }
}
