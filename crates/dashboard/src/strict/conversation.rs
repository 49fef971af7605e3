//! The rules about one host over time: the order of messages, and values that must not disappear.

use serde_json::Value;
use tokio::time::Instant;

use super::completion;
use super::generation::Generations;
use super::requests::Requests;
use super::shape::text;
use super::violations::Breach;
use super::{Received, Rule, Strict};

/// Commands after which existing dashboards wait for another registration.
const DEPLOYING: [&str; 3] = ["switch", "pull-switch", "rollback"];

/// An ended command whose status has not been followed by a heartbeat yet.
#[derive(Debug)]
struct Ended {
    command: String,
    success: bool,
}

/// A successful switch, and the deadline for the `register` after it.
#[derive(Debug)]
struct Switch {
    command: String,
    deadline: Instant,
}

/// The time in which a host reports the state `working` for its system.
#[derive(Debug)]
struct Working {
    since: Instant,
    /// Whether the violation has been reported.
    reported: bool,
}

/// The messages between a host and the dashboard, as far as rules need them.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    /// The newest connection; 0 before the first.
    session: u64,
    /// Whether `registered` was sent on it.
    answered: bool,
    requests: Requests,
    unconfirmed: Option<Ended>,
    switch: Option<Switch>,
    working: Option<Working>,
    generations: Generations,
    /// The newest `lock_hash`.
    lock_hash: Option<String>,
}

impl Conversation {
    /// Handles a message that could be read.
    pub(super) fn received(
        &mut self,
        limits: &Strict,
        now: Instant,
        session: u64,
        received: &Received<'_>,
    ) -> Vec<Breach> {
        let payload = received.payload;
        if received.kind == "register" {
            return self.register(session, payload);
        }
        if session != self.session {
            // Messages of a replaced connection are ignored.
            return Vec::new();
        }
        if !self.answered {
            return vec![(Rule::BeforeRegistered, format!("`{}` came before `registered`", received.kind))];
        }
        match received.kind {
            "heartbeat" => self.heartbeat(limits, now, payload),
            "output" => self
                .missing_heartbeat(received.kind)
                .into_iter()
                .chain(self.requests.output(payload, session))
                .collect(),
            "test_progress" | "operation_progress" => {
                self.missing_heartbeat(received.kind).into_iter().collect()
            }
            "status" => self.status(limits, now, payload),
            "command_rejected" => self.requests.rejected(payload).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn register(&mut self, session: u64, payload: &Value) -> Vec<Breach> {
        if session != self.session {
            self.requests.reconnected(self.session == 0, payload);
            self.session = session;
            self.answered = false;
        }
        self.switch = None;
        self.generations.told("register", payload).into_iter().collect()
    }

    fn heartbeat(&mut self, limits: &Strict, now: Instant, payload: &Value) -> Vec<Breach> {
        let ended = self.unconfirmed.take().filter(|ended| ended.success);
        let incomplete = ended.and_then(|ended| completion::check(&ended.command, payload));
        self.requests.pending(text(payload, "pending_command"));
        let lock_hash = text(payload, "lock_hash");
        let forgotten = self.lock_hash.as_ref().filter(|_| lock_hash.is_none());
        let forgotten = forgotten.map(|known| (Rule::Forgotten, format!("`lock_hash` was {known}")));
        self.lock_hash = lock_hash.map(str::to_owned);
        let generation = self.generations.told("heartbeat", payload);
        incomplete
            .into_iter()
            .chain(generation)
            .chain(forgotten)
            .chain(self.check_working(limits, now, payload))
            .collect()
    }

    fn check_working(&mut self, limits: &Strict, now: Instant, payload: &Value) -> Option<Breach> {
        let status = payload.pointer("/update_status/system/status").and_then(Value::as_str);
        if status != Some("working") {
            self.working = None;
            return None;
        }
        let working = self.working.get_or_insert(Working { since: now, reported: false });
        let took = now.duration_since(working.since);
        if took <= limits.working_limit || std::mem::replace(&mut working.reported, true) {
            return None;
        }
        Some((Rule::Working, format!("`system` has been `working` for {} s", took.as_secs())))
    }

    fn status(&mut self, limits: &Strict, now: Instant, payload: &Value) -> Vec<Breach> {
        let command = text(payload, "command").unwrap_or_default();
        let success = payload.get("exit_code").and_then(Value::as_i64) == Some(0);
        let repeated = |unconfirmed: &Ended| success && unconfirmed.success && unconfirmed.command == command;
        let early = if self.unconfirmed.as_ref().is_some_and(repeated) {
            Some((
                Rule::RepeatedSuccess,
                format!("`{command}` succeeded twice without a heartbeat in between"),
            ))
        } else {
            self.missing_heartbeat("status")
        };
        self.unconfirmed = Some(Ended { command: command.to_owned(), success });
        if success && DEPLOYING.contains(&command) {
            self.switch = Some(Switch { command: command.to_owned(), deadline: now + limits.switch_limit });
        }
        let generation = self.generations.told("status", payload);
        early.into_iter().chain(generation).chain(self.requests.ended(payload, self.session)).collect()
    }

    /// A violation if a heartbeat should have come before this message.
    fn missing_heartbeat(&self, kind: &str) -> Option<Breach> {
        let Ended { command, .. } = self.unconfirmed.as_ref()?;
        Some((
            Rule::HeartbeatAfterStatus,
            format!("`{kind}` came before the heartbeat that belongs to the status of `{command}`"),
        ))
    }

    /// A violation if a message is overdue.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<Breach> {
        let Switch { command, .. } = self.switch.take_if(|switch| now > switch.deadline)?;
        Some((Rule::UnfinishedSwitch, format!("no `register` completed `{command}`")))
    }

    pub(super) fn sent(&mut self, message: &str) {
        self.requests.sent(message);
    }

    pub(super) fn answered(&mut self, session: u64) {
        self.answered |= session == self.session;
    }

    pub(super) fn disconnected(&mut self, session: u64) {
        if session == self.session {
            // The next connection begins with a `register`.
            self.switch = None;
        }
    }
}
