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

/// Most rules of all tables together. More do not compile.
const MOST: usize = 512;

/// The rules of all tables, found by the first byte of a line: a rebuild writes a hundred thousand lines, and next to
/// none of the rules begins like any of them.
pub(super) struct Rules {
    /// In the order in which they are asked.
    all: [Option<&'static Rule>; MOST],
    count: usize,
    /// For each first byte, the first rule about lines that begin with it.
    first: [Option<u16>; 256],
    /// For each rule, the next one of the same first byte.
    next: [Option<u16>; MOST],
    /// The texts that some rule looks for anywhere in a line.
    within: Words,
}

impl Rules {
    /// Those of these tables.
    pub(super) const fn of(tables: &'static [&'static [Rule]]) -> Self {
        let mut rules =
            Self { all: [None; MOST], count: 0, first: [None; 256], next: [None; MOST], within: Words::NONE };
        let mut table = 0;
        while table < tables.len() {
            let mut at = 0;
            while at < tables[table].len() {
                let rule = &tables[table][at];
                if let When::Has(text) = rule.0 {
                    rules.within = rules.within.with(text);
                }
                rules.all[rules.count] = Some(rule);
                rules.count += 1;
                at += 1;
            }
            table += 1;
        }
        let mut left = rules.count;
        while left > 0 {
            left -= 1;
            if let Some((When::Starts(text) | When::Both(text, _), _)) = rules.all[left] {
                let byte = text.as_bytes()[0] as usize;
                rules.next[left] = rules.first[byte];
                rules.first[byte] = Some(left as u16);
            }
        }
        rules
    }

    /// The first rule for a line.
    pub(super) fn find(&self, line: &str) -> Option<&'static Rule> {
        if self.within.any(line) {
            return self.all.iter().copied().flatten().find(|rule| is_about(rule, line));
        }
        let mut at = self.first[usize::from(*line.as_bytes().first()?)];
        while let Some(index) = at.map(usize::from) {
            if let Some(rule) = self.all[index].filter(|rule| is_about(rule, line)) {
                return Some(rule);
            }
            at = self.next[index];
        }
        None
    }
}

fn is_about((when, _): &Rule, line: &str) -> bool {
    match *when {
        When::Starts(text) => line.starts_with(text),
        When::Has(text) => line.contains(text),
        When::Both(start, text) => line.starts_with(start) && line.contains(text),
    }
}
