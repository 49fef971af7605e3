//! An agent, and its session over a socket in memory.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{DuplexStream, duplex};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use nixfleet_agent::facts::Facts;
use nixfleet_agent::heartbeat::Snapshots;
use nixfleet_agent::jobs::table::JobTable;
use nixfleet_agent::link::agent::Agent;
use nixfleet_agent::link::session;
use nixfleet_config::{Host, Source};
use nixfleet_protocol::DeviceVitals;

use crate::executor::Tasks;

/// Capacity of the socket in bytes, as much as the kernel gives a slow connection.
const SOCKET: usize = 64 * 1024;

/// A limit in virtual time, which no session reaches unless it hangs.
const HOUR: Duration = Duration::from_secs(3600);

pub(crate) type Socket = WebSocketStream<DuplexStream>;

pub(crate) struct Machine {
    agent: Option<Agent>,
    session: Option<JoinHandle<Agent>>,
    pub(crate) executor: Tasks,
    shutdown: watch::Sender<bool>,
    _kept: Box<dyn std::any::Any>,
}

impl Machine {
    /// `facts` and `vitals` are what each heartbeat reports.
    pub(crate) fn new(
        seed: u64,
        interval: Duration,
        facts: Facts,
        vitals: Option<Box<DeviceVitals>>,
    ) -> Self {
        let (events, events_receiver) = mpsc::channel(64);
        let executor = Tasks::new(seed, events);
        let (asks, asks_receiver) = mpsc::channel(1);
        let (facts, facts_receiver) = watch::channel(Arc::new(Facts { complete: true, ..facts }));
        let (readings, readings_receiver) = watch::channel(None);
        let (prewarm, prewarm_receiver) = watch::channel(None);
        let snapshots = Snapshots {
            facts: facts_receiver,
            stasysmo: readings_receiver,
            vitals: Box::new(move |_| vitals.clone()),
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
        Self {
            agent: Some(agent),
            session: None,
            executor,
            shutdown: watch::Sender::new(false),
            _kept: Box::new((asks, facts, readings, prewarm)),
        }
    }

    /// Begins a session; returns the dashboard's end of its socket.
    pub(crate) async fn connect(&mut self) -> Socket {
        let (ours, theirs) = duplex(SOCKET);
        let client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        let mut agent = self.agent.take().unwrap();
        let mut shutdown = self.shutdown.subscribe();
        self.session = Some(tokio::spawn(async move {
            session::run(client, &mut agent, &mut shutdown).await;
            agent
        }));
        WebSocketStream::from_raw_socket(ours, Role::Server, None).await
    }

    /// Asks the agent to end.
    #[allow(dead_code, reason = "the test of allocations uses it")]
    pub(crate) fn shut_down(&self) {
        self.shutdown.send_replace(true);
    }

    /// Waits for the end of the session.
    pub(crate) async fn disconnected(&mut self) {
        let session = self.session.take().unwrap();
        self.agent = Some(timeout(HOUR, session).await.expect("the session's end").unwrap());
    }

    /// The agent, between two sessions.
    pub(crate) fn agent(&self) -> &Agent {
        self.agent.as_ref().unwrap()
    }
}
