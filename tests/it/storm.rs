//! Two thousand agents return to a dashboard that was killed: its `reconnect_window_s` sets their pace.
//!
//! The agents are in this process, each with its real loop and sessions and a socket of its own. The test runs itself
//! again as the dashboard, so that SIGKILL ends it. `dial::connect` is not part of it: it has threads for four lookups
//! in a process, because a process is one agent.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use nixfleet_agent::dial::{self, Connect, ConnectError, Dialled, HardClose, Identity};
use nixfleet_agent::facts::Facts;
use nixfleet_agent::heartbeat::Snapshots;
use nixfleet_agent::jobs::answered::File;
use nixfleet_agent::jobs::executor::Executor;
use nixfleet_agent::jobs::follower::{Follower, Live};
use nixfleet_agent::jobs::table::JobTable;
use nixfleet_agent::link::agent::Agent;
use nixfleet_agent::observe::status::ASKS;
use nixfleet_config::{Host, Source};
use nixfleet_dashboard::{Dashboard, Options, Policy};
use nixfleet_jobs::record::Record;
use nixfleet_jobs::{Instance, JobId, Urgency};

use crate::rig::TOKEN;
use crate::skipped::skipped;
use crate::usage::Usage;

const NAME: &str = "storm::two_thousand_agents_return_over_the_window_of_their_dashboard";

/// In the process of the dashboard, this variable has its address.
const LISTEN: &str = "NIXFLEET_TEST_STORM_LISTEN";

const AGENTS: u64 = 2000;

/// Seconds: the mean rate is 200 registrations a second, which a busy machine can carry without optimization.
const WINDOW: u64 = 10;

/// Most registrations in a second, as a multiple of the mean. Chance alone makes 1.2; a machine that stands still for a
/// second makes two seconds' worth of one. Without a window there are ten times the mean within a second or two.
const FACTOR: u64 = 3;

/// Files that the process of the agents needs, and that of the dashboard: a socket for each agent, and those of the
/// other tests.
const FILES: u64 = 2 * AGENTS + 1024;

#[tokio::test]
async fn two_thousand_agents_return_over_the_window_of_their_dashboard() {
    match std::env::var(LISTEN) {
        Ok(listen) => serve(listen.parse().unwrap()).await,
        Err(_) => return_over_the_window().await,
    }
}

/// The process of the dashboard. It ends by SIGKILL.
async fn serve(listen: SocketAddr) {
    let options = Options { listen, token: TOKEN.to_owned(), csrf_token: None, strict: None };
    let dashboard = Dashboard::bind(options).await.unwrap();
    let policy = Policy { reconnect_window_s: Some(WINDOW), ..Policy::default() };
    assert_eq!(dashboard.handle().set_policy(policy), 0);
    dashboard.serve(std::future::pending()).await;
}

/// Ends the dashboard also if the test fails.
struct Killed(Child);

impl Killed {
    fn start(listen: SocketAddr) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", NAME, "--nocapture"]).env(LISTEN, listen.to_string());
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Longest wait for all agents: a window, and time for a busy machine to open 2,000 connections.
const RETURN: Duration = Duration::from_secs(120);

/// Time between two questions, each of which is a connection more for the dashboard.
const ASK: Duration = Duration::from_millis(250);

/// What the dashboard counts, once it answers.
async fn registrations(address: SocketAddr) -> Option<serde_json::Value> {
    let mut tcp = TcpStream::connect(address).await.ok()?;
    tcp.write_all(b"GET /api/registrations HTTP/1.0\r\nHost: localhost\r\n\r\n").await.ok()?;
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

/// Waits until so many agents have registered; returns the most in a second.
async fn registered(agents: u64, address: SocketAddr, dashboard: &Killed) -> u64 {
    let begun = Instant::now();
    let mut count = None;
    while count.as_ref().is_none_or(|count: &serde_json::Value| count["total"].as_u64() < Some(agents)) {
        assert!(begun.elapsed() < RETURN, "not {agents} agents after {RETURN:?}: {count:?}");
        tokio::time::sleep(ASK).await;
        count = registrations(address).await;
    }
    let count = count.unwrap();
    let usage = [std::process::id().try_into().unwrap(), dashboard.0.id().try_into().unwrap()]
        .map(|pid| Usage::of(Pid::from_raw(pid).unwrap()));
    println!("{count} within {:?}; all agents, and the dashboard: {usage:?}", begun.elapsed());
    count["peak"].as_u64().unwrap()
}

async fn return_over_the_window() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < FILES) {
        if limit.maximum.is_some_and(|maximum| maximum < FILES) {
            return skipped(&format!("{limit:?}, and each of 2,000 agents needs a socket"));
        }
        setrlimit(Resource::Nofile, Rlimit { current: Some(FILES), maximum: limit.maximum }).unwrap();
    }
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dashboard = Killed::start(address);
    registered(0, address, &dashboard).await;
    let shutdown = watch::Sender::new(false);
    let agents: Vec<_> = (0..AGENTS).map(|number| start(number, address, &shutdown)).collect();
    println!("all start at once, and know no window:");
    registered(AGENTS, address, &dashboard).await;
    drop(dashboard);
    // At once: after an outage of seconds, the delays between attempts spread the agents as well.
    let dashboard = Killed::start(address);
    println!("the dashboard was killed and is back:");
    let peak = registered(AGENTS, address, &dashboard).await;
    assert!(peak <= FACTOR * AGENTS / WINDOW, "{peak} registrations in a second");
    shutdown.send_replace(true);
    for agent in agents {
        agent.await.unwrap();
    }
}

