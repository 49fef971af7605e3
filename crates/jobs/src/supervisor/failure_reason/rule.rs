//! What a line of a program's output is to the question why the program failed.

use super::words::Words;

/// The meaning of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Never a reason: progress, advice, a frame.
    Noise,
    /// A reason only if nothing else was said: a warning, the name of a step.
    Remark,
    /// A new part of the work begins, or the program went on. What was said before did not end it.
    Begins,
    /// Explains a later line of the same topic, and nothing without it.
    Lead(Topic),
    /// Names the cause.
    Cause,
    /// Names the cause, together with the lead of a topic if there was one.
    CauseWith(Topic),
    /// Names the cause. The lines before it, since the last step began, say more.
    CauseAfterLines,
    /// Names the cause. The line before it says more.
    CauseAfterLine,
    /// A sentence of this many lines that names the cause.
    CauseOfLines(u8),
    /// A status line. The reason stands in the body behind it, or in the other stream.
    Status,
    /// One more part of an activation failed: is added to what is known.
    Part,
    /// The failed units by name: is added to what is known, in place of the lines about single units.
    Units,
    /// The first line of a trace of Python. The exception follows the indented lines.
    Traceback,
    /// Follows from the cause. If no cause was named, the line before is quoted in its place.
    FollowsLine,
    /// Follows from the cause. If no cause was named, the line before and this one are quoted.
    WithLine,
    /// Follows from the cause. If no cause was named, the lead of a topic and this line are quoted.
    WithLead(Topic),
    /// Follows from the cause, and is added to it: what did not happen because of it.
    AddedWithLine,
    /// Follows from the cause, and says no more than the exit code.
    Closing,
}

/// What a lead belongs to. The number is an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    /// A key of ssh.
    Key,
    /// What a git server said.
    Server,
    /// A remote builder of nix.
    Builder,
    /// A download of nix that was tried again.
    Download,
    /// A post-build hook of nix.
    Hook,
    /// The disk that GRUB is installed on.
    Disk,
}

impl Topic {
    /// Number of topics.
    pub(super) const COUNT: usize = 6;

    /// Whether the newest lead counts. Of the others the first one counts.
    pub(super) fn keeps_newest(self) -> bool {
        matches!(self, Self::Download | Self::Hook)
    }
}

/// Which lines a rule is about. Lines have no indentation here.
#[derive(Debug, Clone, Copy)]
pub(super) enum When {
    /// They begin with this text.
    Starts(&'static str),
    /// They contain this text.
    Has(&'static str),
    /// They begin with the first text and contain the second.
    Both(&'static str, &'static str),
}

/// A rule for lines.
pub(super) type Rule = (When, Meaning);

/// The texts that some rule looks for anywhere in a line.
pub(super) const fn texts_within(tables: &[&[Rule]]) -> Words {
    let mut words = Words::NONE;
    let mut table = 0;
    while table < tables.len() {
        let mut rule = 0;
        while rule < tables[table].len() {
            if let When::Has(text) = tables[table][rule].0 {
                words = words.with(text);
            }
            rule += 1;
        }
        table += 1;
    }
    words
}

/// The first rule for a line. `within`: the [`texts_within`] the tables.
pub(super) fn rule(tables: &[&'static [Rule]], within: &Words, line: &str) -> Option<&'static Rule> {
    let has = within.any(line);
    let first = line.as_bytes().first();
    let starts = |text: &str| text.as_bytes().first() == first && line.starts_with(text);
    tables.iter().copied().flatten().find(|(when, _)| match *when {
        When::Starts(text) => starts(text),
        When::Has(text) => has && line.contains(text),
        When::Both(start, text) => starts(start) && line.contains(text),
    })
}
