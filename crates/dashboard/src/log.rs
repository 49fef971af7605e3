//! What the commands of a host said, in the order in which it came and without repeats.
//!
//! Each entry has a number, counted from 0 since the dashboard started. It never changes, so a browser can ask for
//! what is in front of an entry or behind it, however much comes or is forgotten meanwhile.

use std::collections::VecDeque;
use std::num::NonZeroU64;

use serde::Serialize;

use nixfleet_os::text::shorten;
use nixfleet_protocol::{CommandRejected, Status, StatusKind, Stream};

use crate::moment::rfc3339;

pub(super) use page::{PAGE_BYTES, Page, Query};
pub(super) use text::Written;

mod page;
mod text;

/// Most bytes of the logs of all hosts together. The messages that they come from have as many: those are for tests,
/// with repeats and heartbeats, and no index leads to one line of them.
pub(super) const LOG_BYTES: usize = 64 * 1024 * 1024;

/// What an entry needs besides its text.
const ENTRY: usize = size_of::<Stored>();

/// Ends of commands that stay when their lines are gone: a day of a busy host, and short enough for each view of it.
const ENDS: usize = 50;

/// Most characters of each text in such an end, because each view of the host has all of them.
const END_TEXT: usize = 300;

/// One line as it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) seq: Option<u64>,
    pub(super) stream: Stream,
    pub(super) line: &'a str,
    pub(super) cont: bool,
    /// When it was written, in Unix milliseconds.
    pub(super) at_ms: i64,
}

#[derive(Debug)]
struct Stored {
    at_ms: i64,
    what: What,
}

#[derive(Debug)]
enum What {
    /// A run begins; its names are in [`Run`].
    Head,
    Line {
        seq: Option<NonZeroU64>,
        stream: Stream,
        cont: bool,
        text: Box<str>,
    },
    End(Box<Status>),
    Rejected(Box<CommandRejected>),
}

impl What {
    fn bytes(&self) -> usize {
        ENTRY
            + match self {
                Self::Head => 0,
                Self::Line { text, .. } => text.len(),
                Self::End(status) => {
                    let Status { command, message, generation, job_id, outcome, .. } = &**status;
                    let texts =
                        [Some(command), Some(message), Some(generation), job_id.as_ref(), outcome.as_ref()];
                    size_of::<Status>() + length(texts)
                }
                Self::Rejected(rejection) => {
                    let CommandRejected { reason, current_command, command, command_id, .. } = &**rejection;
                    let others = [current_command, command, command_id].map(Option::as_ref);
                    size_of::<CommandRejected>() + reason.len() + length(others)
                }
            }
    }
}

/// Bytes of texts. All of them count: an agent chooses how long each is.
fn length<const N: usize>(texts: [Option<&String>; N]) -> usize {
    texts.into_iter().flatten().map(String::len).sum()
}

/// How a command ended, in one word: that with more detail, if the agent said one.
pub(super) fn word(status: &Status) -> String {
    let plain = || serde_json::to_value(status.status).ok()?.as_str().map(str::to_owned);
    status.outcome.clone().or_else(plain).unwrap_or_default()
}

/// Lines of one command that follow each other.
#[derive(Debug)]
struct Run {
    /// The number of its head.
    first: u64,
    command: String,
    job_id: Option<String>,
    /// The command has ended: what comes now is another run.
    ended: bool,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Entry<'a> {
    /// The lines behind it are of this command.
    Head {
        n: u64,
        command: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        job_id: Option<&'a str>,
        at: String,
    },
    /// What it wrote.
    Line {
        n: u64,
        stream: Stream,
        line: &'a str,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        cont: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
        at: String,
    },
    /// How it ended.
    End {
        n: u64,
        #[serde(flatten)]
        status: &'a Status,
        at: String,
    },
    /// A command that was not started.
    Rejected {
        n: u64,
        #[serde(flatten)]
        rejection: &'a CommandRejected,
        at: String,
    },
}

/// How a command ended, for as long as the newest fifty are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ended {
    /// The number of this end in the host's log.
    pub n: u64,
    /// The command.
    pub command: String,
    /// Its job; null for the answer to a request that started none.
    pub job_id: Option<String>,
    /// In one word.
    pub status: StatusKind,
    /// In more detail, if the agent said so.
    pub outcome: Option<String>,
    /// 128 + n when signal n ended it.
    pub exit_code: i32,
    /// Run time in milliseconds.
    pub duration_ms: Option<u64>,
    /// When the dashboard heard of it, RFC 3339.
    pub ended_at: String,
    /// One sentence. Like the other texts it is cut to 300 characters.
    pub message: String,
}

/// The log of one host.
#[derive(Debug, Default)]
pub(super) struct Log {
    stored: VecDeque<Stored>,
    /// Those of the kept entries, oldest first. The first one may have lost its head.
    runs: VecDeque<Run>,
    ends: VecDeque<Ended>,
    bytes: usize,
    next: u64,
}

impl Log {
    /// The number of the next entry.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// How many entries are no longer kept, which is also the number of the oldest that is.
    pub(super) fn dropped(&self) -> u64 {
        self.next - self.stored.len() as u64
    }

