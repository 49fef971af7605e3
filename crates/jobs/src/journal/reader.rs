//! The agent's end of the log.

use std::fs::{self, File};
use std::io::{self, Read};

use super::Entry;
use crate::JobDir;

/// The longest entry a reader accepts, in bytes: a full line of escapes, and some room.
const MAX_ENTRY: usize = 512 * 1024;

/// The agent's end of the log: reads what is there, and later what has come since.
#[derive(Debug)]
pub struct Reader {
    dir: JobDir,
    segment: u32,
    file: Option<File>,
    /// Bytes read that are not yet entries.
    pending: Vec<u8>,
    /// Where in `pending` the next entry begins.
    start: usize,
    /// Entries up to here are not given out.
    after: u64,
}

impl Reader {
    /// Reads the entries behind `after`.
    pub fn new(dir: JobDir, after: u64) -> Self {
        Self { dir, segment: 0, file: None, pending: Vec::new(), start: 0, after }
    }

    /// Position of the newest entry that was given out.
    pub fn after(&self) -> u64 {
        self.after
    }

    /// The next entries, at most about `max_bytes` of log, none if there are no more yet.
    ///
    /// # Errors
    /// Of the file system; reading can go on afterwards. A line that is no entry is skipped.
    pub fn read(&mut self, max_bytes: usize) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut budget = max_bytes;
        loop {
            while let Some(end) = self.pending[self.start..].iter().position(|&b| b == b'\n') {
                let line = &self.pending[self.start..self.start + end];
                if let Ok(entry) = serde_json::from_slice::<Entry>(line)
                    && entry.seq > self.after
                {
                    // What is skipped costs nothing: an empty answer means that there is no more.
                    budget = budget.saturating_sub(line.len() + 1);
                    self.after = entry.seq;
                    entries.push(entry);
                }
                self.start += end + 1;
                // Skipped entries use up the budget as well, but an empty answer means "no more".
                if budget == 0 && !entries.is_empty() {
                    return Ok(entries);
                }
            }
            if !self.fill(max_bytes)? {
                return Ok(entries);
            }
        }
    }

    /// Reads more bytes, from the next segment if this one is at its end. False: none, anywhere.
    fn fill(&mut self, max_bytes: usize) -> io::Result<bool> {
        self.pending.drain(..self.start);
        self.start = 0;
        if self.pending.len() > MAX_ENTRY {
            self.pending.clear();
        }
        if self.read_file(max_bytes)? {
            return Ok(true);
        }
        let Some(next) = self.next_segment()? else { return Ok(false) };
        // The writer may have added to this one between the read and the look at the folder.
        if self.read_file(max_bytes)? {
            return Ok(true);
        }
        self.pending.clear();
        self.segment = next;
        self.file = None;
        self.read_file(max_bytes)
    }

    fn read_file(&mut self, max_bytes: usize) -> io::Result<bool> {
        let file = match &mut self.file {
            Some(file) => file,
            none => match File::open(self.dir.log(self.segment)) {
                Ok(file) => none.insert(file),
                Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(err) => return Err(err),
            },
        };
        Ok(file.take(max_bytes as u64).read_to_end(&mut self.pending)? > 0)
    }

    /// The oldest segment behind the current one that exists: between them there may be a cut.
    fn next_segment(&self) -> io::Result<Option<u32>> {
        let mut next: Option<u32> = None;
        for item in fs::read_dir(self.dir.path())? {
            let name = item?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("log.")?.strip_suffix(".jsonl"));
            if let Some(number) = number.and_then(|n| n.parse().ok())
                && number > self.segment
            {
                next = Some(next.map_or(number, |least| least.min(number)));
            }
        }
        Ok(next)
    }
}
