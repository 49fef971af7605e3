//! A log as a text file, piece by piece.

use std::fmt::Write;

use nixfleet_os::text::{one_line, printable};

use super::{Entry, Log, word};

/// Most entries of one piece, and most bytes of their texts. While a piece is written, agents wait.
const PIECE: (usize, usize) = (2_000, 256 * 1024);

/// Most characters of a name or of a sentence that is not output.
const SENTENCE: usize = 2_000;

/// How far a text file is written.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    /// The number of the next entry.
    next: u64,
    /// The entries from here on came after the file was asked for.
    until: u64,
    /// Only those of this job.
    job: Option<String>,
    /// Whether each line begins with its time.
    timestamps: bool,
    /// The line before continues.
    inside: bool,
    started: bool,
}

impl Written {
    /// Nothing is written yet.
    pub(crate) fn new(job: Option<String>, timestamps: bool) -> Self {
        Self { next: 0, until: 0, job, timestamps, inside: false, started: false }
    }
}

impl Log {
    /// The next piece of a text file. None at its end.
    pub(crate) fn write(&self, written: &mut Written) -> Option<String> {
        let mut text = String::new();
        if !written.started {
            (written.started, written.until) = (true, self.next());
        } else if written.next >= written.until {
            return None;
        }
        if self.dropped() > written.next {
            let gone = self.dropped() - written.next;
            written.break_line(&mut text);
            // Writing to a text cannot fail.
            writeln!(text, "[{gone} older entries are no longer kept]").ok();
            written.next = self.dropped();
        }
        let mut bytes = 0;
        for n in (written.next..written.until).take(PIECE.0) {
            written.next = n + 1;
            let Some(stored) = self.stored(n) else { break };
            bytes += self.text_bytes(n, stored);
            if written.job.as_deref().is_none_or(|job| self.is_of(n, stored, job)) {
                written.add(&mut text, &self.entry(n, stored));
            }
            if bytes > PIECE.1 {
                break;
            }
        }
        if written.next >= written.until {
            written.break_line(&mut text);
        }
        Some(text)
    }
}

impl Written {
    fn add(&mut self, text: &mut String, entry: &Entry<'_>) {
        match entry {
            Entry::Line { line, cont, at, .. } => {
                if !self.inside {
                    self.begin(text, at);
                }
                text.push_str(&printable(line, false));
                self.inside = *cont;
                if !cont {
                    text.push('\n');
                }
            }
            Entry::Head { command, at, .. } => {
                self.break_line(text);
                self.begin(text, at);
                writeln!(text, "$ {}", one_line(command, SENTENCE)).ok();
            }
            Entry::End { status, at, .. } => {
                self.break_line(text);
                self.begin(text, at);
                let (command, word) =
                    (one_line(&status.command, SENTENCE), one_line(&word(status), SENTENCE));
                write!(text, "[{command}: {word}, exit code {}", status.exit_code).ok();
                if let Some(millis) = status.duration_ms {
                    write!(text, " after {}.{:03} s", millis / 1000, millis % 1000).ok();
                }
                if !status.message.is_empty() {
                    write!(text, ": {}", one_line(&status.message, SENTENCE)).ok();
                }
                text.push_str("]\n");
            }
            Entry::Rejected { rejection, at, .. } => {
                self.break_line(text);
                self.begin(text, at);
                let command = one_line(rejection.command.as_deref().unwrap_or("a command"), SENTENCE);
                writeln!(text, "[{command} was rejected: {}]", one_line(&rejection.reason, SENTENCE)).ok();
            }
        }
    }

    fn begin(&self, text: &mut String, at: &str) {
        if self.timestamps {
            text.push_str(at);
            text.push(' ');
        }
    }

    /// Ends a line whose next piece is not here.
    fn break_line(&mut self, text: &mut String) {
        if std::mem::take(&mut self.inside) {
            text.push('\n');
        }
    }
}
