//! The simulated dashboard: it registers, asks, acknowledges, and notes every message for the auditor.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use jiff::Timestamp;
use nixfleet_protocol::AgentMessage;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use crate::faults::{Act, What};
use crate::machine::World;
use crate::network::{End, Wire};

/// What a dashboard saw or did on a connection.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    /// The connection is there.
    Opened,
    /// A message of the agent.
    Message(Box<AgentMessage>),
    /// It accepted the registration.
    Registered,
    /// It sent a request of this name.
    Asked(String),
    /// The agent has read everything that was sent before this number of requests.
    Read(usize),
    /// A text that is no message of the protocol.
    Odd(String),
    /// The connection has ended.
    Closed,
    /// The network was disturbed.
    Disturbed,
}

/// One line of its notes.
#[derive(Debug, Clone)]
pub(crate) struct Noted {
    pub(crate) at: Instant,
    pub(crate) wall: Timestamp,
    pub(crate) connection: usize,
    pub(crate) what: Seen,
}

#[derive(Default)]
struct State {
    connections: usize,
    /// The newest connection, its faults, and what it is to send; empty until it is registered.
    newest: Option<(usize, Wire, mpsc::UnboundedSender<Order>)>,
    registered: bool,
    /// Requests that wait for a registration.
    waiting: Vec<(String, Option<String>)>,
    asked: usize,
    notes: Vec<Noted>,
}

#[derive(Debug)]
enum Order {
    Texts(Vec<String>),
    Close,
    End,
}

/// The dashboard.
pub(crate) struct Dashboard {
    world: Arc<World>,
    state: Mutex<State>,
    /// How it is, for the whole run.
    manners: Manners,
}

/// How a dashboard is.
struct Manners {
    acks: bool,
    batches: bool,
    interval: Option<u64>,
    odd: bool,
}

impl Dashboard {
    pub(crate) fn new(world: &Arc<World>) -> Arc<Self> {
        let mut random = fastrand::Rng::with_seed(world.seed ^ 0xda5b);
        let manners = Manners {
            acks: random.bool(),
            batches: random.bool(),
            interval: (random.u32(..3) == 0).then(|| random.u64(2..8)),
            odd: random.u32(..4) == 0,
        };
        Arc::new(Self { world: Arc::clone(world), state: Mutex::default(), manners })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, connection: usize, what: Seen) {
        self.world.note(format_args!("dashboard {connection}: {}", described(&what)));
        let noted = Noted { at: Instant::now(), wall: self.world.wall_clock(), connection, what };
        self.state().notes.push(noted);
    }

    /// All notes.
    pub(crate) fn notes(&self) -> Vec<Noted> {
        self.state().notes.clone()
    }

    /// The interval that it asks for.
    pub(crate) fn interval(&self) -> Option<u64> {
        self.manners.interval
    }

    /// Whether an agent is registered.
    pub(crate) fn is_registered(&self) -> bool {
        self.state().registered
    }

    /// The faults of the newest connection. The auditor expects less of it afterwards.
    pub(crate) fn disturb(&self, change: impl FnOnce(&Wire)) {
        let newest = self.state().newest.as_ref().map(|(number, wire, _)| (*number, wire.clone()));
        if let Some((number, wire)) = newest {
            self.note(number, Seen::Disturbed);
            change(&wire);
        }
    }

    /// Changes the newest connection in a way that costs no heartbeat.
    pub(crate) fn quietly(&self, change: impl FnOnce(&Wire)) {
        if let Some((_, wire, _)) = &self.state().newest {
            change(wire);
        }
    }

    /// Takes a connection.
    pub(crate) fn accept(self: &Arc<Self>, end: End, wire: Wire) {
        let (orders, receiver) = mpsc::unbounded_channel();
        let number = {
            let mut state = self.state();
            state.connections += 1;
            let number = state.connections;
            state.newest = Some((number, wire, orders));
            state.registered = false;
            number
        };
        self.note(number, Seen::Opened);
        drop(tokio::spawn(Arc::clone(self).serve(number, end, receiver)));
    }

    async fn serve(self: Arc<Self>, number: usize, end: End, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut socket = WebSocketStream::from_raw_socket(end, Role::Server, None).await;
        loop {
            let done = tokio::select! {
                biased;
                frame = socket.next() => match frame {
                    Some(Ok(Message::Text(text))) => self.text(number, &text, &mut socket).await,
                    Some(Ok(Message::Pong(payload))) => self.pong(number, &payload),
                    Some(Ok(_)) => true,
                    Some(Err(_)) | None => false,
                },
                Some(order) = orders.recv() => self.carry_out(order, &mut socket).await,
            };
            if !done {
                break;
            }
        }
        let mut state = self.state();
        if state.newest.as_ref().is_some_and(|(newest, ..)| *newest == number) {
            state.registered = false;
            state.newest = None;
        }
        drop(state);
        self.note(number, Seen::Closed);
    }

    fn pong(&self, number: usize, payload: &[u8]) -> bool {
        if let Ok(count) = <[u8; 8]>::try_from(payload).map(u64::from_be_bytes) {
            self.note(number, Seen::Read(usize::try_from(count).unwrap_or(0)));
        }
        true
    }

