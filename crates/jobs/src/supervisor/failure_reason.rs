//! Finds the lines of a program's output that best explain why the program failed.
//!
//! The last line is seldom the reason. Programs end with what follows from the failure, and so do the programs that
//! started them. [`mod@rule`] says what a line can mean; one table for each family of programs says which lines mean
//! it. A line that no table knows counts only in connection with others: before a consequence, behind a heading. Of the
//! causes the first one counts, because the later ones follow from it; in a trace of nix the last one.

use std::borrow::Cow;
use std::collections::VecDeque;

use nixfleet_os::text::printable;

mod build_log;
mod curl;
mod git;
mod nix;
mod quote;
mod rule;
mod sentence;
mod ssh;
mod switch;
mod systemd;
mod words;

#[cfg(test)]
mod tests;

use build_log::BuildLog;
use quote::{join, keep, quoted, quoted_with_end};
use rule::{Meaning, Rule, Rules, Topic};
use sentence::{Next, Sentence};
use words::Words;

/// The tables, in the order in which they are asked.
static TABLES: &[&[Rule]] = &[switch::RULES, systemd::RULES, ssh::RULES, curl::RULES, git::RULES, nix::RULES];

static RULES: Rules = Rules::of(TABLES);

/// What the operating system refused. Whatever failed behind such a line failed because of it.
static ROOTS: Words = Words::new(&[
    "No space left on device",
    "database or disk is full",
    "Disk quota exceeded",
    "Cannot allocate memory",
    "ut of memory",
    "std::bad_alloc",
    "Read-only file system",
    "Too many open files",
    "Input/output error",
]);

/// Bytes of a line that are looked at. The names of two long files and a sentence have room.
const CONSIDERED: usize = 2048;

/// Lines before a failure that may explain it. A check of a switch says what it found in four.
const RECENT: usize = 6;

/// Builds whose live logs are remembered: as many as a large machine runs at once, of which few fail.
const LIVE: usize = 16;

/// Longest name of a build in front of a line of its log, in bytes. nix leaves hash and version out.
const MAX_NAME: usize = 200;

/// How much a finding explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// The operating system's reason.
    Root,
    /// nix names the build that failed.
    Build,
    /// A program names the cause.
    Cause,
    /// The line before a consequence.
    Before,
    /// A consequence.
    Follows,
    /// No explanation: the last line of the output.
    Last,
    /// Says no more than the exit code.
    Closing,
}

/// What was found.
#[derive(Debug)]
struct Finding {
    rank: Rank,
    text: String,
    /// A status line whose reason may stand in the other stream.
    wants_body: bool,
}

/// The lines of a stream that may explain a failure.
#[derive(Default)]
pub(super) struct FailureReason {
    found: Option<Finding>,
    /// The sentence that the next lines may go on with.
    open: Option<Sentence>,
    /// A trace of Python is being written; what to quote if its exception says nothing.
    traceback: Option<String>,
    leads: [String; Topic::COUNT],
    /// The newest lines since the last step began.
    recent: VecDeque<String>,
    /// What the newest builds said in the live build logs.
    live: VecDeque<(String, BuildLog)>,
    /// The last line with any text that may be a reason.
    last: String,
}

impl FailureReason {
    /// Adds a line of the output.
    pub(super) fn add_line(&mut self, line: &str) {
        // Control characters of ASCII; of the others each begins with this byte.
        let odd = |byte: u8| (byte < b' ' && byte != b'\t') || matches!(byte, 0x7f | 0xc2);
        let whole =
            if line.bytes().any(odd) { Cow::Owned(printable(line, false)) } else { Cow::Borrowed(line) };
        let mut cut = CONSIDERED.min(whole.len());
        while !whole.is_char_boundary(cut) {
            cut -= 1;
        }
        let line = whole.get(..cut).unwrap_or_default();
        let text = line.trim();
        // Some servers frame their message with `remote: =====`.
        if !text.strip_prefix("remote:").unwrap_or(text).contains(char::is_alphanumeric) {
            if text.is_empty()
                && let Some(open) = &mut self.open
            {
                open.gap();
            }
            return;
        }
        let indented = line.starts_with([' ', '\t']);
        if self.live_log(text) || self.of_traceback(text, indented) {
            return;
        }
        let meaning = meaning(text);
        if let Some(open) = &mut self.open {
            match open.next(text, indented, meaning.is_none()) {
                Next::Taken => return,
                Next::Ended => self.settle(),
            }
        }
        self.take(meaning, text, whole.trim());
    }

