//! nix's log for machines (`--log-format internal-json`) as the text that people would have seen.
//!
//! Each line is `@nix ` and a JSON object: activities that start and stop, their results, and
//! messages. Shown is what nix itself shows in a log that is no terminal: messages, the text of
//! activities that are no mere details, and of build logs the end of one that failed. Live build
//! logs are shown if the rebuild was asked for them (`-L`).

use std::borrow::Cow;
use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::value::RawValue;

#[cfg(test)]
mod tests;

/// What such a line begins with.
pub(super) const MARK: &str = "@nix ";

/// The level up to which nix shows the text of an activity in a log that is no terminal: "info".
const SHOWN_LEVEL: u64 = 3;

/// Activities by nix's numbers: copies of paths, builds of derivations, one build.
const COPY_PATHS: u64 = 103;
const BUILDS: u64 = 104;
const BUILD: u64 = 105;

/// Results by nix's numbers: a line of a build's log, how far an activity is.
const BUILD_LOG_LINE: u64 = 101;
const PROGRESS: u64 = 105;

/// Builds whose logs' ends are remembered: as many as a big machine runs at once.
const MAX_BUILDS: usize = 64;

/// Lines remembered of each build's log: as many as nix shows when it fails.
const TAIL_LINES: usize = 25;

/// Bytes remembered of each of them, so that all of it together stays below 2 MiB.
const TAIL_LINE_BYTES: usize = 1024;

/// What a line came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Not what nix writes.
    Malformed,
    /// Nothing that people see.
    Nothing,
    /// Text, maybe of several lines.
    Text(String),
    /// How far something is.
    Counted(What, Counts),
    /// Whatever was counted last has ended.
    Over(What),
}

/// What nix counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Derivations that are built.
    Derivations,
    /// Store paths that are copied from elsewhere.
    Paths,
}

/// nix's own counts of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) done: u64,
    pub(super) expected: u64,
    pub(super) running: u64,
}

/// A build that has been started.
struct Build {
    activity: u64,
    derivation: String,
    tail: VecDeque<String>,
}

/// Reads the log of one rebuild, which may run nix more than once.
#[derive(Default)]
pub(super) struct NixLog {
    /// Whether live build logs are shown.
    live: bool,
    /// The activities that count, newest ones.
    builds: Option<u64>,
    copies: Option<u64>,
    /// The newest builds.
    running: VecDeque<Build>,
}

/// A line of the log; which fields count depends on the action.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(default)]
    id: u64,
    #[serde(default)]
    level: u64,
    #[serde(default, rename = "type")]
    kind: u64,
    #[serde(borrow, default)]
    text: Cow<'a, str>,
    #[serde(borrow, default)]
    msg: Cow<'a, str>,
    #[serde(borrow, default)]
    fields: Option<&'a RawValue>,
}

impl NixLog {
    /// `live`: build logs are shown as they grow.
    pub(super) fn new(live: bool) -> Self {
        Self { live, ..Self::default() }
    }

    /// Reads what stands behind [`MARK`].
    pub(super) fn read(&mut self, json: &str) -> Said {
        let Ok(event) = serde_json::from_str::<Event<'_>>(json) else { return Said::Malformed };
        match &*event.action {
            "msg" => self.message(&event),
            "start" => self.start(&event),
            "result" => self.result(&event).unwrap_or(Said::Malformed),
            "stop" => self.stop(event.id),
            // A newer nix; not for people in any case.
            _ => Said::Nothing,
        }
    }

    fn message(&mut self, event: &Event<'_>) -> Said {
        let mut text = without_escapes(&event.msg);
        // In this format nix leaves the log's end out of its error.
        if event.level == 0
            && let Some(build) = self.running.iter_mut().find(|build| text.contains(&build.derivation))
            && !build.tail.is_empty()
        {
            text += &format!("\n       last {} log lines:", build.tail.len());
            for line in build.tail.drain(..) {
                text += "\n       > ";
                text += &line;
            }
        }
        Said::Text(text)
    }

