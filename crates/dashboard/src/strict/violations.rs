//! The violations found: a bounded list, and counts of all.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use nixfleet_os::text::one_line;
use serde::Serialize;
use tracing::warn;

/// Most violations kept with their text. The first ones are kept, because later ones often follow from them.
pub(super) const KEPT: usize = 200;

/// Most hosts of which the newest violation is kept. Tests and demos have fewer.
const HOSTS: usize = 1000;

/// Longest explanation of a violation, in characters. A sentence and what it quotes.
const WHY: usize = 500;

/// A need of existing dashboards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Integers have no fraction: `5.0` makes the whole message unreadable.
    Integer,
    /// A message is JSON with the documented types. Otherwise it is unreadable.
    Malformed,
    /// A message has at most 256 KiB. Above 512 KiB the connection is closed with code 1009.
    Size,
    /// `register` is the first message of a connection.
    RegisterFirst,
    /// Nothing but `register` is sent before `registered`.
    BeforeRegistered,
    /// The hostname is valid, because it becomes the name of a folder.
    Hostname,
    /// `register` has every required field, and known words.
    Register,
    /// A heartbeat always has its five required fields.
    Heartbeat,
    /// `nixpkgs_version` is never empty, because an empty value overwrites the stored one.
    Empty,
    /// A value that was known once is always sent.
    Forgotten,
    /// `generation` is a commit, or empty until one is known, and all messages mean the same one.
    Generation,
    /// `output` has its `command` and its `is_error`.
    Output,
    /// Batches are not sent without the capability, because they are dropped with all their lines.
    Unannounced,
    /// Output and statuses belong to a requested command.
    Unasked,
    /// Output comes before the status of its command.
    OutputAfterStatus,
    /// The lines of a job are numbered from 1 without a hole, and its status has the number of the last one.
    LineNumbers,
    /// A status has its command, and its word agrees with its exit code, which alone is evaluated.
    Status,
    /// A heartbeat follows directly after each status, and completes the operation.
    HeartbeatAfterStatus,
    /// The heartbeat that completes a successful command says that the part it changed is up to date.
    Incomplete,
    /// A second exit code 0 for the same command before a heartbeat crashes existing dashboards.
    RepeatedSuccess,
    /// `stop`, `kill` and repeats are never rejected, because a rejection marks the tracked command as
    /// failed.
    Rejection,
    /// The agent registers again after a switch, which completes it.
    UnfinishedSwitch,
    /// The state `working` ends after some time.
    Working,
    /// Progress has known parts, the correct totals, and no more results than are shown.
    Progress,
}

impl Rule {
    /// The name in the HTTP API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Malformed => "malformed",
            Self::Size => "size",
            Self::RegisterFirst => "register_first",
            Self::BeforeRegistered => "before_registered",
            Self::Hostname => "hostname",
            Self::Register => "register",
            Self::Heartbeat => "heartbeat",
            Self::Empty => "empty",
            Self::Forgotten => "forgotten",
            Self::Generation => "generation",
            Self::Output => "output",
            Self::Unannounced => "unannounced",
            Self::Unasked => "unasked",
            Self::OutputAfterStatus => "output_after_status",
            Self::LineNumbers => "line_numbers",
            Self::Status => "status",
            Self::HeartbeatAfterStatus => "heartbeat_after_status",
            Self::Incomplete => "incomplete",
            Self::RepeatedSuccess => "repeated_success",
            Self::Rejection => "rejection",
            Self::UnfinishedSwitch => "unfinished_switch",
            Self::Working => "working",
            Self::Progress => "progress",
        }
    }
}

/// A violated rule, and the explanation.
pub(super) type Breach = (Rule, String);

/// A violation of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Hostname, or `?` on a connection that has not registered.
    pub host: String,
    /// The violated rule.
    pub rule: Rule,
    /// What is wrong, for people.
    pub why: String,
    /// The beginning of the message.
    pub message: String,
    /// When it was found, RFC 3339.
    pub at: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}: {}", self.host, self.rule.name(), self.why, self.message)
    }
}

/// All violations found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The first violations, in order.
    pub violations: Vec<Violation>,
    /// Count of violations of each rule.
    pub counts: BTreeMap<&'static str, u64>,
    /// Count of violations that are not in the list.
    pub dropped: u64,
}

/// The list of violations.
#[derive(Debug, Default)]
pub(super) struct Violations {
    verdict: Verdict,
    /// For each host, the count and the text of the newest one.
    hosts: HashMap<String, (u64, String)>,
}

impl Violations {
    pub(super) fn push(&mut self, mut violation: Violation) {
        // It may quote the message, and is shown as a line.
        violation.why = one_line(&violation.why, WHY);
        let Violation { host, why, message, .. } = &violation;
        warn!(host, rule = violation.rule.name(), said = message, "violation: {why}");
        *self.verdict.counts.entry(violation.rule.name()).or_default() += 1;
        if self.hosts.len() < HOSTS || self.hosts.contains_key(&violation.host) {
            let (count, newest) = self.hosts.entry(violation.host.clone()).or_default();
            *count += 1;
            *newest = violation.to_string();
        }
        if self.verdict.violations.len() < KEPT {
            self.verdict.violations.push(violation);
        } else {
            self.verdict.dropped += 1;
        }
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.verdict.clone()
    }

    pub(super) fn count(&self) -> u64 {
        self.verdict.violations.len() as u64 + self.verdict.dropped
    }

    pub(super) fn of_host(&self, host: &str) -> (u64, Option<String>) {
        self.hosts.get(host).map_or((0, None), |(count, newest)| (*count, Some(newest.clone())))
    }
}
