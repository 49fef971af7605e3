//! What a campaign says: lines for people, or JSON for programs.

use std::time::Duration;

use nixfleet_os::time::length;
use nixfleet_protocol::{BatchLine, CommandRejected, Stream};
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::job::{ENDED, Outcome, SILENCE, taken};
use crate::terminal::{Paint, Screen, said};

/// Version of the JSON objects. Fields and events may be added; another change makes a new version.
const OBJECTS: u32 = 1;

/// Widest column of names. Longer names push the rest of their line aside.
const WIDEST: usize = 24;

/// The words of outcomes, in the order in which they are counted up.
const WORDS: [&str; 11] = [
    "good", "stopped", "ended", "accepted", "failed", "rejected", "offline", "unknown", "refused", "unclear",
    "late",
];

/// Outcomes of jobs that say no more than the word of the result.
const PLAIN: [&str; 3] = ["ok", "failed", "stopped"];

/// How many hosts ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    counts: [usize; WORDS.len()],
    /// The worst of them.
    pub(crate) exit: Exit,
}

impl Default for Tally {
    fn default() -> Self {
        Self { counts: [0; WORDS.len()], exit: Exit::Good }
    }
}

impl Tally {
    /// Counts one.
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        if let Some(at) = WORDS.iter().position(|word| *word == outcome.word()) {
            self.counts[at] += 1;
        }
        self.exit = self.exit.worst(outcome.exit());
    }

    /// How many were counted.
    pub(crate) fn hosts(&self) -> usize {
        self.counts.iter().sum()
    }

    /// `12 good, 1 failed`
    pub(crate) fn text(&self) -> String {
        let named = self.named().map(|(word, count)| format!("{count} {word}"));
        let text = named.collect::<Vec<_>>().join(", ");
        if text.is_empty() { "no host".to_owned() } else { text }
    }

    fn named(&self) -> impl Iterator<Item = (&'static str, usize)> {
        WORDS.into_iter().zip(self.counts).filter(|(_, count)| *count > 0)
    }
}

#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    Plan {
        version: u32,
        command: &'a str,
        waves: Vec<usize>,
    },
    Wave {
        number: usize,
        hosts: &'a [String],
    },
    Accepted {
        host: &'a str,
        evidence: &'a str,
    },
    Line {
        host: &'a str,
        job: Option<&'a str>,
        #[serde(flatten)]
        line: &'a BatchLine,
    },
    Ended {
        host: &'a str,
        result: &'static str,
        text: String,
        job: Option<&'a str>,
        exit_code: Option<i32>,
        outcome: Option<&'a str>,
        duration_ms: Option<u64>,
        commit: Option<&'a str>,
        rejection: Option<&'a CommandRejected>,
    },
    WaveEnded {
        number: usize,
        #[serde(serialize_with = "counts")]
        hosts: Tally,
    },
    Summary {
        #[serde(serialize_with = "counts")]
        hosts: Tally,
        running: usize,
        not_asked: &'a [String],
        exit_code: u8,
    },
}

fn counts<S: serde::Serializer>(tally: &Tally, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(tally.named())
}

/// Where it is said.
pub(crate) struct Report<'a> {
    pub(crate) screen: &'a mut Screen,
    json: bool,
    /// Somebody waits for the ends.
    waits: bool,
    /// Columns of the names.
    width: usize,
}

impl<'a> Report<'a> {
    /// For these hosts.
    pub(crate) fn new(screen: &'a mut Screen, json: bool, waits: bool, hosts: &[String]) -> Self {
        let width = hosts.iter().map(String::len).max().unwrap_or(0).min(WIDEST);
        Self { screen, json, waits, width }
    }

    /// What will be done. Programs are told, people have written it.
    pub(crate) fn plan(&mut self, command: &str, waves: Vec<usize>) -> Result<(), Failure> {
        if self.json {
            self.screen.json(&Event::Plan { version: OBJECTS, command, waves })?;
        }
        Ok(())
    }

    /// A wave begins.
    pub(crate) fn wave(&mut self, number: usize, of: usize, hosts: &[String]) -> Result<(), Failure> {
        if self.json {
            return self.screen.json(&Event::Wave { number, hosts });
        }
        if of < 2 {
            return Ok(());
        }
        let count = hosts.len();
        let which = match hosts {
            [host] => host.clone(),
            [first, .., last] => format!("{count} hosts, {first} to {last}"),
            [] => String::new(),
        };
        let text = format!("wave {number} of {of}: {which}");
        self.screen.line(&Paint::Dim.on(&text, self.screen.colours))
    }

    /// A host has the command.
    pub(crate) fn accepted(&mut self, host: &str, evidence: &str) -> Result<(), Failure> {
        if self.json {
            return self.screen.json(&Event::Accepted { host, evidence });
        }
        // The end comes at once, or this is all that there will be, and is said as that.
        if evidence == ENDED || !self.waits {
            return Ok(());
        }
        let word = if evidence == SILENCE { "sent" } else { "accepted" };
        self.row(host, word, Paint::Dim, taken(evidence))
    }

