//! A sentence about a failure that goes on in the next lines.
//!
//! nix writes `error:`, a trace of what it was doing, and the error itself, which may have a list or the last lines of
//! a build log. git and other programs write a line that ends with a colon, and a list. Programs in Rust write a chain
//! of causes. All of them are quoted as one line.

use super::build_log::BuildLog;
use super::quote::{append, join, quoted};
use super::rule::Meaning;
use super::{Rank, nix};

/// Headings of further paragraphs that belong to the sentence.
const CONTINUED: &[&str] = &["Known issues:", "response body:", "Failed assertions:", "Caused by:"];

/// How nix begins an error with a trace. The error itself follows the trace.
const BARE: &str = "error:";

/// What ends a sentence of nix: advice, and paths that nobody needs to know.
const ENDS: &[&str] = &[
    "For full logs, run",
    "Output paths:",
    "Stack backtrace:",
    "(stack trace truncated",
    "note: ",
    "hint:",
    "a) To temporarily allow",
    "Use '--show-trace'",
];

/// What the next line is to the sentence.
pub(super) enum Next {
    /// Part of it.
    Taken,
    /// Not part of it: the sentence has ended.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The next line may go on with the sentence.
    Text,
    /// An empty line was last.
    Gap,
    /// What nix was doing, and the places in the source.
    Trace,
    /// Advice at the end.
    Rest,
    /// The headers of an answer of HTTP.
    Headers,
}

/// A sentence.
#[derive(Debug)]
pub(super) struct Sentence {
    pub(super) rank: Rank,
    pub(super) text: String,
    pub(super) meaning: Meaning,
    /// The text ends where the next line goes on: after a colon, or within a sentence of fixed length.
    part: Part,
    /// Lines that belong to it in any case.
    lines: u8,
    /// The newest line of a trace, in case that no error follows it.
    trace: String,
    /// The last lines of the build's log.
    log: BuildLog,
}

impl Sentence {
    /// Begins a sentence.
    pub(super) fn new(rank: Rank, line: &str, meaning: Meaning) -> Self {
        let (part, lines) = match meaning {
            Meaning::CauseOfLines(lines) => (Part::Text, lines),
            Meaning::Status if line.starts_with("HTTP/") => (Part::Headers, 0),
            _ => (Part::Text, 0),
        };
        Self {
            rank,
            text: quoted(line),
            meaning,
            part,
            lines,
            trace: String::new(),
            log: BuildLog::default(),
        }
    }

    /// Whether the text is incomplete without the next line.
    fn is_open(&self) -> bool {
        self.text.ends_with(':')
    }

    /// Takes an empty line.
    pub(super) fn gap(&mut self) {
        match self.part {
            Part::Headers => {
                self.part = Part::Text;
                self.lines = 1;
            }
            Part::Text if !self.is_open() => self.part = Part::Gap,
            _ => {}
        }
        if !self.is_open() && self.part != Part::Text {
            self.lines = 0;
        }
    }

    /// Takes a line with text. `indented`: it begins with blanks; `plain`: no rule knows it.
    pub(super) fn next(&mut self, line: &str, indented: bool, plain: bool) -> Next {
        if self.part == Part::Headers {
            return if line.contains(':') { Next::Taken } else { Next::Ended };
        }
        let goes_on = self.part != Part::Rest && CONTINUED.iter().any(|heading| line.starts_with(heading));
        let listed = self.part == Part::Text && line.starts_with("- ");
        if self.lines > 0 {
            self.lines -= 1;
            append(&mut self.text, line);
            return Next::Taken;
        }
        if indented || goes_on || listed || (self.is_open() && plain) {
            self.inside(line, goes_on);
            Next::Taken
        } else {
            Next::Ended
        }
    }

    fn inside(&mut self, line: &str, goes_on: bool) {
        let position = line.starts_with("at ") && line.ends_with(':');
        if let Some(error) = line.strip_prefix(BARE) {
            // The deepest error of a trace comes last.
            self.text = if error.is_empty() { BARE.to_owned() } else { quoted(line) };
            self.part = Part::Text;
        } else if line.starts_with("… ") {
            self.trace = quoted(line);
            self.part = Part::Trace;
        } else if let Some(log) = line.strip_prefix("> ") {
            self.log.take(log);
        } else if position {
            if matches!(self.part, Part::Text | Part::Gap) && self.text != BARE {
                append(&mut self.text, line.trim_end_matches(':'));
            }
            self.part = Part::Trace;
        } else if line.contains(nix::LACK_OF_ROOM) {
            append(&mut self.text, line);
        } else if line.starts_with("at ") || ENDS.iter().any(|end| line.starts_with(end)) {
            self.part = Part::Rest;
        } else if goes_on {
            self.part = Part::Text;
            append(&mut self.text, line);
        } else if (self.part == Part::Text && !is_source(line) && !line.ends_with(" log lines:"))
            || line.starts_with("Did you mean ")
        {
            append(&mut self.text, line);
        }
    }

    /// What is known of the log of the build that failed if it was shown live: the sentence has none then.
    pub(super) fn use_log(&mut self, live: &BuildLog) {
        if self.log.text().is_empty() {
            self.log.take(live.text());
        }
    }

    /// Ends the sentence.
    pub(super) fn end(&mut self) {
        if self.text == BARE {
            append(&mut self.text, &self.trace);
            self.rank = Rank::Follows;
        }
        if nix::OF_ANOTHER_BUILD.iter().any(|words| self.text.contains(words)) {
            self.rank = Rank::Follows;
        }
        join(&mut self.text, self.log.text());
    }
}

/// Whether it is a line of source code in a trace: `12| code`, or the mark below it.
fn is_source(line: &str) -> bool {
    line.trim_start_matches(|letter: char| letter.is_ascii_digit()).starts_with('|')
}
