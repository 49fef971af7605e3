//! Which lines of a log are missing, found from the entries that are there.

use super::Entry;

/// Follows the entries of a log in order, from its first one.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// `seq` of the last entry.
    seq: u64,
    /// Number of the last line; its `seq` in a log without line numbers.
    line: u64,
    /// Entries that are missing behind the last line. Nobody knows which of them were lines.
    holes: u64,
    /// Those of `holes` that a reader had read before they were removed.
    known: u64,
    /// Count of all missing lines so far.
    dropped: u64,
}

impl Gaps {
    /// Number of the last line.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Count of all lines that are missing, whether they had been read or not.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes the next entry. Returns how many lines are missing before it, without those that a reader has seen
    /// who has read the entries up to `after`. They are counted at a line: progress does not say how many lines
    /// came before it.
    pub(super) fn entry(&mut self, entry: &Entry, after: u64) -> u64 {
        self.hole(entry.seq, after);
        if entry.is_text() { self.until(entry.number()) } else { 0 }
    }

    /// The log ends with the entry `last_seq` and the line `lines`. Returns how many lines are missing at
    /// its end.
    pub(super) fn end(&mut self, last_seq: u64, lines: u64, after: u64) -> u64 {
        self.hole(last_seq + 1, after);
        self.until(lines + 1)
    }

    /// The next entry has the position `seq`.
    fn hole(&mut self, seq: u64, after: u64) {
        let holes = seq.saturating_sub(self.seq + 1);
        self.holes += holes;
        // If the reader has read this entry too, it was progress, and the remark about the hole is still to come.
        if after < seq {
            self.known += after.saturating_sub(self.seq).min(holes);
        }
        self.seq = self.seq.max(seq);
    }

    /// The next line has this number.
    fn until(&mut self, number: u64) -> u64 {
        // With line numbers, the jump of the number is the smaller one of the two. Without them, the jump counts
        // progress as well, and the number of holes is the smaller one.
        let missing = number.saturating_sub(self.line + 1).min(self.holes);
        let new = missing.min(self.holes - self.known);
        self.dropped += missing;
        self.line = self.line.max(number);
        self.holes = 0;
        self.known = 0;
        new
    }
}
