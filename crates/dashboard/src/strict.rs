//! The strict mode: a dashboard with the needs of existing NixFleet dashboards. It reports messages that do
//! not meet them.
//!
//! ```text
//! hub --- received(text), sent(text), answered, disconnected ---> Judge --- breaches ---> Violations
//!                                                                   |
//!                                       shape: a single message ----+---- conversation: one host over time
//! ```
//!
//! An existing dashboard silently drops what it cannot read, evaluates few fields of a status, and crashes on
//! some sequences. An agent does not see that, so it is checked here. The check uses the text of the message,
//! because a decoded message does not show whether an integer was written as `5.0`.
//!
//! Nothing here waits, does I/O or reads a clock.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use nixfleet_protocol::is_hostname;

use crate::moment::Moment;
use crate::moment::rfc3339;

use conversation::Conversation;
use violations::{Breach, Violations};

pub use violations::{Rule, Verdict, Violation};

mod completion;
mod conversation;
mod generation;
mod line_numbers;
mod progress;
mod requests;
mod shape;
mod violations;

#[cfg(test)]
mod tests;

/// The longest allowed message, in bytes. Existing dashboards close with code 1009 above 512 KiB; this leaves
/// room for what a proxy adds.
const MAX_MESSAGE: usize = nixfleet_protocol::MAX_SENT_BYTES;

/// Characters of a message that a violation shows.
const SHOWN: usize = 300;

/// Stands for the hostname of a connection that has not registered.
const NOBODY: &str = "?";

/// Time limits of the strict mode. The defaults are those of existing dashboards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strict {
    /// Time between two pings.
    pub ping_interval: Duration,
    /// Silence after which a connection is dropped.
    pub silence_limit: Duration,
    /// Time from a `register` to its answer. Existing dashboards write to their database first. An agent that
    /// does not wait for `registered` is detected within this time.
    pub registered_after: Duration,
    /// Longest time from the successful status of a switch to the `register` that completes it.
    pub switch_limit: Duration,
    /// How long a host may report the state `working` for its system.
    pub working_limit: Duration,
}

impl Default for Strict {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(54),
            silence_limit: Duration::from_secs(60),
            registered_after: Duration::from_millis(50),
            // The agent examines the new system for a second; a slow host needs some seconds.
            switch_limit: Duration::from_secs(10),
            working_limit: Duration::from_secs(4 * 60),
        }
    }
}

/// Whether a message is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ruling {
    /// It is handled, even if it violates a rule.
    Take,
    /// An existing dashboard cannot read it, and drops it silently.
    Drop,
}

/// A received message.
struct Received<'a> {
    kind: &'a str,
    payload: &'a Value,
}

/// Checks the messages of all agents.
#[derive(Debug, Default)]
pub(super) struct Judge {
    limits: Strict,
    hosts: BTreeMap<String, Conversation>,
    violations: Violations,
}

impl Judge {
    pub(super) fn new(limits: Strict) -> Self {
        Self { limits, ..Self::default() }
    }

    /// A text frame arrived on this connection. `host` is the hostname registered on it, if any.
    pub(super) fn received(
        &mut self,
        moment: Moment,
        session: u64,
        host: Option<&str>,
        text: &str,
    ) -> Ruling {
        let mut breaches = Vec::new();
        if text.len() > MAX_MESSAGE {
            breaches.push((Rule::Size, format!("{} bytes are above {MAX_MESSAGE}", text.len())));
        }
        let Ok(value) = serde_json::from_str::<Value>(text) else {
            breaches.push((Rule::Malformed, "it is not JSON".to_owned()));
            self.record(moment, host, breaches, text);
            return Ruling::Drop;
        };
        let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
        let received = Received { kind, payload: value.get("payload").unwrap_or(&Value::Null) };
        let host = host.or_else(|| hostname(&received));
        let ruling = self.judge(moment.now, session, host, &received, text, &mut breaches);
        self.record(moment, host, breaches, text);
        ruling
    }

    fn judge(
        &mut self,
        now: Instant,
        session: u64,
        host: Option<&str>,
        received: &Received<'_>,
        text: &str,
        breaches: &mut Vec<Breach>,
    ) -> Ruling {
        if let Some(breach) = shape::integers(received) {
            breaches.push(breach);
            return Ruling::Drop;
        }
        let shape = shape::check(received);
        let fine = shape.is_empty();
        breaches.extend(shape);
        if let Some(breach) = shape::unreadable(text) {
            // One explanation is enough, and that of a rule is clearer than that of the decoder.
            breaches.extend(Some(breach).filter(|_| fine));
            return Ruling::Drop;
        }
        let Some(host) = host else {
            breaches.push((Rule::RegisterFirst, format!("`{}` came before `register`", received.kind)));
            return Ruling::Take;
        };
        let conversation = self.hosts.entry(host.to_owned()).or_default();
        breaches.extend(conversation.overdue(now));
        breaches.extend(conversation.received(&self.limits, now, session, received));
        Ruling::Take
    }

    /// A text frame was sent to this host. If it requests a command, an answer is expected.
    pub(super) fn sent(&mut self, host: &str, text: &str) {
        self.hosts.entry(host.to_owned()).or_default().sent(text);
    }

    /// `registered` was sent on this connection.
    pub(super) fn answered(&mut self, host: &str, session: u64) {
        self.hosts.entry(host.to_owned()).or_default().answered(session);
    }

    /// A message was above the hard limit, so it was not read.
    pub(super) fn oversized(&mut self, moment: Moment, host: Option<&str>, why: &str) {
        self.record(moment, host, vec![(Rule::Size, "it was closed with 1009".to_owned())], why);
    }

    /// A connection has ended. Missing messages are expected on the next one.
    pub(super) fn disconnected(&mut self, host: &str, session: u64) {
        if let Some(conversation) = self.hosts.get_mut(host) {
            conversation.disconnected(session);
        }
    }

    /// The violations found so far, including messages that are overdue now.
    pub(super) fn verdict(&mut self, moment: Moment) -> Verdict {
        let overdue: Vec<(String, Breach)> = self
            .hosts
            .iter_mut()
            .filter_map(|(host, conversation)| Some((host.clone(), conversation.overdue(moment.now)?)))
            .collect();
        for (host, breach) in overdue {
            self.record(moment, Some(&host), vec![breach], "nothing came");
        }
        self.violations.verdict()
    }

    /// Count of violations.
    pub(super) fn count(&self) -> u64 {
        self.violations.count()
    }

    /// Count of violations of this host, and the newest one.
    pub(super) fn of_host(&self, host: &str) -> (u64, Option<String>) {
        self.violations.of_host(host)
    }

    fn record(&mut self, moment: Moment, host: Option<&str>, breaches: Vec<Breach>, text: &str) {
        let shown: String = text.chars().take(SHOWN).collect();
        for (rule, why) in breaches {
            self.violations.push(Violation {
                host: host.unwrap_or(NOBODY).to_owned(),
                rule,
                why,
                message: shown.clone(),
                at: rfc3339(moment.unix_ms),
            });
        }
    }
}

/// The hostname that a `register` contains.
fn hostname<'a>(received: &Received<'a>) -> Option<&'a str> {
    let name = received.payload.get("hostname")?.as_str()?;
    (received.kind == "register" && is_hostname(name)).then_some(name)
}
