//! An agent with its loop, and connections in memory.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{DuplexStream, duplex};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use nixfleet_agent::dial::{self, Connect, ConnectError, Dialled, HardClose, Identity};
use nixfleet_agent::facts::Facts;
use nixfleet_agent::heartbeat::Snapshots;
use nixfleet_agent::jobs::table::JobTable;
use nixfleet_agent::link::agent::Agent;
use nixfleet_agent::link::run::Exit;
use nixfleet_agent::observe::status::{ASKS, Ask, Asker, Report};
use nixfleet_config::{Host, Source};
use nixfleet_protocol::DeviceVitals;

use crate::executor::Tasks;

/// Capacity of the socket in bytes, as much as the kernel gives a slow connection.
const SOCKET: usize = 64 * 1024;

/// A limit in virtual time, which no wait reaches unless the agent hangs.
const HOUR: Duration = Duration::from_secs(3600);

pub(crate) type Socket = WebSocketStream<DuplexStream>;

/// A running agent.
pub(crate) struct Machine {
    pub(crate) executor: Tasks,
    agent: JoinHandle<Exit>,
    attempts: mpsc::Receiver<Attempt>,
    asks: Asker,
    shutdown: watch::Sender<bool>,
    _kept: Box<dyn std::any::Any>,
}

impl Machine {
    /// Starts an agent. `facts` and `vitals` are what each heartbeat reports.
    pub(crate) fn new(
        seed: u64,
        interval: Duration,
        facts: Facts,
        vitals: Option<Box<DeviceVitals>>,
    ) -> Self {
        Self::start(seed, interval, facts, vitals, |agent| agent)
    }

    /// Starts an agent that got this number from the one before it, which its dashboard had restarted.
    pub(crate) fn restarted(seed: u64, interval: Duration, doublings: u32) -> Self {
        Self::start(seed, interval, Facts::default(), None, |agent| agent.after_restart(doublings))
    }

    fn start(
        seed: u64,
        interval: Duration,
        facts: Facts,
        vitals: Option<Box<DeviceVitals>>,
        prepared: impl FnOnce(Agent) -> Agent,
    ) -> Self {
        let (events, events_receiver) = mpsc::channel(64);
        let executor = Tasks::new(seed, events);
        let (asks, asks_receiver) = mpsc::channel(ASKS);
        let (facts, facts_receiver) = watch::channel(Arc::new(Facts { complete: true, ..facts }));
        let (readings, readings_receiver) = watch::channel(None);
        let (prewarm, prewarm_receiver) = watch::channel(None);
        let snapshots = Snapshots {
            facts: facts_receiver,
            stasysmo: readings_receiver,
            vitals: Box::new(move |_| vitals.clone()),
            expect: Box::new(|_| ()),
            prewarm: prewarm_receiver,
            look: Box::new(|| {
                let (looked, receiver) = oneshot::channel();
                looked.send(()).ok();
                receiver
            }),
        };
        let settings = [("NIXFLEET_HOSTNAME", "soak"), ("NIXFLEET_STATE_DIR", "/nowhere")];
        let environment = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let host = Host::load(&Source { file: None, environment }).unwrap();
        let table = JobTable::resume(Vec::new(), Box::new(executor.clone()));
        let agent = Agent::new(host, interval, table, events_receiver, snapshots, asks_receiver);
        let (network, attempts) = mpsc::channel(1);
        let shutdown = watch::Sender::new(false);
        let stop = shutdown.subscribe();
        // The delays of the agent are drawn from the generator of this thread.
        fastrand::seed(seed);
        let agent = prepared(agent);
        let agent = tokio::spawn(async move { agent.run(&Network(network), stop).await });
        let kept = Box::new((facts, readings, prewarm));
        Self { executor, agent, attempts, asks, shutdown, _kept: kept }
    }

    /// Waits until the agent tries to connect.
    pub(crate) async fn attempt(&mut self) -> Attempt {
        timeout(HOUR, self.attempts.recv()).await.expect("an attempt to connect").expect("an agent")
    }

    /// Waits until the agent tries to connect, and accepts the connection.
    #[allow(dead_code, reason = "the test of allocations uses it")]
    pub(crate) async fn connect(&mut self) -> Socket {
        self.attempt().await.accept().await
    }

    /// The agent's status, as a client on its machine gets it.
    pub(crate) async fn report(&self) -> Report {
        let (sender, answer) = oneshot::channel();
        self.asks.send(Ask(sender)).await.unwrap();
        answer.await.unwrap()
    }

    /// Asks the agent to end, and waits for its end.
    pub(crate) async fn shut_down(self) -> Exit {
        self.shutdown.send_replace(true);
        timeout(HOUR, self.agent).await.expect("the agent's end").unwrap()
    }
}

/// The way to the dashboard. Each attempt waits for the decision of the test.
struct Network(mpsc::Sender<Attempt>);

impl Connect for Network {
    type Stream = DuplexStream;

    async fn connect(&self) -> Result<Dialled<DuplexStream>, ConnectError> {
        let (decide, decided) = oneshot::channel();
        self.0.send(Attempt(decide)).await.unwrap();
        let stream = decided.await.unwrap()?;
        let socket = WebSocketStream::from_raw_socket(stream, Role::Client, Some(dial::limits())).await;
        Ok(Dialled { socket, hard_close: HardClose::by(|| {}), identity: Identity::default() })
    }
}

/// The agent waits for a connection.
#[derive(Debug)]
pub(crate) struct Attempt(oneshot::Sender<Result<DuplexStream, ConnectError>>);

impl Attempt {
    /// The connection exists; returns the dashboard's end.
    pub(crate) async fn accept(self) -> Socket {
        let (ours, theirs) = duplex(SOCKET);
        self.0.send(Ok(theirs)).unwrap();
        WebSocketStream::from_raw_socket(ours, Role::Server, None).await
    }

    /// The attempt fails with this error of the kernel.
    pub(crate) fn refuse(self, kind: io::ErrorKind) {
        self.0.send(Err(ConnectError::Unreachable("dashboard:443".to_owned(), kind.into()))).unwrap();
    }
}
