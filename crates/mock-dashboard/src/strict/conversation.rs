//! One host over time: what it owes, what it said before.

use serde_json::Value;
use tokio::time::Instant;

use super::requests::Requests;
use super::shape::text;
use super::{Breach, Heard, Rule, Strict};

/// Commands after which dashboards wait for another registration.
const DEPLOYING: [&str; 3] = ["switch", "pull-switch", "rollback"];

/// A status that no heartbeat has followed yet.
#[derive(Debug)]
struct Owed {
    command: String,
    success: bool,
}

/// A switch that ended well, and until when the agent has to register.
#[derive(Debug)]
struct Switch {
    command: String,
    until: Instant,
}

/// Since when a host says that its system is being worked on.
#[derive(Debug)]
struct Working {
    since: Instant,
    /// Said once is enough.
    told: bool,
}

/// What has been said between a host and the dashboard, as far as a rule needs it.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    /// The newest connection; 0 before the first.
    session: u64,
    /// `registered` went out on it.
    answered: bool,
    requests: Requests,
    owed: Option<Owed>,
    switch: Option<Switch>,
    working: Option<Working>,
    /// The newest `generation` that says something.
    generation: Option<String>,
    /// The newest `lock_hash`.
    lock_hash: Option<String>,
}

impl Conversation {
    /// A message that could be read.
    pub(super) fn heard(
        &mut self,
        limits: &Strict,
        now: Instant,
        session: u64,
        heard: &Heard<'_>,
    ) -> Vec<Breach> {
        let payload = heard.payload;
        if heard.kind == "register" {
            return self.registers(session, payload);
        }
        if session != self.session {
            // Of a connection that a newer one has replaced: nobody listens to it.
            return Vec::new();
        }
        if !self.answered {
            return vec![(Rule::BeforeRegistered, format!("`{}` came before `registered`", heard.kind))];
        }
        match heard.kind {
            "heartbeat" => self.beats(limits, now, payload),
            "output" => {
                self.owes(heard.kind).into_iter().chain(self.requests.output(payload, session)).collect()
            }
            "test_progress" | "operation_progress" => self.owes(heard.kind).into_iter().collect(),
            "status" => self.ends(limits, now, payload),
            "command_rejected" => self.requests.rejected(payload).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn registers(&mut self, session: u64, payload: &Value) -> Vec<Breach> {
        if session != self.session {
            self.requests.reconnected(self.session == 0, payload);
            self.session = session;
            self.answered = false;
        }
        self.switch = None;
        self.forgets(payload).into_iter().collect()
    }

    fn beats(&mut self, limits: &Strict, now: Instant, payload: &Value) -> Vec<Breach> {
        self.owed = None;
        self.requests.pending(text(payload, "pending_command"));
        let lock_hash = text(payload, "lock_hash");
        let forgotten = self.lock_hash.as_ref().filter(|_| lock_hash.is_none());
        let forgotten = forgotten.map(|known| (Rule::Forgotten, format!("`lock_hash` was {known}")));
        self.lock_hash = lock_hash.map(str::to_owned);
        let forgets = self.forgets(payload);
        forgets.into_iter().chain(forgotten).chain(self.works(limits, now, payload)).collect()
    }

    fn forgets(&mut self, payload: &Value) -> Option<Breach> {
        let known = text(payload, "generation").filter(|generation| *generation != "unknown");
        if let Some(known) = known {
            self.generation = Some(known.to_owned());
            return None;
        }
        // An empty one has a rule of its own, which says the same.
        text(payload, "generation")?;
        let known = self.generation.take()?;
        Some((Rule::Forgotten, format!("`generation` was {known}")))
    }

    fn works(&mut self, limits: &Strict, now: Instant, payload: &Value) -> Option<Breach> {
        let status = payload.pointer("/update_status/system/status").and_then(Value::as_str);
        if status != Some("working") {
            self.working = None;
            return None;
        }
        let working = self.working.get_or_insert(Working { since: now, told: false });
        let took = now.duration_since(working.since);
        if took <= limits.working_limit || std::mem::replace(&mut working.told, true) {
            return None;
        }
        Some((Rule::Working, format!("`system` has been `working` for {} s", took.as_secs())))
    }

    fn ends(&mut self, limits: &Strict, now: Instant, payload: &Value) -> Vec<Breach> {
        let command = text(payload, "command").unwrap_or_default();
        let success = payload.get("exit_code").and_then(Value::as_i64) == Some(0);
        let repeated = |owed: &Owed| success && owed.success && owed.command == command;
        let early = if self.owed.as_ref().is_some_and(repeated) {
            Some((
                Rule::RepeatedSuccess,
                format!("`{command}` succeeded twice without a heartbeat in between"),
            ))
        } else {
            self.owes("status")
        };
        self.owed = Some(Owed { command: command.to_owned(), success });
        if success && DEPLOYING.contains(&command) {
            self.switch = Some(Switch { command: command.to_owned(), until: now + limits.switch_patience });
        }
        early.into_iter().chain(self.requests.ended(payload, self.session)).collect()
    }

    /// A heartbeat must have come before this message.
    fn owes(&self, kind: &str) -> Option<Breach> {
        let Owed { command, .. } = self.owed.as_ref()?;
        Some((
            Rule::HeartbeatAfterStatus,
            format!("`{kind}` came before the heartbeat that belongs to the status of `{command}`"),
        ))
    }

    /// What should have come by now.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<Breach> {
        let Switch { command, .. } = self.switch.take_if(|switch| now > switch.until)?;
        Some((Rule::UnfinishedSwitch, format!("no `register` completed `{command}`")))
    }

    pub(super) fn sent(&mut self, message: &str) {
        self.requests.sent(message);
    }

    pub(super) fn answered(&mut self, session: u64) {
        self.answered |= session == self.session;
    }

    pub(super) fn gone(&mut self, session: u64) {
        if session == self.session {
            // The next connection begins with a `register`.
            self.switch = None;
        }
    }
}
