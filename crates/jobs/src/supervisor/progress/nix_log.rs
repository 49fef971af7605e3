//! Translates nix's machine-readable log (`--log-format internal-json`) into the text that people would see.
//!
//! Each line is `@nix ` and a JSON object: the start or stop of an activity, a result of an activity, or a
//! message. The text is what nix itself shows when its output is not a terminal: messages, the text of
//! important activities, and the end of the log of a failed build. Live build logs are shown if the rebuild
//! has the option `-L`. What a post-build hook writes is always shown: nix keeps it nowhere, and it is the only reason
//! that nix has when the hook fails.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::value::RawValue;

#[cfg(test)]
mod tests;

/// Prefix of a line of the machine-readable log.
pub(super) const MARK: &str = "@nix ";

/// Highest level at which nix shows the text of an activity when its output is not a terminal: "info".
const SHOWN_LEVEL: u64 = 3;

/// nix's numbers of activities: copying paths, building derivations, one build, the hook after it.
const COPY_PATHS: u64 = 103;
const BUILDS: u64 = 104;
const BUILD: u64 = 105;
const POST_BUILD_HOOK: u64 = 110;

/// nix's numbers of results: a line of a build log, the progress of an activity, a line of a hook after a build.
const BUILD_LOG_LINE: u64 = 101;
const PROGRESS: u64 = 105;
const HOOK_LINE: u64 = 107;

/// Number of builds whose last log lines are kept, and of hooks whose names are: as many as a large machine runs at
/// once.
const MAX_BUILDS: usize = 64;

/// Number of lines kept of each build log: as many as nix shows when a build fails.
const TAIL_LINES: usize = 25;

/// Bytes kept of each of these lines, so that all of them together stay below 2 MiB.
const TAIL_LINE_BYTES: usize = 1024;

/// Longest path of a derivation that is believed, in bytes: a name has 211 at most, and twice as much is in front of it
/// in the longest usual store. Otherwise a single long name, before each line of its build, would fill the log.
const MAX_DERIVATION: usize = 640;

/// The meaning of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// The line does not come from nix.
    Malformed,
    /// The line has nothing to show.
    Nothing,
    /// Text to show; may have several lines.
    Text(String),
    /// New counts.
    Counted(Unit, Counts),
    /// The activity that was counted has ended.
    Ended(Unit),
}

/// The units that nix counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Derivations that are built.
    Derivations,
    /// Store paths that are copied from another store.
    Paths,
}

/// nix's counts of one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) done: u64,
    pub(super) expected: u64,
    pub(super) running: u64,
}

/// A running build.
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
    /// Id of the newest activity that counts builds.
    builds: Option<u64>,
    /// Id of the newest activity that counts copied paths.
    copies: Option<u64>,
    /// The newest builds.
    running: VecDeque<Build>,
    /// The newest hooks after a build: their activities, and the derivations that were built.
    hooks: VecDeque<(u64, String)>,
}