    /// Takes a line that belongs to no sentence before it.
    fn take(&mut self, meaning: Option<Meaning>, text: &str, whole: &str) {
        let Some(meaning) = meaning else { return self.unknown(text) };
        match meaning {
            Meaning::Noise => {}
            Meaning::Remark => keep(&mut self.last, text),
            Meaning::Begins => {
                let last = quoted(text);
                *self = Self { last, ..Self::default() };
            }
            Meaning::Lead(topic) => {
                let lead = &mut self.leads[topic as usize];
                if lead.is_empty() || topic.keeps_newest() {
                    *lead = quoted(text);
                }
                keep(&mut self.last, text);
            }
            Meaning::Traceback => self.traceback = Some(self.line_before()),
            Meaning::Cause | Meaning::CauseOfLines(_) | Meaning::Status => {
                self.open = Some(Sentence::new(rank_of(text), text, meaning));
            }
            Meaning::CauseWith(topic) => {
                let mut sentence = Sentence::new(rank_of(text), text, meaning);
                sentence.text = self.with_lead(topic, text);
                self.open = Some(sentence);
            }
            Meaning::CauseAfterLines => {
                let mut reason = quoted(text);
                self.recent.iter().for_each(|line| join(&mut reason, line));
                self.found(Rank::Cause, reason);
            }
            Meaning::CauseAfterLine => {
                let mut reason = quoted(text);
                if self.found.is_none() {
                    join(&mut reason, &self.line_before());
                }
                self.recent.clear();
                self.add(reason);
            }
            Meaning::Part => self.add(quoted(text)),
            Meaning::Units => self.units(text),
            Meaning::FollowsLine => {
                let server = &self.leads[Topic::Server as usize];
                let before = if server.is_empty() { self.line_before() } else { quoted(server) };
                self.follows(before, text, false);
            }
            Meaning::WithLine => self.follows(self.line_before(), text, true),
            Meaning::WithLead(topic) => {
                let lead = self.leads[topic as usize].clone();
                let before = if lead.is_empty() { self.line_before() } else { lead };
                self.follows(before, text, true);
            }
            Meaning::AddedWithLine => {
                let known = self.found.as_ref().is_some_and(|found| found.rank <= Rank::Cause);
                if known { self.add(quoted(text)) } else { self.follows(self.line_before(), text, true) }
            }
            Meaning::Closing => {
                let before = self.line_before();
                if before.is_empty() {
                    self.found(Rank::Closing, quoted_with_end(whole));
                } else {
                    self.found(Rank::Before, before);
                }
            }
        }
    }

    /// A line that no table knows.
    fn unknown(&mut self, text: &str) {
        // A path of the store alone is a result.
        if text.starts_with("/nix/store/") && !text.contains(' ') {
            return;
        }
        keep(&mut self.last, text);
        if ROOTS.any(text) {
            self.found(Rank::Root, quoted(text));
        } else if text.ends_with("...") {
            // A step begins.
            self.recent.clear();
        } else {
            let oldest = if self.recent.len() == RECENT { self.recent.pop_front() } else { None };
            let mut line = oldest.unwrap_or_default();
            keep(&mut line, text);
            self.recent.push_back(line);
        }
    }

    /// The line before, if it belongs to the same step; else empty.
    fn line_before(&self) -> String {
        self.recent.back().map(|line| quoted(line)).unwrap_or_default()
    }

    /// Takes a line of a build log that is shown live: `name> text`.
    fn live_log(&mut self, text: &str) -> bool {
        let name = text.split_once(' ').and_then(|(name, log)| Some((name.strip_suffix('>')?, log)));
        let is_name =
            |name: &str| (1..=MAX_NAME).contains(&name.len()) && !name.contains(['/', ':', '<', '"']);
        let Some((name, log)) = name.filter(|(name, _)| is_name(name)) else { return false };
        if let Some((_, known)) = self.live.iter_mut().find(|(build, _)| build == name) {
            known.take(log);
        } else {
            if self.live.len() == LIVE {
                self.live.pop_front();
            }
            let mut known = BuildLog::default();
            known.take(log);
            self.live.push_back((name.to_owned(), known));
        }
        self.settle();
        true
    }

