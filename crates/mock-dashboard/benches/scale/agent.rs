//! One simulated agent: a socket, and the messages of nixfleet-agent.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, interval_at, sleep};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use nixfleet_protocol::{DashboardMessage, Registered};

use crate::process::Process;
use crate::{LIMIT, TOKEN, contents};

/// Pings between two beats: the agent has 15 s between its pings, and 30 s between beats.
const PINGS_PER_BEAT: u32 = 2;

/// Agents with the same source address, of the 28,000 ports that the kernel has for each.
const AGENTS_PER_ADDRESS: usize = 10_000;

/// Buffers of each socket, in bytes. Answers have a few hundred bytes.
const BUFFER: usize = 1024;

/// Time between two looks of all agents: about as long as between two messages of 10,000 agents.
const PACE: Duration = Duration::from_millis(1);

/// Time between two looks at a state.
const POLL: Duration = Duration::from_millis(2);

/// What happened so far, to all agents together.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) registered: AtomicU64,
    pub(crate) beats: AtomicU64,
    pub(crate) acks: AtomicU64,
    pub(crate) lost: AtomicU64,
    /// Microseconds from the begin of everything to the last registration.
    last_registration: AtomicU64,
}

/// What the agents share.
pub(crate) struct Agents {
    /// Where they connect: of a dashboard or a gateway, or of what stands in front of several.
    address: Mutex<SocketAddr>,
    count: usize,
    interval: Duration,
    begun: Instant,
    pub(crate) counts: Counts,
    silent: AtomicBool,
    /// Who waits for the arrival of a command, by its id.
    pub(crate) expected: Mutex<HashMap<String, oneshot::Sender<Instant>>>,
}

/// Processor time of a process for one beat.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    /// All of it, in microseconds.
    pub(crate) micros: f64,
    /// That of it outside the kernel.
    pub(crate) outside: f64,
}

pub(crate) type Socket = WebSocketStream<TcpStream>;

