//! Why lines of a log are missing.

use std::fmt;

/// Longest text of an error that is kept, in characters. The longest one of the kernel has about 50.
const MAX_WHY: usize = 200;

/// Why lines are missing at one place of a log. There may be several causes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Causes {
    /// The size limit removed a segment.
    pub size_limit: bool,
    /// The supervisor could not write, because of this error.
    pub unwritten: Option<String>,
    /// A part of the log is no entry, or not the one that belongs there.
    pub damaged: bool,
    /// A part of the log could not be read, because of this error.
    pub unreadable: Option<String>,
}

impl Causes {
    /// Boxed, if there is one. Few entries have any.
    pub(super) fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }

    /// Adds the causes of another one.
    pub(super) fn add(&mut self, other: Self) {
        self.size_limit |= other.size_limit;
        self.damaged |= other.damaged;
        self.unwritten = other.unwritten.or(self.unwritten.take());
        self.unreadable = other.unreadable.or(self.unreadable.take());
    }
}

impl fmt::Display for Causes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = |what, why: &Option<String>| why.as_deref().map(|why| format!("{what}: {}", bounded(why)));
        let causes = [
            self.size_limit.then(|| "the log reached its size limit".to_owned()),
            with("the log could not be written", &self.unwritten),
            self.damaged.then(|| "the log is damaged".to_owned()),
            with("the log could not be read", &self.unreadable),
        ];
        let causes: Vec<String> = causes.into_iter().flatten().collect();
        // An older supervisor does not say what it could not write.
        f.write_str(if causes.is_empty() { "they are not in the log" } else { "" })?;
        f.write_str(&causes.join("; "))
    }
}

/// The text of an error in one line of bounded length: it may come from a damaged file.
pub(super) fn bounded(why: &str) -> String {
    why.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WHY).collect()
}

/// The text that is shown in place of `missing` lines.
pub fn gap_remark(missing: u64, causes: &Causes) -> String {
    let (lines, are) = if missing == 1 { ("line", "is") } else { ("lines", "are") };
    format!("{missing} {lines} {are} missing here: {causes}")
}

/// The count of lines for which a text of [`gap_remark`] stands; none for another text.
pub fn gap_count(text: &str) -> Option<u64> {
    let (count, rest) = text.split_once(' ')?;
    let is_gap = rest.starts_with("lines are missing here: ") || rest.starts_with("line is missing here: ");
    count.parse().ok().filter(|count| is_gap && *count > 0)
}
