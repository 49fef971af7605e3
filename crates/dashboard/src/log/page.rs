//! Pages of a log: its newest part, what is in front of an entry or behind it, and what has a text.

use serde::Serialize;

use super::{ENTRY, Entry, Log, Stored, What};

/// Most bytes of text in a page, so that long lines do not make an answer of hundreds of megabytes.
pub(crate) const PAGE_BYTES: usize = 1024 * 1024;

/// Most entries that one search looks at. More of them would hold up the agents, which wait for the same lock: this is
/// a few milliseconds. The answer says where the next search goes on.
const SEARCHED: usize = 50_000;

/// Most bytes of them, because the lines of a log can be long. One entry is always looked at.
const SEARCHED_BYTES: usize = 8 * 1024 * 1024;

/// Which entries are asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    /// Those in front of this one only.
    pub(crate) before: Option<u64>,
    /// Those behind this one only.
    pub(crate) after: Option<u64>,
    /// The oldest of them rather than the newest.
    pub(crate) oldest_first: bool,
    /// So many at most.
    pub(crate) limit: usize,
    /// So many bytes at most, if there is more than one entry.
    pub(crate) bytes: usize,
    /// Those of this job only.
    pub(crate) job: Option<String>,
    /// Those with this text only, in lower case.
    pub(crate) search: Option<String>,
}

/// All entries that were asked for from `first` to the one in front of `next`, in the order of their numbers.
#[derive(Debug, Serialize)]
pub(crate) struct Page<'a> {
    pub(crate) entries: Vec<Entry<'a>>,
    /// The part of the log that this page covers begins with this number: what is older is in front of it.
    pub(crate) first: u64,
    /// And ends in front of this one.
    pub(crate) next: u64,
    /// The number of the next entry to come.
    pub(crate) end: u64,
    /// Older entries that are no longer kept.
    pub(crate) dropped: u64,
    /// Older entries that are kept, in front of `first`.
    pub(crate) older: u64,
    /// Entries that were looked at.
    pub(crate) scanned: usize,
    /// Whether there is more in the direction of the question.
    pub(crate) more: bool,
    /// The command of the first entry, if its head is not in this page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) under: Option<Under<'a>>,
}

/// The head of an entry.
#[derive(Debug, Serialize)]
pub(crate) struct Under<'a> {
    n: u64,
    command: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<&'a str>,
}

impl Log {
    /// The page that was asked for.
    pub(crate) fn page(&self, query: &Query) -> Page<'_> {
        let (dropped, end) = (self.dropped(), self.next());
        let upper = query.before.unwrap_or(end).clamp(dropped, end);
        let lower = query.after.map_or(dropped, |after| after.saturating_add(1)).clamp(dropped, upper);
        let is_search = query.search.is_some() || query.job.is_some();
        let (most, most_bytes) =
            if is_search { (SEARCHED, SEARCHED_BYTES) } else { (usize::MAX, usize::MAX) };
        let (mut first, mut next) = if query.oldest_first { (lower, lower) } else { (upper, upper) };
        let (mut entries, mut scanned, mut scanned_bytes, mut bytes) = (Vec::new(), 0, 0, 0);
        while entries.len() < query.limit && scanned < most && scanned_bytes < most_bytes {
            let n = match query.oldest_first {
                true if next < upper => next,
                false if first > lower => first - 1,
                _ => break,
            };
            let Some(stored) = self.stored(n) else { break };
            let text_bytes = self.text_bytes(n, stored);
            if self.is_wanted(n, stored, query) {
                bytes += text_bytes;
                if bytes > query.bytes && !entries.is_empty() {
                    break;
                }
                entries.push(self.entry(n, stored));
            }
            scanned += 1;
            scanned_bytes += ENTRY + text_bytes;
            if query.oldest_first { next += 1 } else { first -= 1 }
        }
        if !query.oldest_first {
            entries.reverse();
        }
        let more = if query.oldest_first { next < upper } else { first > lower };
        let under = entries.first().and_then(|entry| self.under(entry));
        Page { under, entries, first, next, end, dropped, older: first - dropped, scanned, more }
    }

    fn under(&self, entry: &Entry<'_>) -> Option<Under<'_>> {
        let Entry::Line { n, .. } = entry else { return None };
        let run = self.run(*n)?;
        Some(Under { n: run.first, command: &run.command, job_id: run.job_id.as_deref() })
    }

    fn is_wanted(&self, n: u64, stored: &Stored, query: &Query) -> bool {
        if query.job.as_deref().is_some_and(|job| !self.is_of(n, stored, job)) {
            return false;
        }
        let Some(wanted) = query.search.as_deref() else { return true };
        let has = |text: &str| contains(text, wanted);
        match &stored.what {
            What::Head => self.run(n).is_some_and(|run| has(&run.command)),
            What::Line { text, .. } => has(text),
            What::End(status) => {
                has(&status.command) || has(&status.message) || status.outcome.as_deref().is_some_and(has)
            }
            What::Rejected(rejection) => {
                has(&rejection.reason) || rejection.command.as_deref().is_some_and(has)
            }
        }
    }
}

/// Whether a text contains another one, which is in lower case. The time for it grows with the length of the text
/// alone, however often the wanted one nearly occurs.
fn contains(text: &str, wanted: &str) -> bool {
    // Most lines are ASCII, which is much quicker.
    let lower = if text.is_ascii() { text.to_ascii_lowercase() } else { text.to_lowercase() };
    lower.contains(wanted)
}

#[cfg(test)]
mod tests {
    use super::contains;

    #[test]
    fn a_text_is_found_whatever_its_letters_are() {
        for (text, wanted, found) in [
            ("Building FOO-1.0", "foo", true),
            ("BUILDING", "ing", true),
            ("ab", "abc", false),
            ("aab", "ab", true),
            ("", "", true),
            ("Größe ÜBER", "über", true),
            ("ascii only", "ü", false),
        ] {
            assert_eq!(contains(text, wanted), found, "{wanted:?} in {text:?}");
        }
    }
}
