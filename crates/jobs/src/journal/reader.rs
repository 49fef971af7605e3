//! Reading the log of a job.

use std::io;

use super::gaps::{Fit, Gaps};
use super::segments::Segments;
use super::{Causes, Entry, Source};
use crate::JobDir;
use crate::spec::JobResult;
use nixfleet_os::planted;

/// Reads a log, also while it is being written, and also if it is damaged: what is missing is counted.
#[derive(Debug)]
pub struct Reader {
    pub(super) segments: Segments,
    /// Entries up to this `seq` are skipped.
    after: u64,
    /// Of all entries from the first one, also of those that are skipped.
    gaps: Gaps,
    /// An entry behind a jump that nothing explains. It is believed as soon as another one follows it: a damaged
    /// digit must not make all later entries look like repeats.
    held: Option<Entry>,
}

impl Reader {
    /// Makes a reader of the entries after `after`.
    pub fn new(dir: JobDir, after: u64) -> Self {
        Self { segments: Segments::new(dir), after, gaps: Gaps::default(), held: None }
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

    /// Count of the entries up to there that are missing in the log.
    pub fn dropped(&self) -> u64 {
        self.gaps.dropped_entries()
    }

    /// Whether something behind the last line is no entry, or could not be read. Everything must have been read.
    pub fn is_torn(&self) -> bool {
        self.segments.is_torn() || self.gaps.is_damaged()
    }

    /// Bytes of log in memory.
    #[cfg(any(test, feature = "test-util"))]
    pub fn memory(&self) -> usize {
        self.segments.memory()
    }

    /// Returns the next entries, about `max_bytes` of log at most. An empty result means that there are no
    /// more entries at present.
    ///
    /// # Errors
    /// An error of the file system. Nothing was read then, and the next call tries again.
    pub fn read(&mut self, max_bytes: usize) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut budget = max_bytes;
        loop {
            while let Some(line) = self.segments.line() {
                let (length, entry) = (line.len() + 1, serde_json::from_slice::<Entry>(line));
                self.note();
                let before = entries.len();
                match entry {
                    Ok(entry) => self.take(entry, &mut entries),
                    Err(_) => self.gaps.note(Causes { damaged: true, ..Causes::default() }),
                }
                if entries.len() > before {
                    // Skipped entries do not count: an empty result must mean that there are no more.
                    budget = budget.saturating_sub(length);
                }
                if budget == 0 && !entries.is_empty() {
                    return Ok(entries);
                }
            }
            match self.segments.fill(max_bytes) {
                Ok(true) => {}
                Ok(false) => return Ok(entries),
                // The next call meets the error again. These entries must not be lost with it.
                Err(_) if !entries.is_empty() && !planted!("drop-on-read-error") => return Ok(entries),
                Err(err) => return Err(err),
            }
        }
    }

    /// Gives up on what could not be read because of `err`, and goes on behind it.
    pub fn skip_unreadable(&mut self, err: &io::Error) {
        self.segments.skip(err);
        self.note();
    }

    /// What is told at the end of the log, behind all that [`Self::read`] returned: an entry that was held back,
    /// and a remark about lines that are missing at the end. Everything must have been read, and `result` must be
    /// that of the job; none if it has none.
    pub fn finish(&mut self, result: Option<&JobResult>) -> Vec<Entry> {
        self.note();
        let mut entries = Vec::new();
        if let Some(held) = self.held.take() {
            if result.is_none_or(|result| held.seq <= result.last_seq) {
                self.accept(held, &mut entries);
            } else {
                self.gaps.note(Causes { damaged: true, ..Causes::default() });
            }
        }
        entries.extend(result.and_then(|result| self.gap_at_end(result)));
        entries
    }

    fn gap_at_end(&mut self, result: &JobResult) -> Option<Entry> {
        if self.segments.is_torn() {
            self.gaps.note(Causes { damaged: true, ..Causes::default() });
        }
        if let Some(unwritten) = &result.unwritten {
            self.gaps.note(Causes { unwritten: Some(unwritten.why.clone()), ..Causes::default() });
        }
        let last_seq = result.last_seq;
        let (missing, causes) = self.gaps.end(last_seq, result.line_count(), self.after);
        self.after = self.after.max(last_seq);
        let seq = last_seq.saturating_add(1);
        let behind = Entry::new(seq, result.ended_at.clone(), Source::System, String::new());
        let line_number = result.lines.map(|lines| lines.saturating_add(1));
        Entry { line_number, missing, causes: causes.boxed(), ..behind }.gap()
    }

    fn note(&mut self) {
        self.gaps.note(self.segments.take_causes());
    }

    /// Takes the next entry of the file.
    fn take(&mut self, entry: Entry, entries: &mut Vec<Entry>) {
        if let Some(held) = self.held.take() {
            if held.seq < entry.seq {
                self.accept(held, entries);
            } else {
                self.gaps.note(Causes { damaged: true, ..Causes::default() });
            }
        }
        match self.gaps.fit(&entry) {
            Fit::Next => self.accept(entry, entries),
            Fit::Jump => self.held = Some(entry),
            Fit::Wrong => self.gaps.note(Causes { damaged: true, ..Causes::default() }),
        }
    }

    fn accept(&mut self, mut entry: Entry, entries: &mut Vec<Entry>) {
        let (missing, causes) = self.gaps.entry(&entry, self.after);
        (entry.missing, entry.causes) = (missing, causes.boxed());
        if planted!("silent-hole") {
            entry.missing = 0;
        }
        if entry.seq > self.after {
            self.after = entry.seq;
            entries.push(entry);
        }
    }
}
