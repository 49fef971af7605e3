//! A host that has registered, on one connection.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use nixfleet_fleet::{Beat, Claim, said};
use nixfleet_protocol::{AgentMessage, DashboardMessage, HeartbeatAck, Pulse, Register};
use nixfleet_sessions::{Ended, Link, Outgoing, Verdicts, refuse};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::commands::Commands;
use super::pipe::{Answer, Item, Pipe};
use super::register::{self, Registered};
use super::{send, tell};
use crate::gate::{Gate, TRY_AGAIN, now_ms};

/// How long the last messages of a connection that has ended may take to be stored. The agent keeps them, and tells
/// them on its next connection; but a host that is switched off has none for a long time.
const LAST_LIMIT: Duration = Duration::from_secs(30);

/// Facts on their way to NATS.
type Storing = BoxFuture<'static, Result<(), String>>;

/// The host.
pub(super) struct Host {
    gate: Arc<Gate>,
    name: String,
    claim: Claim,
    interval: Duration,
    /// Whether a heartbeat has come: before it is not known what the host runs.
    has_beaten: bool,
    verdicts: Verdicts,
    commands: Commands,
    pipe: Pipe,
    /// Facts of a later `register`. Nothing is read until they are stored.
    storing: Option<Storing>,
    /// Counts messages that have no id of their own.
    messages: u64,
}

impl Host {
    /// A host that NATS knows of now.
    pub(super) fn new(gate: &Arc<Gate>, facts: &Register, registered: Registered) -> Self {
        let client = gate.bus.client();
        Self {
            gate: Arc::clone(gate),
            name: facts.hostname.clone(),
            claim: registered.claim,
            interval: gate.interval(facts.heartbeat_interval),
            has_beaten: false,
            verdicts: Verdicts::default(),
            commands: Commands::new(registered.commands, client, Arc::clone(&gate.figures)),
            pipe: Pipe::new(gate.bus.publish(), gate.room(), Arc::clone(&gate.figures)),
            storing: None,
            messages: 0,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether facts are being stored.
    pub(super) fn stores_facts(&self) -> bool {
        self.storing.is_some()
    }

    /// When to poll it although nothing woke it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.pipe.deadline()
    }

    /// Moves everything on as far as it goes without waiting.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, link: &Arc<Link>) -> Result<(), Ended> {
        if let Some(storing) = &mut self.storing
            && let Poll::Ready(stored) = storing.as_mut().poll(cx)
        {
            self.storing = None;
            stored.map_err(|why| self.gate.registration_failed(&self.name, &why))?;
            self.answer_register(link)?;
        }
        if self.has_beaten {
            self.commands.poll(cx, link, &mut self.verdicts);
        }
        self.pipe.poll(cx);
        self.answer(link)
    }

    /// Sends `registered`.
    pub(super) fn answer_register(&self, link: &Link) -> Result<(), Ended> {
        tell(link, &DashboardMessage::Registered(self.gate.registered(&self.name)))
    }

    /// Handles a later `register`: the facts have changed.
    pub(super) fn register_again(
        &mut self,
        cx: &mut Context<'_>,
        link: &Arc<Link>,
        facts: &Register,
        text: &str,
    ) -> Result<(), Ended> {
        if facts.hostname != self.name {
            return Err(refuse(1008, "a connection belongs to one hostname"));
        }
        self.interval = self.gate.interval(facts.heartbeat_interval);
        let text = Bytes::copy_from_slice(text.as_bytes());
        let (gate, host, connection) =
            (Arc::clone(&self.gate), self.name.clone(), self.claim.owner.connection);
        self.storing = Some(Box::pin(async move { register::store(&gate, &host, connection, text).await }));
        self.poll(cx, link)
    }