impl Agents {
    pub(crate) fn new(address: SocketAddr, count: usize, interval: Duration) -> Self {
        Self {
            address: Mutex::new(address),
            count,
            interval,
            begun: Instant::now(),
            counts: Counts::default(),
            silent: AtomicBool::new(false),
            expected: Mutex::default(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// From now on they connect there.
    #[allow(dead_code, reason = "not all benchmarks do")]
    pub(crate) fn move_to(&self, address: SocketAddr) {
        *self.address.lock().expect("no panic under the lock") = address;
    }

    /// How long after `since` the last agent was registered.
    pub(crate) fn registered_within(&self, since: std::time::Instant) -> Duration {
        let last = self.begun + Duration::from_micros(self.counts.last_registration.load(Relaxed));
        last.saturating_duration_since(since.into())
    }

    /// From now on the agents send no pings.
    pub(crate) fn stop_pings(&self) {
        self.silent.store(true, Relaxed);
    }

    /// Processor time of some processes for each beat that is acknowledged during this time.
    pub(crate) async fn cost_of_a_beat<const N: usize>(
        &self,
        processes: [&Process; N],
        time: Duration,
    ) -> [Cost; N] {
        let pace = tokio::spawn(pace());
        let before = processes.map(|process| (process.cpu(), process.ticks()));
        let acks = self.counts.acks.load(Relaxed);
        sleep(time).await;
        let acks = self.counts.acks.load(Relaxed) - acks;
        let mut number = 0..N;
        let costs = processes.map(|process| {
            let (cpu, share) = before[number.next().expect("as many as there are processes")];
            let (cpu, ticks) = (process.cpu() - cpu, process.ticks());
            let micros = cpu.as_secs_f64() * 1e6 / acks as f64;
            let (outside, inside) = (ticks.0 - share.0, ticks.1 - share.1);
            Cost { micros, outside: micros * outside as f64 / (outside + inside) as f64 }
        });
        pace.abort();
        costs
    }

    /// Waits for a state.
    pub(crate) async fn until(&self, what: &str, mut reached: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !reached() {
            let lost = self.counts.lost.load(Relaxed);
            assert!(begun.elapsed() < LIMIT, "no {what} within {LIMIT:?}; {lost} connections are lost");
            sleep(POLL).await;
        }
    }
}

/// Lets all agents look around once in a while, and sleep in between. Otherwise the kernel wakes this process for each
/// answer, and counts that as work of the dashboard, because both are on one machine.
async fn pace() {
    loop {
        // The runtime looks at all sockets before it comes back.
        tokio::task::yield_now().await;
        std::thread::sleep(PACE);
    }
}

/// Runs one agent, until the dashboard is gone. The permit is for its connecting.
pub(crate) async fn run(agents: Arc<Agents>, number: usize, permit: OwnedSemaphorePermit) {
    let socket = register(&agents, number).await;
    drop(permit);
    let ended = match socket {
        Ok((socket, _)) => beats(&agents, number, socket).await,
        Err(error) => Err(error),
    };
    if let Err(error) = ended
        && agents.counts.lost.fetch_add(1, Relaxed) == 0
    {
        eprintln!("the first connection that was lost: {error}");
    }
}

/// Connects and registers.
pub(crate) async fn register(
    agents: &Agents,
    number: usize,
) -> Result<(Socket, Registered), tungstenite::Error> {
    let to = *agents.address.lock().expect("no panic under the lock");
    let tcp = TcpSocket::new_v4()?;
    let from = u8::try_from(number / AGENTS_PER_ADDRESS + 2).expect("as many agents as there are addresses");
    tcp.bind(SocketAddr::from(([127, 0, 0, from], 0)))?;
    let tcp = tcp.connect(to).await?;
    tcp.set_nodelay(true)?;
    let mut request = format!("ws://{to}/ws").into_client_request()?;
    request.headers_mut().insert("Authorization", format!("Bearer {TOKEN}").parse()?);
    let config = WebSocketConfig::default().read_buffer_size(BUFFER).write_buffer_size(BUFFER);
    let (mut socket, _) = client_async_with_config(request, tcp, Some(config)).await?;
    socket.send(Message::text(contents::register(number, agents.interval.as_secs()))).await?;
    loop {
        let Some(message) = socket.next().await.transpose()? else {
            return Err(tungstenite::Error::ConnectionClosed);
        };
        if let Message::Text(text) = message
            && let Ok(DashboardMessage::Registered(registered)) = DashboardMessage::decode(&text)
        {
            agents.counts.registered.fetch_add(1, Relaxed);
            let now = u64::try_from(agents.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            agents.counts.last_registration.fetch_max(now, Relaxed);
            return Ok((socket, registered));
        }
    }
}

/// The first beat comes at once. The others of all agents are spread over the interval.
pub(crate) async fn beats(
    agents: &Agents,
    number: usize,
    mut socket: Socket,
) -> Result<(), tungstenite::Error> {
    let interval = agents.interval;
    let share = number as f64 / agents.count as f64;
    let into = agents.begun.elapsed().as_secs_f64() % interval.as_secs_f64();
    let wait = interval.mul_f64(share).as_secs_f64() - into;
    let first = Instant::now() + Duration::from_secs_f64(wait.rem_euclid(interval.as_secs_f64()));
    let mut beats = interval_at(first, interval);
    let mut pings = interval_at(first + interval / (2 * PINGS_PER_BEAT), interval / PINGS_PER_BEAT);
    let mut seq = 0;
    beat(agents, &mut socket, number, &mut seq).await?;
    loop {
        // All branches are cancel-safe: a tick stays due, and a frame stays in the socket.
        tokio::select! {
            _ = beats.tick() => beat(agents, &mut socket, number, &mut seq).await?,
            _ = pings.tick() => if !agents.silent.load(Relaxed) {
                socket.send(Message::Ping(seq.to_be_bytes().to_vec().into())).await?;
            },
            message = socket.next() => match message.transpose()? {
                None => return Err(tungstenite::Error::ConnectionClosed),
                Some(Message::Text(text)) => received(agents, &mut socket, &text).await?,
                // The library answers pings by itself, with the next flush.
                Some(Message::Ping(_)) => socket.flush().await?,
                Some(_) => {}
            },
        }
    }
}

async fn beat(
    agents: &Agents,
    socket: &mut Socket,
    number: usize,
    seq: &mut u64,
) -> Result<(), tungstenite::Error> {
    *seq += 1;
    agents.counts.beats.fetch_add(1, Relaxed);
    let text = contents::heartbeat(number, *seq, nixfleet_os::timestamp());
    socket.send(Message::text(text)).await
}

async fn received(agents: &Agents, socket: &mut Socket, text: &str) -> Result<(), tungstenite::Error> {
    let now = Instant::now();
    match DashboardMessage::decode(text) {
        Ok(DashboardMessage::HeartbeatAck(_)) => {
            agents.counts.acks.fetch_add(1, Relaxed);
        }
        Ok(DashboardMessage::Command(request)) => {
            let id = request.id.clone().unwrap_or_default();
            let waits = agents.expected.lock().expect("no panic under the lock").remove(&id);
            if let Some(waits) = waits {
                // An error means that nobody waits any more.
                waits.send(now).ok();
            }
            socket.send(Message::text(contents::status(&request.command, request.id))).await?;
        }
        _ => {}
    }
    Ok(())
}
