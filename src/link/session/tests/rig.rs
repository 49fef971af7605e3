//! A session under test, with a scripted dashboard at the other end of its socket and an executor that
//! records its orders.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{DuplexStream, duplex};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use nixfleet_config::{Host, Source};
use nixfleet_vitals::prewarm::Notice;
use nixfleet_vitals::stasysmo::Reading;

use crate::facts::Facts;
use crate::heartbeat::Snapshots;
use crate::jobs::executor::ExecutorEvent;
use crate::jobs::table::JobTable;
use crate::link::agent::Agent;
use crate::link::clock_changes::told::Clocks;
use crate::link::ended::Ended;
use crate::link::rotation;
use crate::link::session;
use crate::observe::status::{ASKS, Ask, Asker, Report};
use executor::FakeExecutor;
pub(super) use executor::{Job, Order, PID, entries, result};
pub(super) use relay::Relay;

mod dashboard;
mod executor;
mod relay;
mod spin;

/// A limit in virtual time, which no test reaches unless it hangs.
const HOUR: Duration = Duration::from_secs(3600);

/// A limit in virtual time for a whole test: a wait for the wrong heartbeat never ends by itself.
const LONGEST: Duration = Duration::from_secs(4 * 3600);

/// Capacity of the socket in bytes: less than a noisy command writes at once on a link of which nothing is known.
const SOCKET: usize = 4 * 1024;

pub(in crate::link) struct Rig {
    socket: Option<WebSocketStream<DuplexStream>>,
    /// Returns how the session ended, and the agent for the next one.
    session: Option<JoinHandle<(Ended, Agent)>>,
    agent: Option<Agent>,
    shutdown: watch::Sender<bool>,
    facts: watch::Sender<Arc<Facts>>,
    prewarm: watch::Sender<Option<Notice>>,
    _readings: watch::Sender<Option<Reading>>,
    executor_events: mpsc::Sender<ExecutorEvent>,
    asks: Asker,
    orders: mpsc::UnboundedReceiver<Order>,
    executor: FakeExecutor,
    /// Requests for new facts that are not answered yet.
    looks: Arc<Mutex<Vec<oneshot::Sender<()>>>>,
    pub(super) clocks: Clocks,
    /// What connections lead through, if anything.
    relay: Option<Relay>,
    begun: Instant,
}

impl Rig {
    /// A session on a new connection.
    pub(super) async fn start(interval: Duration) -> Self {
        Self::with(interval, &[]).await
    }

    /// As [`Self::start`], with settings of the host.
    pub(super) async fn with(interval: Duration, settings: &[(&str, &str)]) -> Self {
        let (orders, orders_receiver) = mpsc::unbounded_channel();
        let executor = FakeExecutor {
            orders,
            followed: Arc::default(),
            jobs: Arc::default(),
            live: Arc::default(),
            answered: Arc::default(),
        };
        let (executor_events, events_receiver) = mpsc::channel(64);
        let (asks, asks_receiver) = mpsc::channel(ASKS);
        let (facts, facts_receiver) = watch::channel(Arc::new(Facts { complete: true, ..Facts::default() }));
        let (readings, readings_receiver) = watch::channel(None);
        let (prewarm, prewarm_receiver) = watch::channel(None);
        let looks: Arc<Mutex<Vec<oneshot::Sender<()>>>> = Arc::default();
        let snapshots = Snapshots {
            facts: facts_receiver,
            stasysmo: readings_receiver,
            vitals: Box::new(|_| None),
            expect: Box::new(|_| ()),
            prewarm: prewarm_receiver,
            look: {
                let looks = Arc::clone(&looks);
                Box::new(move || {
                    let (looked, receiver) = oneshot::channel();
                    looks.lock().unwrap().push(looked);
                    receiver
                })
            },
        };
        let always = [("NIXFLEET_HOSTNAME", "test-host"), ("NIXFLEET_STATE_DIR", "/nowhere")];
        let environment = always.iter().chain(settings);
        let environment =
            environment.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let host = Host::load(&Source { file: None, environment }).unwrap();
        let mut agent = Agent::new(
            host,
            interval,
            JobTable::resume(Vec::new(), Box::new(executor.clone())),
            events_receiver,
            snapshots,
            asks_receiver,
        );
        let clocks = Clocks::default();
        agent.clock_changes = clocks.changes();
        let mut rig = Self {
            clocks,
            socket: None,
            session: None,
            agent: Some(agent),
            shutdown: watch::Sender::new(false),
            facts,
            _readings: readings,
            prewarm,
            executor_events,
            asks,
            orders: orders_receiver,
            executor,
            looks,
            relay: None,
            begun: Instant::now(),
        };
        rig.reconnect().await;
        rig
    }

