//! Which lines of a log are missing and why, found from the entries that are there.

use super::{Causes, Entry};

/// How an entry fits behind those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// It is the next one, or it says itself what is missing before it.
    Next,
    /// Entries are missing before it, if its position is not damaged. The entry behind it shows that.
    Jump,
    /// Its position or its number is one that cannot come here.
    Wrong,
}

/// Follows the entries of a log in order, from its first one.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// `seq` of the last entry.
    seq: u64,
    /// Number of the last line; its `seq` in a log without line numbers.
    line: u64,
    /// The log has line numbers.
    numbered: bool,
    /// Entries that are missing behind the last line. Nobody knows which of them were lines.
    holes: u64,
    /// Those of `holes` that a reader had read before they were removed.
    known: u64,
    /// What was found behind the last line that explains `holes`.
    causes: Causes,
    /// Count of all missing lines so far.
    dropped: u64,
    /// Count of all missing entries so far.
    dropped_entries: u64,
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

    /// Count of all entries that are missing.
    pub(super) fn dropped_entries(&self) -> u64 {
        self.dropped_entries
    }

    /// Something was found that explains missing entries.
    pub(super) fn note(&mut self, causes: Causes) {
        self.causes.add(causes);
    }

    /// Whether a part of the log behind the last line could not be read or understood.
    pub(super) fn is_damaged(&self) -> bool {
        self.causes.damaged || self.causes.unreadable.is_some()
    }

    /// How the next entry of the file fits.
    pub(super) fn fit(&self, entry: &Entry) -> Fit {
        let Some(jump) = entry.seq.checked_sub(self.seq).and_then(|step| step.checked_sub(1)) else {
            return Fit::Wrong;
        };
        let most = self.line.saturating_add(self.holes).saturating_add(jump).saturating_add(1);
        let fits = match entry.line_number {
            _ if !entry.is_text() => true,
            // The first number of a log tells that it has numbers.
            Some(number) => !self.numbered && self.line > 0 || (self.line < number && number <= most),
            None => !self.numbered,
        };
        let told = entry.unwritten.as_ref().map_or(0, |unwritten| unwritten.entries);
        match (fits, jump) {
            (false, _) => Fit::Wrong,
            (true, 0) => Fit::Next,
            (true, jump) if jump == told => Fit::Next,
            (true, _) => Fit::Jump,
        }
    }

    /// Takes the next entry. Returns how many lines are missing before it, without those that a reader has seen
    /// who has read the entries up to `after`, and why. They are counted at a line: progress does not say how
    /// many lines came before it.
    pub(super) fn entry(&mut self, entry: &Entry, after: u64) -> (u64, Causes) {
        if let Some(unwritten) = &entry.unwritten {
            self.note(Causes { unwritten: Some(unwritten.why.clone()), ..Causes::default() });
        }
        self.hole(entry.seq, after);
        if !entry.is_text() {
            return (0, Causes::default());
        }
        self.numbered |= entry.line_number.is_some();
        self.until(entry.number())
    }

    /// The log ends with the entry `last_seq` and the line `lines`. Returns how many lines are missing at
    /// its end, and why.
    pub(super) fn end(&mut self, last_seq: u64, lines: u64, after: u64) -> (u64, Causes) {
        self.hole(last_seq.saturating_add(1), after);
        self.until(lines.saturating_add(1))
    }

    /// The next entry has the position `seq`.
    fn hole(&mut self, seq: u64, after: u64) {
        let holes = seq.saturating_sub(self.seq.saturating_add(1));
        self.holes = self.holes.saturating_add(holes);
        self.dropped_entries = self.dropped_entries.saturating_add(holes);
        // If the reader has read this entry too, it was progress, and the remark about the hole is still to come.
        if after < seq {
            self.known = self.known.saturating_add(after.saturating_sub(self.seq).min(holes));
        }
        self.seq = self.seq.max(seq);
    }

    /// The next line has this number.
    fn until(&mut self, number: u64) -> (u64, Causes) {
        // With line numbers, the jump of the number is the smaller one of the two. Without them, the jump counts
        // progress as well, and the number of holes is the smaller one.
        let missing = number.saturating_sub(self.line.saturating_add(1)).min(self.holes);
        let new = missing.min(self.holes - self.known);
        self.dropped = self.dropped.saturating_add(missing);
        self.line = self.line.max(number);
        self.holes = 0;
        self.known = 0;
        let causes = std::mem::take(&mut self.causes);
        (new, if new > 0 { causes } else { Causes::default() })
    }
}
