//! What an agent says.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use nixfleet_os::text::one_line;
use nixfleet_protocol::{AgentMessage, DashboardMessage, DecodeError, Register, encode};
use nixfleet_sessions::{Ended, Link, Outgoing, refuse};

use super::Session;
use crate::hub::Registration;
use crate::moment::Moment;
use crate::policy::Policy;
use crate::strict::Ruling;

/// Most characters of what the log quotes of an agent: a sentence with a name.
const QUOTED: usize = 200;

impl Session {
    /// Handles one text frame.
    pub(super) fn said(&mut self, link: &Arc<Link>, text: &str) -> Result<(), Ended> {
        let (id, session) = (self.id.as_deref(), link.session);
        if self.shared.is_strict()
            && self.shared.apply(|hub, moment| hub.judge(moment, session, id, text)) == Ruling::Drop
        {
            self.ignore(text.len(), "a message that existing dashboards cannot read");
            return Ok(());
        }
        let message = match AgentMessage::decode(text) {
            Ok(message) => message,
            Err(_) if self.id.is_none() => return Err(refuse(1008, "the first message must be register")),
            Err(DecodeError::UnknownType(kind)) => {
                self.ignore(text.len(), &format!("a message of unknown type `{kind}`"));
                return Ok(());
            }
            Err(DecodeError::Malformed(error)) => {
                self.ignore(text.len(), &format!("a malformed message ({error})"));
                return Ok(());
            }
        };
        match (message, &self.id) {
            (AgentMessage::Register(facts), _) => self.register(link, *facts, text),
            (_, None) => Err(refuse(1008, "the first message must be register")),
            (message, Some(id)) => {
                match &message {
                    AgentMessage::Heartbeat(beat) => {
                        let pending = beat.pending_command.as_deref().unwrap_or("-");
                        debug!(host = %id, pending = one_line(pending, QUOTED), "heartbeat from {id}");
                    }
                    AgentMessage::Status(status) => {
                        let command = one_line(&status.command, QUOTED);
                        info!(host = %id, %command, exit_code = status.exit_code, "a command ended");
                    }
                    AgentMessage::CommandRejected(_) => info!(host = %id, "the agent rejected a command"),
                    _ => {}
                }
                let ack = self.to_acknowledge(&message);
                self.shared.apply(|hub, moment| {
                    hub.receive(moment, id, session, text, message);
                    if let Some((seq, policy)) = ack {
                        hub.acknowledge(id, seq, &policy);
                    }
                });
                Ok(())
            }
        }
    }

    /// The `seq` of a heartbeat that has to be acknowledged, and the policy for the acknowledgement.
    fn to_acknowledge(&self, message: &AgentMessage) -> Option<(u64, Policy)> {
        let AgentMessage::Heartbeat(beat) = message else { return None };
        let silent = self.shared.is_legacy() || self.shared.faults.borrow().never_ack;
        let policy = self.shared.policy.borrow();
        (policy.ack && !silent).then(|| Some((beat.seq?, policy.clone())))?
    }

    fn register(&mut self, link: &Arc<Link>, facts: Register, text: &str) -> Result<(), Ended> {
        if self.id.as_ref().is_some_and(|id| *id != facts.hostname) {
            return Err(refuse(1008, "a connection belongs to one hostname"));
        }
        let id = facts.hostname.clone();
        let wished = self.shared.policy.borrow().heartbeat_interval.filter(|_| !self.shared.is_legacy());
        let registration =
            self.shared.apply(|hub, moment: Moment| hub.register(moment, link, text, facts, wished));
        match registration {
            Registration::Refused(reason) => return Err(refuse(1008, reason)),
            Registration::Accepted { replaced: None } => {}
            Registration::Accepted { replaced: Some(old) } => {
                warn!(host = %id, "a second agent took over this hostname");
                let strict = self.shared.is_strict();
                let finish = if strict { Outgoing::EmptyClose } else { Outgoing::replaced() };
                if old.send(finish).is_err() {
                    old.cut();
                }
            }
        }
        info!(host = %id, session = link.session, "agent registered");
        self.id = Some(id);
        if self.shared.faults.borrow().no_registered {
            return Ok(());
        }
        if self.shared.is_strict() {
            self.answer_at = Some(Instant::now() + self.shared.times.registered_after);
            return Ok(());
        }
        self.answer(link)
    }

    /// Sends `registered`.
    pub(super) fn answer(&mut self, link: &Link) -> Result<(), Ended> {
        self.answer_at = None;
        let Some(id) = &self.id else { return Ok(()) };
        let registered = self.shared.policy.borrow().registered(id, self.shared.is_legacy());
        let answer = encode(&DashboardMessage::Registered(registered));
        if link.send(Outgoing::text(answer)).is_err() {
            return Err(Ended::Gone("its queue is full"));
        }
        if self.shared.is_strict() {
            self.shared.apply(|hub, _| hub.answered(id, link.session));
        }
        Ok(())
    }

    pub(super) fn ignore(&self, bytes: usize, what: &str) {
        let (host, what) = (self.id.as_deref().unwrap_or("?"), one_line(what, QUOTED));
        if self.shared.is_strict() {
            // Existing dashboards ignore it silently. A violation has been recorded already.
            debug!(host, bytes, "ignored {what}");
        } else {
            warn!(host, bytes, "ignored {what}");
        }
        self.shared.apply(|hub, _| hub.ignored_frame(host));
    }
}
