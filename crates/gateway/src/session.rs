//! One agent's connection, as the gateway decides about it.
//!
//! ```text
//! register  --> claim, facts, subscription (register) --> `registered`
//! heartbeat --> published or dropped at once
//! the rest  --> pipe --> NATS; pings and heartbeats are answered when all before them is stored
//! fleet.cmd.HOST --> commands --> the agent, and the verdict back
//! ```

mod commands;
mod host;
mod pipe;
mod register;

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use nixfleet_os::text::one_line;
use nixfleet_protocol::{AgentMessage, DashboardMessage, DecodeError, Pulse, Register, encode, is_hostname};
use nixfleet_sessions::{Controls, Ended, Link, Outgoing, Rules, Socket, refuse};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tracing::{debug, info};

use crate::gate::{Gate, now_ms};
use crate::identity::Identity;

use host::Host;
use register::{Newcomer, Registered};

/// Most characters of what the log quotes of an agent.
const QUOTED: usize = 200;

/// Which part of its life a connection is in.
enum Stage {
    /// Nothing was said yet.
    Silent,
    /// The first `register` was read.
    Registering(Box<Register>, BoxFuture<'static, Result<Registered, String>>),
    /// The host is known.
    Registered(Box<Host>),
}

/// The rules of one connection.
struct Session {
    gate: Arc<Gate>,
    peer: SocketAddr,
    identity: Identity,
    stage: Stage,
}

/// Serves one agent until its connection ends.
pub(crate) fn serve(
    gate: Arc<Gate>,
    peer: SocketAddr,
    identity: Identity,
    socket: Socket,
) -> impl Future<Output = ()> {
    let (link, times) = (Link::new(gate.next_session()), gate.policy.times);
    let session = Session { gate, peer, identity, stage: Stage::Silent };
    nixfleet_sessions::run(link, socket, times, session)
}

impl Session {
    /// Handles the first message.
    fn first(&mut self, cx: &mut Context<'_>, link: &Arc<Link>, text: &str) -> Result<(), Ended> {
        let Ok(AgentMessage::Register(facts)) = AgentMessage::decode(text) else {
            return Err(refuse(1008, "the first message must be register"));
        };
        if !is_hostname(&facts.hostname) {
            return Err(refuse(1008, "the hostname must be 1 to 63 of A-Z a-z 0-9 -"));
        }
        if !self.identity.may_be(&facts.hostname) {
            let host = &facts.hostname;
            info!(%host, peer = %self.peer, "refused: what it has shown is of another host");
            return Err(refuse(1008, "this token or certificate is of another host"));
        }
        let newcomer = Newcomer {
            host: facts.hostname.clone(),
            link: Arc::clone(link),
            identity: self.identity.clone(),
            register: Bytes::copy_from_slice(text.as_bytes()),
            since_ms: now_ms(),
        };
        let registering = register::register(Arc::clone(&self.gate), newcomer);
        self.stage = Stage::Registering(facts, Box::pin(registering));
        self.registering(cx, link)
    }

    /// Looks whether NATS knows of the connection now.
    fn registering(&mut self, cx: &mut Context<'_>, link: &Arc<Link>) -> Result<(), Ended> {
        let Stage::Registering(_, registering) = &mut self.stage else { return Ok(()) };
        let Poll::Ready(registered) = registering.as_mut().poll(cx) else { return Ok(()) };
        // It has ended, whatever comes of it, and must not be asked again.
        let Stage::Registering(facts, _) = std::mem::replace(&mut self.stage, Stage::Silent) else {
            return Ok(());
        };
        let registered = registered.map_err(|why| self.gate.registration_failed(&facts.hostname, &why))?;
        let connection = registered.claim.owner.connection;
        info!(host = %facts.hostname, session = link.session, connection, peer = %self.peer, "agent registered");
        // Whatever fails from now on, the host has to be given up at the end.
        self.stage = Stage::Registered(Box::new(Host::new(&self.gate, &facts, registered)));
        let Stage::Registered(host) = &mut self.stage else { return Ok(()) };
        host.answer_register(link)?;
        host.poll(cx, link)
    }
}

impl Rules for Session {
    fn poll(&mut self, cx: &mut Context<'_>, link: &Arc<Link>) -> Result<(), Ended> {
        match &mut self.stage {
            Stage::Silent => Ok(()),
            Stage::Registering(..) => self.registering(cx, link),
            Stage::Registered(host) => host.poll(cx, link),
        }
    }