    /// The newest ends of commands, oldest first.
    pub(super) fn ends(&self) -> impl Iterator<Item = &Ended> {
        self.ends.iter()
    }

    /// Adds a head, if the lines to come are not of the command of those before. Returns its number.
    pub(super) fn begin(&mut self, at_ms: i64, command: &str, job_id: Option<&str>) -> Option<u64> {
        let same = |run: &&Run| !run.ended && run.command == command && run.job_id.as_deref() == job_id;
        if self.runs.back().filter(same).is_some() {
            return None;
        }
        let (command, job_id) = (command.to_owned(), job_id.map(str::to_owned));
        let run = Run { first: self.next, command, job_id, ended: false };
        self.bytes += run.bytes();
        self.runs.push_back(run);
        Some(self.push(at_ms, What::Head))
    }

    /// Adds a line of the command that [began](Self::begin) last. Returns its number.
    pub(super) fn line(&mut self, said: Said<'_>) -> u64 {
        let Said { seq, stream, line, cont, at_ms } = said;
        self.push(at_ms, What::Line { seq: seq.and_then(NonZeroU64::new), stream, cont, text: line.into() })
    }

    /// Adds the end of a command. Returns its number.
    pub(super) fn end(&mut self, at_ms: i64, status: &Status) -> u64 {
        // The answer to a `stop` is not the end of what it stops.
        if let Some(run) = self.runs.back_mut()
            && run.command == status.command
            && run.job_id == status.job_id
        {
            run.ended = true;
        }
        let short = |text: &String| {
            let mut text = text.clone();
            shorten(&mut text, END_TEXT);
            text
        };
        if self.ends.len() == ENDS {
            self.ends.pop_front();
        }
        self.ends.push_back(Ended {
            n: self.next,
            command: short(&status.command),
            job_id: status.job_id.as_ref().map(short),
            status: status.status,
            outcome: status.outcome.as_ref().map(short),
            exit_code: status.exit_code,
            duration_ms: status.duration_ms,
            ended_at: rfc3339(at_ms),
            message: short(&status.message),
        });
        self.push(at_ms, What::End(Box::new(status.clone())))
    }

    /// Adds a rejection. Returns its number.
    pub(super) fn rejected(&mut self, at_ms: i64, rejection: &CommandRejected) -> u64 {
        self.push(at_ms, What::Rejected(Box::new(rejection.clone())))
    }

    fn push(&mut self, at_ms: i64, what: What) -> u64 {
        self.bytes += what.bytes();
        self.stored.push_back(Stored { at_ms, what });
        self.next += 1;
        self.next - 1
    }

    /// Forgets the oldest entries until the rest fits. The newest one stays, however long it is.
    pub(super) fn trim(&mut self, room: usize) {
        while self.bytes > room && self.stored.len() > 1 {
            let Some(oldest) = self.stored.pop_front() else { break };
            self.bytes -= oldest.what.bytes();
            while self.runs.get(1).is_some_and(|second| second.first <= self.dropped()) {
                self.bytes -= self.runs.pop_front().map_or(0, |run| run.bytes());
            }
        }
    }

    /// The run that an entry belongs to. None for an end or a rejection in front of all runs.
    fn run(&self, n: u64) -> Option<&Run> {
        let behind = self.runs.partition_point(|run| run.first <= n);
        self.runs.get(behind.checked_sub(1)?)
    }

    /// Bytes of the texts of an entry. Those of a head are in its run.
    fn text_bytes(&self, n: u64, stored: &Stored) -> usize {
        let of_run = match stored.what {
            What::Head => self.run(n).map_or(0, Run::bytes),
            _ => 0,
        };
        stored.what.bytes() - ENTRY + of_run
    }

    /// The entry with this number, if it is kept.
    fn stored(&self, n: u64) -> Option<&Stored> {
        self.stored.get(usize::try_from(n.checked_sub(self.dropped())?).ok()?)
    }

    fn entry<'a>(&'a self, n: u64, stored: &'a Stored) -> Entry<'a> {
        let at = rfc3339(stored.at_ms);
        match &stored.what {
            What::Head => {
                let run = self.run(n);
                let command = run.map_or("", |run| &run.command);
                Entry::Head { n, command, job_id: run.and_then(|run| run.job_id.as_deref()), at }
            }
            What::Line { seq, stream, cont, text } => {
                let (seq, stream, cont) = (seq.map(NonZeroU64::get), *stream, *cont);
                Entry::Line { n, stream, line: text, cont, seq, at }
            }
            What::End(status) => Entry::End { n, status, at },
            What::Rejected(rejection) => Entry::Rejected { n, rejection, at },
        }
    }

    /// Whether an entry is of this job: its head, its lines, its end.
    fn is_of(&self, n: u64, stored: &Stored, job: &str) -> bool {
        match &stored.what {
            What::Head | What::Line { .. } => {
                self.run(n).is_some_and(|run| run.job_id.as_deref() == Some(job))
            }
            What::End(status) => status.job_id.as_deref() == Some(job),
            What::Rejected(rejection) => rejection.command_id.as_deref() == Some(job),
        }
    }
}

impl Run {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.command.len() + self.job_id.as_deref().map_or(0, str::len)
    }
}