    /// A session after its registration and first heartbeat.
    pub(super) async fn live(interval: Duration, capabilities: &[&str]) -> Self {
        let mut rig = Self::start(interval).await;
        rig.accept_registration(capabilities).await;
        rig.heartbeat().await;
        rig
    }

    /// A session whose connection leads through a relay.
    pub(super) async fn through(relay: Relay, interval: Duration) -> Self {
        let mut rig = Self::start(interval).await;
        rig.relay = Some(relay);
        rig.drop_connection().await;
        rig.reconnect().await;
        rig
    }

    pub(super) async fn reconnect(&mut self) {
        let (ours, theirs) = match self.relay {
            Some(relay) => relay.start(SOCKET),
            None => duplex(SOCKET),
        };
        let client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        self.socket = Some(WebSocketStream::from_raw_socket(ours, Role::Server, None).await);
        let mut agent = self.agent.take().unwrap();
        let mut shutdown = self.shutdown.subscribe();
        self.session = Some(tokio::spawn(async move {
            let summary = spin::guarded(session::run(client, &mut agent, &mut shutdown)).await;
            (summary.ended, agent)
        }));
    }

    pub(super) fn facts(&self, change: impl FnOnce(&mut Facts)) {
        self.facts.send_modify(|facts| change(Arc::make_mut(facts)));
    }

    /// Changes the generation from another thread, again and again, until the result is dropped.
    pub(super) fn flicker(&self) -> Flicker {
        let (facts, stop) = (self.facts.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for generation in ["aaaaaaa", "bbbbbbb"].into_iter().cycle() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                facts.send_modify(|facts| Arc::make_mut(facts).generation = generation.to_owned());
            }
        });
        Flicker { stop, thread: Some(thread) }
    }

    /// How many requests for new facts wait for an answer.
    pub(super) fn looks(&self) -> usize {
        self.looks.lock().unwrap().len()
    }

    /// Changes the facts and answers all requests for new ones.
    pub(super) fn looked(&self, change: impl FnOnce(&mut Facts)) {
        self.facts(change);
        for look in self.looks.lock().unwrap().drain(..) {
            let _may_be_gone = look.send(());
        }
    }

    /// Leaves all requests for new facts without an answer.
    pub(super) fn look_fails(&self) {
        self.looks.lock().unwrap().clear();
    }

    pub(super) fn prewarm(&self, notice: Notice) {
        self.prewarm.send_replace(Some(notice));
    }

    pub(super) fn shut_down(&self) {
        self.shutdown.send_replace(true);
    }

    /// The agent's status, as a client on this machine gets it.
    pub(super) async fn report(&self) -> Report {
        let (sender, answer) = oneshot::channel();
        self.asks.send(Ask(sender)).await.unwrap();
        answer.await.unwrap()
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// How the session ended.
    pub(super) async fn ended(&mut self) -> Ended {
        let session = self.session.take().unwrap();
        let (ended, agent) = tokio::time::timeout(HOUR, session).await.expect("the session's end").unwrap();
        self.agent = Some(agent);
        ended
    }

    /// The agent without a session.
    pub(in crate::link) async fn agent(interval: Duration) -> (Agent, Clocks) {
        let mut rig = Self::start(interval).await;
        rig.drop_connection().await;
        (rig.agent.take().unwrap(), rig.clocks)
    }

    /// On a new connection; whoever is returned replaces what proves who this host is.
    pub(super) async fn rotated_by(&mut self) -> rotation::told::Asker {
        self.drop_connection().await;
        let (asker, rotation) = rotation::told::Asker::new();
        self.agent.as_mut().unwrap().rotation = rotation;
        self.reconnect().await;
        asker
    }

    pub(super) async fn drop_connection(&mut self) {
        self.socket = None;
        self.ended().await;
    }
}

/// Ends its thread when dropped.
pub(super) struct Flicker {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Flicker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}