    fn start(&mut self, event: &Event<'_>) -> Said {
        match event.kind {
            BUILDS => self.builds = Some(event.id),
            COPY_PATHS => self.copies = Some(event.id),
            BUILD => self.remember(event),
            _ => {}
        }
        if event.level > SHOWN_LEVEL || event.text.is_empty() {
            return Said::Nothing;
        }
        Said::Text(without_escapes(&event.text) + "...")
    }

    fn remember(&mut self, event: &Event<'_>) {
        // The first field; one that is missing costs the end of a log and nothing else.
        let fields = event.fields.and_then(|fields| serde_json::from_str(fields.get()).ok());
        let derivation =
            fields.and_then(|fields: Vec<serde_json::Value>| Some(fields.first()?.as_str()?.to_owned()));
        let Some(derivation) = derivation.filter(|path| !path.is_empty()) else { return };
        if self.running.len() == MAX_BUILDS {
            self.running.pop_front();
        }
        self.running.push_back(Build { activity: event.id, derivation, tail: VecDeque::new() });
    }

    fn result(&mut self, event: &Event<'_>) -> Option<Said> {
        let fields = event.fields.map_or("[]", RawValue::get);
        match event.kind {
            PROGRESS => {
                let what = match Some(event.id) {
                    id if id == self.builds => What::Derivations,
                    id if id == self.copies => What::Paths,
                    _ => return Some(Said::Nothing),
                };
                let (done, expected, running, _failed): (u64, u64, u64, u64) =
                    serde_json::from_str(fields).ok()?;
                Some(Said::Counted(what, Counts { done, expected, running }))
            }
            BUILD_LOG_LINE => {
                let (line,): (Cow<'_, str>,) = serde_json::from_str(fields).ok()?;
                Some(self.log_line(event.id, &line))
            }
            _ => Some(Said::Nothing),
        }
    }

    fn log_line(&mut self, activity: u64, line: &str) -> Said {
        let Some(build) = self.running.iter_mut().find(|build| build.activity == activity) else {
            return Said::Nothing;
        };
        let mut line = without_escapes(line);
        if self.live {
            return Said::Text(format!("{}> {line}", short_name(&build.derivation)));
        }
        if build.tail.len() == TAIL_LINES {
            build.tail.pop_front();
        }
        let cut = (0..=TAIL_LINE_BYTES).rev().find(|&at| line.is_char_boundary(at));
        if line.len() > TAIL_LINE_BYTES {
            line.truncate(cut.unwrap_or_default());
        }
        build.tail.push_back(line);
        Said::Nothing
    }

    fn stop(&mut self, id: u64) -> Said {
        if self.builds == Some(id) {
            self.builds = None;
            return Said::Over(What::Derivations);
        }
        if self.copies == Some(id) {
            self.copies = None;
            return Said::Over(What::Paths);
        }
        Said::Nothing
    }
}

/// The name in a derivation's path, without hash and version, as nix names lines of build logs.
fn short_name(derivation: &str) -> &str {
    let file = derivation.rsplit('/').next().unwrap_or(derivation);
    let name = file.split_once('-').map_or(file, |(_hash, name)| name);
    let name = name.strip_suffix(".drv").unwrap_or(name);
    let version = name
        .match_indices('-')
        .map(|(at, _)| at)
        .find(|at| name[at + 1..].chars().next().is_some_and(|first| !first.is_ascii_alphabetic()));
    &name[..version.unwrap_or(name.len())]
}

/// Text without the escape sequences of terminals, which nix leaves out of a log as well.
fn without_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        plain += &rest[..at];
        rest = &rest[at + 1..];
        if let Some(sequence) = rest.strip_prefix('[') {
            // Parameters, and one letter or sign at the end.
            let end = sequence.find(|letter: char| ('@'..='~').contains(&letter));
            rest = end.map_or("", |end| &sequence[end + 1..]);
        }
    }
    plain + rest
}