    async fn carry_out(&self, order: Order, socket: &mut WebSocketStream<End>) -> bool {
        match order {
            Order::Texts(texts) => {
                for text in texts {
                    if socket.feed(Message::text(text)).await.is_err() {
                        return false;
                    }
                }
                // Its pong shows that the agent has read all requests up to here.
                let asked = (self.state().asked as u64).to_be_bytes().to_vec();
                socket.feed(Message::Ping(asked.into())).await.is_ok() && socket.flush().await.is_ok()
            }
            Order::Close => {
                let frame = CloseFrame { code: 1012.into(), reason: "restart".into() };
                drop(socket.send(Message::Close(Some(frame))).await);
                true
            }
            Order::End => false,
        }
    }

    async fn text(&self, number: usize, text: &str, socket: &mut WebSocketStream<End>) -> bool {
        let Ok(message) = AgentMessage::decode(text) else {
            self.note(number, Seen::Odd(text.to_owned()));
            return true;
        };
        let answer = match &message {
            AgentMessage::Register(_) => Some(None),
            AgentMessage::Heartbeat(heartbeat) => Some(heartbeat.seq),
            _ => None,
        };
        self.note(number, Seen::Message(Box::new(message)));
        match answer {
            Some(None) => self.register(number, socket).await,
            Some(Some(seq)) if self.manners.acks && !self.lasts(Act::NoAcks) => {
                let state = if self.lasts(Act::Maintenance) { "maintenance" } else { "healthy" };
                let payload = json!({
                    "seq": seq,
                    "server_time": self.world.wall_clock().to_string(),
                    "server_status": {"state": state},
                });
                let text = json!({"type": "heartbeat_ack", "payload": payload}).to_string();
                socket.send(Message::text(text)).await.is_ok()
            }
            _ => true,
        }
    }

    fn lasts(&self, act: Act) -> bool {
        self.world.now().any(|what| *what == What::Dashboard(act))
    }

    async fn register(&self, number: usize, socket: &mut WebSocketStream<End>) -> bool {
        let delay = if self.world.chance(6) { self.world.below(4000) } else { self.world.below(150) };
        sleep(Duration::from_millis(delay)).await;
        let mut payload = json!({"host_id": "7", "ack": self.manners.acks});
        if self.manners.batches {
            payload["capabilities"] = json!(["output_batch"]);
        }
        if let Some(interval) = self.manners.interval {
            payload["heartbeat_interval"] = json!(interval);
        }
        if self.manners.odd {
            payload["future"] = json!({"a": [1, null]});
            payload["reconnect_window_s"] = json!(null);
        }
        let text = json!({"type": "registered", "payload": payload}).to_string();
        // What it sends is registered from here on, whether it arrives or not.
        self.note(number, Seen::Registered);
        if socket.send(Message::text(text)).await.is_err() {
            return false;
        }
        let mut state = self.state();
        let is_newest = state.newest.as_ref().is_some_and(|(newest, ..)| *newest == number);
        state.registered |= is_newest;
        let waiting = if is_newest { std::mem::take(&mut state.waiting) } else { Vec::new() };
        drop(state);
        if !waiting.is_empty() {
            self.ask(waiting);
        }
        true
    }

    /// Sends requests in one packet, at once or after the next registration.
    pub(crate) fn ask(&self, requests: Vec<(String, Option<String>)>) {
        let newest = {
            let mut state = self.state();
            if !state.registered {
                state.waiting.extend(requests);
                return;
            }
            state.asked += requests.len();
            state.newest.as_ref().map(|(number, _, orders)| (*number, orders.clone()))
        };
        let Some((number, orders)) = newest else { return };
        let text = |(name, id): &(String, Option<String>)| {
            let payload = json!({"command": name, "id": id});
            json!({"type": "command", "payload": payload}).to_string()
        };
        let texts = requests.iter().map(text).collect();
        for (name, id) in requests {
            self.world.note(format_args!("asks for {name} by {id:?}"));
            self.note(number, Seen::Asked(name));
        }
        drop(orders.send(Order::Texts(texts)));
    }

    /// Sends a text as it is, if an agent is registered.
    pub(crate) fn send(&self, text: &str) {
        self.order(Order::Texts(vec![text.to_owned()]));
    }

    /// Closes the connection, with a close frame or without one.
    pub(crate) fn close(&self, frame: bool) {
        self.disturb(|_| ());
        self.order(if frame { Order::Close } else { Order::End });
    }

    fn order(&self, order: Order) {
        let state = self.state();
        if let Some((_, _, orders)) = state.newest.as_ref().filter(|_| state.registered) {
            drop(orders.send(order));
        }
    }
}

/// A message in the trace: times are in it, lengths of texts stand for the texts.
fn described(what: &Seen) -> String {
    match what {
        Seen::Message(message) => match &**message {
            AgentMessage::Heartbeat(beat) => {
                format!(
                    "heartbeat {:?} {:?} {:?} {:?}",
                    beat.seq, beat.sent_at, beat.pending_command, beat.command_pid
                )
            }
            AgentMessage::Output(line) => {
                format!("output {:?} {:?} {}", line.job_id, line.seq, short(&line.line))
            }
            AgentMessage::OutputBatch(batch) => {
                let lines: Vec<String> =
                    batch.lines.iter().map(|line| format!("{} {}", line.seq, short(&line.line))).collect();
                format!("output {} {}", batch.job_id, lines.join(" | "))
            }
            AgentMessage::Register(register) => format!("register {:?}", register.running_job),
            other => format!("{other:?}"),
        },
        other => format!("{other:?}"),
    }
}

fn short(line: &str) -> String {
    line.chars().take(24).collect()
}