    /// Handles a heartbeat.
    pub(super) fn beat(
        &mut self,
        cx: &mut Context<'_>,
        link: &Arc<Link>,
        text: Utf8Bytes,
        pulse: &Pulse,
    ) -> Result<(), Ended> {
        let Beat { subject, headers } =
            Beat::new(&self.name, self.claim.owner.connection, now_ms(), self.interval);
        self.gate.bus.beat(subject, headers, text.into());
        self.verdicts.heartbeat(pulse.pending_command.as_deref());
        let is_first = !std::mem::replace(&mut self.has_beaten, true);
        if let Some(seq) = pulse.seq {
            self.pipe.answer(Answer::Ack(seq));
        }
        if is_first { self.poll(cx, link) } else { self.answer(link) }
    }

    /// Handles what the host says about its commands.
    pub(super) fn said(
        &mut self,
        cx: &mut Context<'_>,
        link: &Arc<Link>,
        text: &str,
        message: &AgentMessage,
    ) -> Result<(), Ended> {
        let Some(mut said) = said(&self.name, self.claim.owner.connection, now_ms(), message) else {
            return Ok(());
        };
        self.judge(message);
        if said.headers.get(NATS_MESSAGE_ID).is_none() {
            // It is stored once, however often it is tried. The agent does not send it again on another connection.
            self.messages += 1;
            let id = format!("{}.{}-{}", self.name, self.claim.owner.connection, self.messages);
            said.headers.insert(NATS_MESSAGE_ID, id);
        }
        let payload = Bytes::copy_from_slice(text.as_bytes());
        let item = Item { subjects: said.subjects, headers: said.headers, payload };
        if !self.pipe.push(item) {
            self.gate.figures.overflows.add();
            return Err(refuse(TRY_AGAIN, "too much waits for NATS"));
        }
        self.pipe.poll(cx);
        self.answer(link)
    }

    /// Handles a ping.
    pub(super) fn ping(
        &mut self,
        cx: &mut Context<'_>,
        link: &Arc<Link>,
        payload: Bytes,
    ) -> Result<(), Ended> {
        self.pipe.answer(Answer::Pong(payload));
        self.pipe.poll(cx);
        self.answer(link)
    }

    /// What a message says about the commands that wait for a verdict.
    fn judge(&mut self, message: &AgentMessage) {
        match message {
            AgentMessage::Output(output) => {
                let job = output.job_id.as_deref();
                self.verdicts.output(&output.command, job);
                self.verdicts.is_new_line(&output.command, job, output.seq);
            }
            AgentMessage::OutputBatch(batch) => {
                let job = Some(batch.job_id.as_str());
                self.verdicts.output(&batch.command, job);
                for line in &batch.lines {
                    self.verdicts.is_new_line(&batch.command, job, Some(line.seq));
                }
            }
            AgentMessage::Status(status) => {
                self.verdicts.ended(&status.command, status.job_id.as_deref());
            }
            AgentMessage::CommandRejected(rejection) => self.verdicts.rejected(rejection),
            _ => {}
        }
    }

    /// Answers pings and heartbeats before which everything is stored.
    fn answer(&mut self, link: &Link) -> Result<(), Ended> {
        while let Some(answer) = self.pipe.answerable() {
            match answer {
                Answer::Pong(payload) => send(link, Outgoing::Pong(payload))?,
                Answer::Ack(seq) => {
                    let ack = HeartbeatAck {
                        seq,
                        server_time: Some(nixfleet_os::timestamp()),
                        pending_messages: 0,
                        server_status: self.gate.status(),
                    };
                    tell(link, &DashboardMessage::HeartbeatAck(ack))?;
                }
            }
        }
        Ok(())
    }

    /// Ends the connection: commands go elsewhere, what was said is stored, and then the host is given up.
    pub(super) fn leave(self: Box<Self>, why: String) -> impl Future<Output = ()> + Send + use<> {
        let Self { gate, name, claim, pipe, .. } = *self;
        gate.directory.leave(&name, claim.owner.connection);
        async move {
            pipe.finish(LAST_LIMIT).await;
            register::leave(&gate, &name, claim, why).await;
        }
    }
}
