//! The strict mode: a dashboard that needs what existing NixFleet dashboards need, and says when it
//! does not get it.
//!
//! ```text
//! hub --- heard(text), sent(text), registered, gone ---> Judge --- breaches ---> Violations
//!                                                          |
//!                           shape: one message by itself --+-- conversation: one host, over time
//! ```
//!
//! An existing dashboard drops what it cannot read without a word, judges commands by few fields, and
//! falls over some sequences. None of that shows on the agent's side, so it is checked here, on the text
//! as it came: `5.0` where an integer belongs is gone once the text has become a message.
//!
//! Nothing here waits, does IO or looks at a clock.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

use super::hub::{Moment, is_hostname};
use super::view::rfc3339;

use conversation::Conversation;
use violations::Violations;
pub use violations::{Rule, Verdict, Violation};

mod conversation;
mod progress;
mod requests;
mod shape;
mod violations;

#[cfg(test)]
mod tests;

/// The longest message that leaves room for what a proxy adds below the 512 KiB at which existing
/// dashboards close with 1009.
const MAX_MESSAGE: usize = nixfleet_protocol::MAX_SENT_BYTES;

/// Characters of a message that a violation shows.
const SHOWN: usize = 300;

/// Under this name stand connections that have not registered.
const NOBODY: &str = "?";

/// The times of a strict dashboard; the defaults are those that existing dashboards were seen to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strict {
    /// Between two pings.
    pub ping_interval: Duration,
    /// Silence after which a connection is cut.
    pub silence_limit: Duration,
    /// From a `register` to its answer. Existing dashboards write to their database first; whoever does
    /// not wait for `registered` is caught within this time.
    pub registered_after: Duration,
    /// From the good status of a switch to the `register` that completes it.
    pub switch_patience: Duration,
    /// For how long a host may say that its system is being worked on.
    pub working_limit: Duration,
}

impl Default for Strict {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(54),
            silence_limit: Duration::from_secs(60),
            registered_after: Duration::from_millis(50),
            // The agent waits a second for what the new system is; a slow host takes a few.
            switch_patience: Duration::from_secs(10),
            working_limit: Duration::from_secs(4 * 60),
        }
    }
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ruling {
    /// It is taken, whatever else was wrong with it.
    Take,
    /// An existing dashboard cannot read it, and drops it without a word.
    Drop,
}

/// A message as the judge sees it.
struct Heard<'a> {
    kind: &'a str,
    payload: &'a Value,
}

/// What a rule found.
type Breach = (Rule, String);

/// Listens to all agents.
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

    /// A text frame came on this connection. `host` is who has registered on it, if anybody has.
    pub(super) fn heard(&mut self, moment: Moment, session: u64, host: Option<&str>, text: &str) -> Ruling {
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
        let heard = Heard { kind, payload: value.get("payload").unwrap_or(&Value::Null) };
        let host = host.or_else(|| hostname(&heard));
        let ruling = self.judge(moment.now, session, host, &heard, text, &mut breaches);
        self.record(moment, host, breaches, text);
        ruling
    }

    fn judge(
        &mut self,
        now: Instant,
        session: u64,
        host: Option<&str>,
        heard: &Heard<'_>,
        text: &str,
        breaches: &mut Vec<Breach>,
    ) -> Ruling {
        if let Some(breach) = shape::integers(heard) {
            breaches.push(breach);
            return Ruling::Drop;
        }
        let shape = shape::check(heard);
        let fine = shape.is_empty();
        breaches.extend(shape);
        if let Some(breach) = shape::unreadable(text) {
            // One reason is enough, and what the rules say is clearer than what the decoder says.
            breaches.extend(Some(breach).filter(|_| fine));
            return Ruling::Drop;
        }
        let Some(host) = host else {
            breaches.push((Rule::RegisterFirst, format!("`{}` came before `register`", heard.kind)));
            return Ruling::Take;
        };
        let conversation = self.hosts.entry(host.to_owned()).or_default();
        breaches.extend(conversation.overdue(now));
        breaches.extend(conversation.heard(&self.limits, now, session, heard));
        Ruling::Take
    }

    /// A text frame went out to this host: if it asks for a command, the answer is awaited.
    pub(super) fn sent(&mut self, host: &str, text: &str) {
        self.hosts.entry(host.to_owned()).or_default().sent(text);
    }

    /// `registered` went out on this connection.
    pub(super) fn answered(&mut self, host: &str, session: u64) {
        self.hosts.entry(host.to_owned()).or_default().answered(session);
    }

    /// A message above the hard limit, of which nothing is known but that.
    pub(super) fn oversized(&mut self, moment: Moment, host: Option<&str>, why: &str) {
        self.record(moment, host, vec![(Rule::Size, "it was closed with 1009".to_owned())], why);
    }

    /// A connection has ended. What it still owed comes on the next one.
    pub(super) fn gone(&mut self, host: &str, session: u64) {
        if let Some(conversation) = self.hosts.get_mut(host) {
            conversation.gone(session);
        }
    }

    /// What was found so far. What is overdue now is found by this very look.
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

    /// How many violations there are.
    pub(super) fn count(&self) -> u64 {
        self.violations.count()
    }

    /// How many of this host, and the newest.
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

/// Who speaks, by its own word: the first message of a connection says so.
fn hostname<'a>(heard: &Heard<'a>) -> Option<&'a str> {
    let name = heard.payload.get("hostname")?.as_str()?;
    (heard.kind == "register" && is_hostname(name)).then_some(name)
}
