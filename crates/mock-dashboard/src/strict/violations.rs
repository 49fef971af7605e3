//! What was found: a bounded list, and counts of all.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use serde::Serialize;
use tracing::warn;

/// Violations kept with their text. The first ones: what comes later often follows from them.
pub(super) const KEPT: usize = 200;

/// Hosts of which the newest violation is kept. More than a test or a demo has, and a bound.
const HOSTS: usize = 1000;

/// What an existing dashboard needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Integers are integers: `5.0` costs the whole message.
    Integer,
    /// JSON, and types as documented: anything else costs the whole message.
    Malformed,
    /// At most 256 KiB; above 512 KiB the connection is closed with 1009.
    Size,
    /// `register` is the first message of a connection.
    RegisterFirst,
    /// Nothing but `register` before `registered`.
    BeforeRegistered,
    /// The hostname becomes the name of a folder.
    Hostname,
    /// Every field of T01, and words within their sets.
    Register,
    /// The five fields of T02, always.
    Heartbeat,
    /// `generation` and `nixpkgs_version` are never empty: an empty one overwrites what was stored.
    Empty,
    /// What was known once is sent for ever after.
    Forgotten,
    /// `output` has its `command` and its `is_error`.
    Output,
    /// Batches were not announced: they are dropped, and their lines with them.
    Unannounced,
    /// Output and statuses belong to a command that was asked for.
    Unasked,
    /// Output comes before the status of its command.
    OutputAfterStatus,
    /// A status has its command, and its word agrees with its exit code, the only thing that counts.
    Status,
    /// A heartbeat directly after each status completes the operation.
    HeartbeatAfterStatus,
    /// A second exit code 0 for the same command before a heartbeat crashes the hub.
    RepeatedSuccess,
    /// A rejection marks the tracked command as failed, so `stop`, `kill` and repeats never get one.
    Rejection,
    /// A switch is complete when the agent registers again.
    UnfinishedSwitch,
    /// `working` must end some time.
    Working,
    /// Progress has known parts, their totals, and no more results than are shown.
    Progress,
}

impl Rule {
    /// The name, as the HTTP API has it.
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
            Self::Output => "output",
            Self::Unannounced => "unannounced",
            Self::Unasked => "unasked",
            Self::OutputAfterStatus => "output_after_status",
            Self::Status => "status",
            Self::HeartbeatAfterStatus => "heartbeat_after_status",
            Self::RepeatedSuccess => "repeated_success",
            Self::Rejection => "rejection",
            Self::UnfinishedSwitch => "unfinished_switch",
            Self::Working => "working",
            Self::Progress => "progress",
        }
    }
}

/// One breach of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Hostname, or `?` on a connection that has not registered.
    pub host: String,
    /// Which rule.
    pub rule: Rule,
    /// What is wrong.
    pub why: String,
    /// The beginning of the message in question.
    pub message: String,
    /// When it was found, RFC 3339.
    pub at: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}: {}", self.host, self.rule.name(), self.why, self.message)
    }
}

/// Everything that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The first ones, in order.
    pub violations: Vec<Violation>,
    /// How often each rule was broken.
    pub counts: BTreeMap<&'static str, u64>,
    /// How many are not in the list, which is bounded.
    pub dropped: u64,
}

/// The list.
#[derive(Debug, Default)]
pub(super) struct Violations {
    verdict: Verdict,
    /// By host: how many, and the newest as text.
    hosts: HashMap<String, (u64, String)>,
}

impl Violations {
    pub(super) fn push(&mut self, violation: Violation) {
        let Violation { host, why, message: said, .. } = &violation;
        warn!(host, rule = violation.rule.name(), said, "violation: {why}");
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