    /// Takes a line of a trace of Python.
    fn of_traceback(&mut self, text: &str, indented: bool) -> bool {
        if self.traceback.is_none() || indented {
            return self.traceback.is_some();
        }
        let before = self.traceback.take().unwrap_or_default();
        if meaning(text) == Some(Meaning::Closing) {
            if !before.is_empty() {
                self.found(Rank::Before, before);
            }
            self.found(Rank::Closing, quoted_with_end(text));
        } else {
            self.found(rank_of(text), quoted(text));
        }
        true
    }

    /// The lead of a topic, if there was one, and the line.
    fn with_lead(&self, topic: Topic, text: &str) -> String {
        let mut reason = self.leads[topic as usize].clone();
        join(&mut reason, text);
        reason
    }

    /// Takes a consequence. `both`: it is quoted with what was before, else that is quoted alone.
    fn follows(&mut self, before: String, text: &str, both: bool) {
        if before.is_empty() {
            return self.found(Rank::Follows, quoted(text));
        }
        let mut reason = before;
        if both {
            join(&mut reason, text);
        }
        self.found(Rank::Before, reason);
    }

    /// Adds to what is known of an activation.
    fn add(&mut self, part: String) {
        match &mut self.found {
            Some(found) if found.rank <= Rank::Cause => join(&mut found.text, &part),
            _ => self.found(Rank::Cause, part),
        }
    }

    /// The names of the failed units make lines about single ones superfluous.
    fn units(&mut self, text: &str) {
        if let Some(found) = &mut self.found {
            let named = |line: &str| {
                let unit = switch::OF_A_UNIT.iter().find_map(|start| line.strip_prefix(start));
                unit.is_some_and(|unit| text.contains(unit.split([':', ' ']).next().unwrap_or(unit)))
            };
            let kept: Vec<&str> = found.text.split("; ").filter(|line| !named(line)).collect();
            found.text = kept.join("; ");
            if found.text.is_empty() {
                self.found = None;
            }
        }
        self.add(quoted(text));
    }

    /// Ends the open sentence.
    fn settle(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        if nix::OF_A_BUILD.iter().any(|start| open.text.starts_with(start)) {
            let live = self.live.iter().find(|(build, _)| open.text.contains(&format!("-{build}")));
            if let Some((_, log)) = live {
                open.use_log(log);
            }
        }
        open.end();
        let wants_body = open.meaning == Meaning::Status && !open.text.starts_with("HTTP/");
        self.record(Finding { rank: open.rank, text: open.text, wants_body });
    }

    fn found(&mut self, rank: Rank, text: String) {
        self.record(Finding { rank, text, wants_body: false });
    }

    /// Keeps what explains most. Of equals the first one counts.
    fn record(&mut self, finding: Finding) {
        if self.found.as_ref().is_none_or(|found| finding.rank < found.rank) {
            self.found = Some(finding);
        }
    }

    /// The best explanation of a program's two outputs; may be empty. If both have one, that of the errors counts.
    pub(super) fn best(errors: Self, output: Self) -> String {
        let last = quoted(&output.last);
        let (errors, output) = (errors.finding(), output.finding());
        // All causes count alike: what a program writes to standard output may be about something else.
        let rank = |finding: &Finding| finding.rank.max(Rank::Cause);
        let mut best = if rank(&errors) <= rank(&output) { errors } else { output };
        if best.wants_body && !last.is_empty() && !best.text.contains(&last) {
            join(&mut best.text, &last);
        }
        best.text
    }

    fn finding(mut self) -> Finding {
        self.settle();
        let last = Finding { rank: Rank::Last, text: quoted(&self.last), wants_body: false };
        match self.found {
            Some(found) if found.rank < Rank::Last || last.text.is_empty() => found,
            _ if last.text.is_empty() => Finding { rank: Rank::Closing, ..last },
            _ => last,
        }
    }
}

/// What the first rule says about a line.
fn meaning(line: &str) -> Option<Meaning> {
    RULES.find(line).map(|(_, meaning)| *meaning)
}

/// How much a line explains that names a cause.
fn rank_of(line: &str) -> Rank {
    if ROOTS.any(line) {
        Rank::Root
    } else if nix::OF_A_BUILD.iter().any(|start| line.starts_with(start)) {
        Rank::Build
    } else {
        Rank::Cause
    }
}