    /// A line of a host.
    pub(crate) fn line(&mut self, host: &str, job: Option<&str>, line: &BatchLine) -> Result<(), Failure> {
        if self.json {
            return self.screen.json(&Event::Line { host, job, line });
        }
        let text = self.screen.line_of_command(&line.line, line.stream == Stream::Stderr);
        let name = Paint::Cyan.on(&format!("{host:0$} |", self.width), self.screen.colours);
        self.screen.line(&format!("{name} {text}"))
    }

    /// What has become of a host.
    pub(crate) fn ended(&mut self, host: &str, outcome: &Outcome) -> Result<(), Failure> {
        let status = outcome.status();
        if self.json {
            let rejection = match outcome {
                Outcome::Rejected(rejection) => Some(rejection),
                _ => None,
            };
            return self.screen.json(&Event::Ended {
                host,
                result: outcome.word(),
                text: outcome.text(),
                job: status.and_then(|status| status.job_id.as_deref()),
                exit_code: status.map(|status| status.exit_code),
                outcome: status.and_then(|status| status.outcome.as_deref()),
                duration_ms: status.and_then(|status| status.duration_ms),
                commit: status.map(|status| status.generation.as_str()).filter(|text| !text.is_empty()),
                rejection,
            });
        }
        let paint = match outcome.exit() {
            Exit::Good => Paint::Green,
            Exit::Failed => Paint::Red,
            _ => Paint::Yellow,
        };
        let mut text = said(&outcome.text());
        if let Some(outcome) =
            status.and_then(|status| status.outcome.as_deref()).filter(|word| !PLAIN.contains(word))
        {
            text = format!("{text} [{}]", said(outcome));
        }
        if let Some(ms) = status.and_then(|status| status.duration_ms) {
            text = format!("{text} ({})", length(Duration::from_millis(ms)));
        }
        self.row(host, outcome.word(), paint, &text)
    }

    fn row(&mut self, host: &str, word: &str, paint: Paint, text: &str) -> Result<(), Failure> {
        let word = paint.on(&format!("{word:8}"), self.screen.colours);
        self.screen.line(&format!("{host:0$}  {word}  {text}", self.width))
    }

    /// A wave has ended.
    pub(crate) fn wave_ended(&mut self, number: usize, of: usize, tally: Tally) -> Result<(), Failure> {
        if self.json {
            return self.screen.json(&Event::WaveEnded { number, hosts: tally });
        }
        if of < 2 {
            return Ok(());
        }
        let text = format!("wave {number} of {of}: {}", tally.text());
        self.screen.line(&Paint::Dim.on(&text, self.screen.colours))
    }

    /// All has ended, or nobody waits for the hosts of which something still runs.
    pub(crate) fn summary(
        &mut self,
        tally: Tally,
        running: usize,
        not_asked: &[String],
        exit: Exit,
    ) -> Result<(), Failure> {
        if self.json {
            return self.screen.json(&Event::Summary {
                hosts: tally,
                running,
                not_asked,
                exit_code: exit.code(),
            });
        }
        if !not_asked.is_empty() {
            self.screen.line(&format!("not asked: {}", not_asked.join(" ")))?;
        }
        let more = [(running, "running"), (not_asked.len(), "not asked")];
        let more =
            more.into_iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
        let ended = Some(tally.text()).filter(|_| tally.hosts() > 0);
        let text = ended.into_iter().chain(more).collect::<Vec<_>>().join(", ");
        self.screen.line(if text.is_empty() { "no host" } else { &text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_counted() {
        let mut tally = Tally::default();
        assert_eq!((tally.text().as_str(), tally.exit), ("no host", Exit::Good));
        let answer = |kind| nixfleet_protocol::Status::answer("switch", kind, 0, "");
        let rejection = CommandRejected {
            reason: String::new(),
            current_command: None,
            current_pid: None,
            command: None,
            command_id: None,
        };
        let outcomes = [
            Outcome::Ended(answer(nixfleet_protocol::StatusKind::Ok)),
            Outcome::Stopped(answer(nixfleet_protocol::StatusKind::Stopped)),
            Outcome::ByItself { status: answer(nixfleet_protocol::StatusKind::Ok), refused: false },
            Outcome::Accepted("output".to_owned()),
            Outcome::Ended(answer(nixfleet_protocol::StatusKind::Error)),
            Outcome::ByItself { status: answer(nixfleet_protocol::StatusKind::Ok), refused: true },
            Outcome::Rejected(rejection),
            Outcome::Offline,
            Outcome::Unknown,
            Outcome::Refused(String::new()),
            Outcome::Unclear(String::new()),
            Outcome::Late { runs: true },
        ];
        for (at, outcome) in outcomes.iter().enumerate() {
            tally.add(outcome);
            assert_eq!(tally.hosts(), at + 1, "{outcome:?}");
            let wanted = match at {
                0..=3 => Exit::Good,
                4 => Exit::Failed,
                _ => Exit::NotDone,
            };
            assert_eq!(tally.exit, wanted, "{outcome:?}");
        }
        tally.add(&Outcome::Ended(answer(nixfleet_protocol::StatusKind::Stopped)));
        assert!(
            tally.text().starts_with("1 good, 1 stopped, 2 ended, 1 accepted, 2 failed, 1 rejected"),
            "{}",
            tally.text()
        );
    }
}