fn start(number: u64, address: SocketAddr, shutdown: &watch::Sender<bool>) -> tokio::task::JoinHandle<()> {
    let (events, events_receiver) = mpsc::channel(1);
    let (asks, asks_receiver) = mpsc::channel(ASKS);
    let (facts, facts_receiver) = watch::channel(Arc::new(Facts { complete: true, ..Facts::default() }));
    let (readings, readings_receiver) = watch::channel(None);
    let (prewarm, prewarm_receiver) = watch::channel(None);
    let snapshots = Snapshots {
        facts: facts_receiver,
        stasysmo: readings_receiver,
        vitals: Box::new(|_| None),
        expect: Box::new(|_| ()),
        prewarm: prewarm_receiver,
        look: Box::new(|| {
            let (looked, receiver) = oneshot::channel();
            looked.send(()).ok();
            receiver
        }),
    };
    let settings =
        [("NIXFLEET_HOSTNAME", format!("storm-{number}")), ("NIXFLEET_STATE_DIR", "/nowhere".to_owned())];
    let environment = settings.map(|(name, value)| (name.to_owned(), value)).into();
    let host = Host::load(&Source { file: None, environment }).unwrap();
    let table = JobTable::resume(Vec::new(), Box::new(NoJobs));
    let interval = Duration::from_secs(30);
    let agent = Agent::new(host, interval, table, events_receiver, snapshots, asks_receiver);
    let stop = shutdown.subscribe();
    tokio::spawn(async move {
        let _open = (events, asks, facts, readings, prewarm);
        agent.run(&Sockets(address), stop).await;
    })
}

/// Connections to the dashboard at this address.
struct Sockets(SocketAddr);

impl Connect for Sockets {
    type Stream = TcpStream;

    async fn connect(&self) -> Result<Dialled<TcpStream>, ConnectError> {
        let unreachable = |err| ConnectError::Unreachable(self.0.to_string(), err);
        let tcp = TcpStream::connect(self.0).await.map_err(unreachable)?;
        let mut request = format!("ws://{}/ws", self.0).into_client_request().unwrap();
        let bearer = format!("Bearer {TOKEN}").parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        let upgraded = client_async_with_config(request, tcp, Some(dial::limits())).await;
        let (socket, _) = upgraded
            .map_err(|err| ConnectError::Unreachable("dashboard".to_owned(), std::io::Error::other(err)))?;
        Ok(Dialled { socket, hard_close: HardClose::by(|| {}), identity: Identity::default() })
    }
}

/// No command is sent.
#[derive(Debug)]
struct NoJobs;

impl Executor for NoJobs {
    fn launch(&self, record: Record) {
        panic!("{record:?}");
    }

    fn end(&self, _: &Instance, _: Urgency, _: &str) {}

    fn follow(&self, id: &JobId, _: u64, _: Live) -> Follower {
        panic!("{id:?}");
    }

    fn save(&self, _: Record) {}

    fn forget(&self, _: &JobId) {}

    fn keep_answered(&self, _: File) {}
}