/// A line of the log. The action determines which fields are used.
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
    /// `live`: build logs are shown while the builds run.
    pub(super) fn new(live: bool) -> Self {
        Self { live, ..Self::default() }
    }

    /// Reads the part of a line after [`MARK`].
    pub(super) fn read(&mut self, json: &str) -> Parsed {
        let Ok(event) = serde_json::from_str::<Event<'_>>(json) else { return Parsed::Malformed };
        match &*event.action {
            "msg" => self.message(&event),
            "start" => self.start(&event),
            "result" => self.result(&event).unwrap_or(Parsed::Malformed),
            "stop" => self.stop(event.id),
            // An action of a newer nix. Unknown actions have no text for people.
            _ => Parsed::Nothing,
        }
    }

    fn message(&mut self, event: &Event<'_>) -> Parsed {
        let mut text = without_escapes(&event.msg);
        // In this format the error message of nix does not include the last lines of the build log.
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
        Parsed::Text(text)
    }

    fn start(&mut self, event: &Event<'_>) -> Parsed {
        match event.kind {
            BUILDS => self.builds = Some(event.id),
            COPY_PATHS => self.copies = Some(event.id),
            BUILD => self.remember(event),
            POST_BUILD_HOOK => self.remember_hook(event),
            _ => {}
        }
        if event.level > SHOWN_LEVEL || event.text.is_empty() {
            return Parsed::Nothing;
        }
        Parsed::Text(without_escapes(&event.text) + "...")
    }

    fn remember(&mut self, event: &Event<'_>) {
        // If the derivation is missing, only the last lines of the build log are lost.
        let Some(derivation) = derivation(event) else { return };
        if self.running.len() == MAX_BUILDS {
            self.running.pop_front();
        }
        self.running.push_back(Build { activity: event.id, derivation, tail: VecDeque::new() });
    }

    fn remember_hook(&mut self, event: &Event<'_>) {
        let Some(derivation) = derivation(event) else { return };
        if self.hooks.len() == MAX_BUILDS {
            self.hooks.pop_front();
        }
        self.hooks.push_back((event.id, derivation));
    }

    fn result(&mut self, event: &Event<'_>) -> Option<Parsed> {
        let fields = event.fields.map_or("[]", RawValue::get);
        match event.kind {
            PROGRESS => {
                let unit = match Some(event.id) {
                    id if id == self.builds => Unit::Derivations,
                    id if id == self.copies => Unit::Paths,
                    _ => return Some(Parsed::Nothing),
                };
                let (done, expected, running, _failed): (u64, u64, u64, u64) =
                    serde_json::from_str(fields).ok()?;
                Some(Parsed::Counted(unit, Counts { done, expected, running }))
            }
            BUILD_LOG_LINE => {
                let (line,): (Cow<'_, str>,) = serde_json::from_str(fields).ok()?;
                Some(self.log_line(event.id, &line))
            }
            HOOK_LINE => {
                let (line,): (Cow<'_, str>,) = serde_json::from_str(fields).ok()?;
                Some(self.hook_line(event.id, &line))
            }
            _ => Some(Parsed::Nothing),
        }
    }

    fn log_line(&mut self, activity: u64, line: &str) -> Parsed {
        let Some(build) = self.running.iter_mut().find(|build| build.activity == activity) else {
            return Parsed::Nothing;
        };
        let mut line = without_escapes(line);
        if self.live {
            return Parsed::Text(format!("{}> {line}", short_name(&build.derivation)));
        }
        if build.tail.len() == TAIL_LINES {
            build.tail.pop_front();
        }
        let cut = (0..=TAIL_LINE_BYTES).rev().find(|&at| line.is_char_boundary(at));
        if line.len() > TAIL_LINE_BYTES {
            line.truncate(cut.unwrap_or_default());
        }
        build.tail.push_back(line);
        Parsed::Nothing
    }

    /// A line of a hook, as nix shows it with `-L`; with a name of its own if the build is not known.
    fn hook_line(&self, activity: u64, line: &str) -> Parsed {
        let hook = self.hooks.iter().find(|(id, _)| *id == activity);
        let line = without_escapes(line);
        Parsed::Text(match hook {
            Some((_, derivation)) => format!("{} (post)> {line}", short_name(derivation)),
            None => format!("post-build-hook: {line}"),
        })
    }

    fn stop(&mut self, id: u64) -> Parsed {
        if self.builds == Some(id) {
            self.builds = None;
            return Parsed::Ended(Unit::Derivations);
        }
        if self.copies == Some(id) {
            self.copies = None;
            return Parsed::Ended(Unit::Paths);
        }
        Parsed::Nothing
    }
}

/// The derivation of an activity: its first field.
fn derivation(event: &Event<'_>) -> Option<String> {
    let fields: Vec<serde_json::Value> = serde_json::from_slice(event.fields?.get().as_bytes()).ok()?;
    let path = fields.first()?.as_str()?;
    (1..=MAX_DERIVATION).contains(&path.len()).then(|| path.to_owned())
}

/// The name in the path of a derivation, without hash and version. nix uses it as prefix of build log lines.
fn short_name(derivation: &str) -> &str {
    let file = derivation.rsplit('/').next().unwrap_or(derivation);
    let name = file.split_once('-').map_or(file, |(_hash, name)| name);
    let name = name.strip_suffix(".drv").unwrap_or(name);
    let version = name
        .match_indices('-')
        .map(|(at, _)| at)
        .find(|at| name.as_bytes().get(at + 1).is_some_and(|first| !first.is_ascii_alphabetic()));
    version.and_then(|version| name.get(..version)).unwrap_or(name)
}

/// Removes the escape sequences of terminals, as nix does when its output is not a terminal.
fn without_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('\u{1b}') {
        plain += before;
        rest = behind;
        if let Some(sequence) = rest.strip_prefix('[') {
            // A sequence has parameters and one final letter or sign.
            let parts = sequence.split_once(|letter: char| ('@'..='~').contains(&letter));
            rest = parts.map_or("", |(_, behind)| behind);
        }
    }
    plain + rest
}