    fn controls(&self) -> Controls {
        let stop_reading = match &self.stage {
            Stage::Silent => false,
            Stage::Registering(..) => true,
            Stage::Registered(host) => host.stores_facts(),
        };
        Controls { hold_pongs: true, stop_reading }
    }

    fn text(&mut self, cx: &mut Context<'_>, link: &Arc<Link>, text: Utf8Bytes) -> Result<(), Ended> {
        let host = match &mut self.stage {
            Stage::Silent => return self.first(cx, link, &text),
            // Nothing is read while NATS does not know of the connection.
            Stage::Registering(..) => return Ok(()),
            Stage::Registered(host) => host,
        };
        // Most messages are heartbeats, and the largest ones.
        if let Some(pulse) = Pulse::read(&text) {
            return host.beat(cx, link, text, &pulse);
        }
        match AgentMessage::decode(&text) {
            Ok(AgentMessage::Register(facts)) => host.register_again(cx, link, &facts, &text),
            Ok(AgentMessage::Heartbeat(beat)) => host.beat(cx, link, text, &Pulse::from(&*beat)),
            Ok(message) => host.said(cx, link, &text, &message),
            Err(DecodeError::UnknownType(kind)) => {
                self.ignored(text.len(), &format!("a message of unknown type `{kind}`"));
                Ok(())
            }
            Err(DecodeError::Malformed(error)) => {
                self.ignored(text.len(), &format!("a malformed message ({error})"));
                Ok(())
            }
        }
    }

    fn ping(&mut self, cx: &mut Context<'_>, link: &Arc<Link>, payload: Bytes) -> Result<(), Ended> {
        match &mut self.stage {
            Stage::Registered(host) => host.ping(cx, link, payload),
            // Nothing was said that would have to be stored first.
            Stage::Silent | Stage::Registering(..) => send(link, Outgoing::Pong(payload)),
        }
    }

    fn ignored(&mut self, bytes: usize, what: &str) {
        self.gate.figures.ignored.add();
        let host = match &self.stage {
            Stage::Registered(host) => host.name(),
            Stage::Silent | Stage::Registering(..) => "-",
        };
        debug!(%host, peer = %self.peer, bytes, "ignored {}", one_line(what, QUOTED));
    }

    fn is_registered(&self) -> bool {
        matches!(self.stage, Stage::Registered(_))
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Registered(host) => host.deadline(),
            Stage::Silent | Stage::Registering(..) => None,
        }
    }

    fn due(&mut self, cx: &mut Context<'_>, link: &Arc<Link>) -> Result<(), Ended> {
        self.poll(cx, link)
    }

    fn ended(&mut self, link: &Arc<Link>, ended: &Ended) {
        let (number, why) = (link.session, ended.to_string());
        match std::mem::replace(&mut self.stage, Stage::Silent) {
            Stage::Silent => {
                info!(peer = %self.peer, session = number, %why, "a connection ends without a registration");
            }
            Stage::Registering(facts, registering) => {
                info!(host = %facts.hostname, session = number, %why, "the connection ends while it registers");
                let gate = Arc::clone(&self.gate);
                self.gate.leaving.spawn(async move {
                    if let Ok(registered) = registering.await {
                        register::leave(&gate, &facts.hostname, registered.claim, why).await;
                    }
                });
            }
            Stage::Registered(host) => {
                info!(host = %host.name(), session = number, %why, "the agent's connection ends");
                self.gate.leaving.spawn(host.leave(why));
            }
        }
    }
}

/// Adds something to the queue of the agent.
fn send(link: &Link, outgoing: Outgoing) -> Result<(), Ended> {
    link.send(outgoing).map_err(|_| Ended::Gone("its queue is full"))
}

/// Adds a message to the queue of the agent.
fn tell(link: &Link, message: &DashboardMessage) -> Result<(), Ended> {
    send(link, Outgoing::text(encode(message)))
}
