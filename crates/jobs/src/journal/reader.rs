//! Reading the log of a job.

use std::io::{self, Read};

use nixfleet_os::disk::{File, Open};

use super::gaps::Gaps;
use super::{Entry, Source};
use crate::JobDir;
use crate::spec::JobResult;

/// Longest entry that is read, in bytes: a line of maximum length in which every byte is escaped, with a
/// margin.
const MAX_ENTRY: usize = 512 * 1024;

/// Reads a log, also while it is being written.
#[derive(Debug)]
pub struct Reader {
    dir: JobDir,
    segment: u32,
    file: Option<File>,
    /// Bytes that were read but not yet parsed.
    pending: Vec<u8>,
    /// Start of the next entry in `pending`.
    start: usize,
    /// Entries up to this `seq` are skipped.
    after: u64,
    /// Of all entries from the first one, also of those that are skipped.
    gaps: Gaps,
}

impl Reader {
    /// Makes a reader of the entries after `after`.
    pub fn new(dir: JobDir, after: u64) -> Self {
        Self { dir, segment: 0, file: None, pending: Vec::new(), start: 0, after, gaps: Gaps::default() }
    }

    /// `seq` of the newest entry that was returned.
    pub fn after(&self) -> u64 {
        self.after
    }

    /// Number of the last line that was read or skipped.
    pub fn lines(&self) -> u64 {
        self.gaps.line()
    }

    /// Count of the lines up to there that are missing in the log.
    pub fn dropped_lines(&self) -> u64 {
        self.gaps.dropped()
    }

    /// The remark about lines that are missing at the end of the log, if there are any. Everything must have
    /// been read, and `result` must be that of the job.
    pub fn gap_at_end(&mut self, result: &JobResult) -> Option<Entry> {
        let last_seq = result.last_seq;
        let missing = self.gaps.end(last_seq, result.line_count(), self.after);
        self.after = self.after.max(last_seq);
        let behind = Entry::new(last_seq + 1, result.ended_at.clone(), Source::System, String::new());
        let line_number = result.lines.map(|lines| lines + 1);
        Entry { line_number, missing, ..behind }.gap()
    }

    /// Returns the next entries, about `max_bytes` of log at most. An empty result means that there are no
    /// more entries at present. A line that is not an entry is skipped.
    ///
    /// # Errors
    /// An error of the file system. Reading can continue afterwards.
    pub fn read(&mut self, max_bytes: usize) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut budget = max_bytes;
        loop {
            while let Some(end) = self.pending[self.start..].iter().position(|&b| b == b'\n') {
                let line = &self.pending[self.start..self.start + end];
                if let Ok(mut entry) = serde_json::from_slice::<Entry>(line) {
                    entry.missing = self.gaps.entry(&entry, self.after);
                    if entry.seq > self.after {
                        // Skipped entries do not count: an empty result must mean that there are no more.
                        budget = budget.saturating_sub(line.len() + 1);
                        self.after = entry.seq;
                        entries.push(entry);
                    }
                }
                self.start += end + 1;
                if budget == 0 && !entries.is_empty() {
                    return Ok(entries);
                }
            }
            if !self.fill(max_bytes)? {
                return Ok(entries);
            }
        }
    }

    /// Reads more bytes, from the next segment if the current one is at its end. False if there are none.
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
        // The writer may have appended to this segment after the read and before the folder was listed.
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
            none => match self.dir.disk().open(&self.dir.log(self.segment), Open::Read) {
                Ok(file) => none.insert(file),
                Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(err) => return Err(err),
            },
        };
        Ok(file.take(max_bytes as u64).read_to_end(&mut self.pending)? > 0)
    }

    /// The oldest existing segment after the current one. Segments between them may have been removed.
    fn next_segment(&self) -> io::Result<Option<u32>> {
        let mut next: Option<u32> = None;
        for name in self.dir.disk().list(self.dir.path())? {
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
