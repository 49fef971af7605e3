//! A real NATS, real gateways behind a balancer, and real agents.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::{Client, HeaderMap};
use nixfleet_fleet::{Layout, Options, Owner, Reply, Request, ask, names};
use nixfleet_protocol::{AgentMessage, CommandRequest, DashboardMessage};
use nixfleet_testbed::Nats;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::gateway::Gateway;

/// The host of the tests.
pub(crate) const HOST: &str = "web-1";

/// Longest wait for anything, also beside other builds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const TICK: Duration = Duration::from_millis(20);

/// Everything but NATS.
pub(crate) struct Rig {
    pub(crate) client: Client,
    pub(crate) jetstream: jetstream::Context,
    folder: TempDir,
    servers: Vec<String>,
    /// More lines of the gateways' settings: some that stand alone, then tables.
    who: String,
    settings: String,
    /// More lines of the agents' settings.
    commands: String,
    /// How agents speak with gateways: `ws` or `wss`.
    scheme: &'static str,
    pub(crate) token: String,
    balancer: SocketAddr,
    /// Where the balancer passes connections to: the first that takes them.
    backends: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Rig {
    pub(crate) async fn new(servers: Vec<String>) -> Self {
        let options = Options { servers: servers.clone(), name: "tests".to_owned(), ..Options::default() };
        let client = nixfleet_fleet::connect(&options).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let balancer = listener.local_addr().unwrap();
        let backends = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(balance(listener, Arc::clone(&backends)));
        let folder = tempfile::tempdir().unwrap();
        let token = nixfleet_gateway::new_token(HOST).unwrap();
        fs::write(folder.path().join("tokens"), token.line).unwrap();
        let replicas = servers.len();
        let who = format!("tokens_file = {:?}\n", folder.path().join("tokens"));
        Self {
            jetstream: jetstream::new(client.clone()),
            client,
            folder,
            servers,
            who,
            settings: format!("[streams]\nreplicas = {replicas}\n"),
            commands: String::new(),
            scheme: "ws",
            token: token.secret,
            balancer,
            backends,
        }
    }

    /// With one NATS.
    pub(crate) async fn start(nats: &Nats) -> Self {
        Self::new(vec![nats.url()]).await
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Client certificates instead of tokens.
    pub(crate) fn certificates(mut self, settings: &str, agent: &str) -> Self {
        self.who = String::new();
        self.settings += settings;
        // Tables come last.
        self.commands.insert_str(0, agent);
        self.scheme = "wss";
        self
    }

    /// Adds a command that is a shell script.
    pub(crate) fn script(mut self, name: &str, body: &str) -> Self {
        let path = self.path(&format!("{name}.sh"));
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self.commands += &format!("[commands.{name}]\nrun = [\"{}\"]\n", path.display());
        self
    }

    /// A command that writes this many numbered lines, the first half of them at once, and then waits until a file is
    /// there.
    pub(crate) fn counter(self, lines: usize) -> Self {
        let go = self.path("go");
        let body = format!(
            "n=0; while [ $n -lt {lines} ]; do n=$((n+1)); echo line $n; if [ $n = {half} ]; then \
             while ! [ -e {go} ]; do sleep 0.05; done; fi; done",
            half = lines / 2,
            go = go.display()
        );
        self.script("count", &body)
    }

    /// Lets the counter go on.
    pub(crate) fn go(&self) {
        fs::write(self.path("go"), "").unwrap();
    }

    /// A gateway that takes agents, behind the balancer.
    pub(crate) async fn gateway(&self, name: &str) -> Gateway {
        let settings = self.path(&format!("{name}.toml"));
        let text = format!(
            "listen = [\"127.0.0.1:0\"]\nhealth_listen = \"127.0.0.1:0\"\nname = \"{name}\"\n\
             reconnect_window_s = 1\nping_interval_s = 1\n{}{}[nats]\nservers = {:?}\n",
            self.who, self.settings, self.servers
        );
        // Tables come last.
        fs::write(&settings, text).unwrap();
        let gateway = Gateway::start(name, &settings).await;
        self.backends.lock().unwrap().push(gateway.agents);
        gateway.wait_ready().await;
        gateway
    }

    /// An agent of [`HOST`] that connects to the balancer.
    pub(crate) fn agent(&self) -> Child {
        let config = self.path("agent.toml");
        fs::write(&config, &self.commands).unwrap();
        let log = fs::File::create(self.path("agent.log")).unwrap();
        let mut command = Command::new(agent_program());
        command
            .env("NIXFLEET_CONFIG", config)
            .env("NIXFLEET_URL", format!("{}://{}/ws", self.scheme, self.balancer))
            .env("NIXFLEET_TOKEN", &self.token)
            .env("NIXFLEET_HOSTNAME", HOST)
            .env("NIXFLEET_INTERVAL", "1")
            .env("NIXFLEET_STATE_DIR", self.path("state"))
            .env("NIXFLEET_STASYSMO_DIR", self.path("stasysmo"))
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        command.spawn().unwrap()
    }

    /// The same, once it has sent a heartbeat through this gateway. Returns the number of the connection as well.
    pub(crate) async fn agent_at(&self, gateway: &str) -> (Child, u64) {
        let agent = self.agent();
        let connection = self.wait_owner(gateway).await;
        self.wait_beat(connection).await;
        (agent, connection)
    }

    /// The buckets.
    pub(crate) async fn layout(&self) -> Layout {
        let sizes = nixfleet_fleet::Sizes::default();
        wait("the buckets", async || Layout::ensure(&self.jetstream, &sizes).await.ok()).await
    }

    /// Who has the connection of the host.
    pub(crate) async fn owner(&self) -> Option<Owner> {
        Owner::of(&self.layout().await.owners, HOST).await.ok()?
    }

    /// The newest heartbeat: its headers, and its text. None while the host is offline.
    pub(crate) async fn beat(&self) -> Option<(HeaderMap, String)> {
        let beats = self.layout().await.beats;
        match beats.stream.get_last_raw_message_by_subject(&names::beat(HOST)).await {
            Ok(beat) if beat.payload.is_empty() => None,
            Ok(beat) => Some((beat.headers, String::from_utf8(beat.payload.to_vec()).unwrap())),
            // There is none, or a cluster has no leader that would know.
            Err(_) => None,
        }
    }

    /// Waits for a heartbeat of this connection or a later one.
    pub(crate) async fn wait_beat(&self, connection: u64) {
        wait("a heartbeat", async || {
            let (headers, _) = self.beat().await?;
            let of: u64 = headers.get(names::CONNECTION)?.as_str().parse().ok()?;
            (of >= connection).then_some(())
        })
        .await;
    }

    /// Waits until this gateway has the host, and returns the number of the connection.
    pub(crate) async fn wait_owner(&self, gateway: &str) -> u64 {
        wait("the host at another gateway", async || {
            let owner = self.owner().await?;
            let here = owner.gateway.starts_with(&format!("{gateway}-")) && owner.left.is_none();
            here.then_some(owner.connection)
        })
        .await
    }

    /// Sends a command.
    pub(crate) async fn ask(&self, command: &str, id: &str) -> Reply {
        let request = CommandRequest { command: command.to_owned(), id: Some(id.to_owned()) };
        ask(&self.client, HOST, &Request(DashboardMessage::Command(request))).await.unwrap()
    }

    /// Everything in a stream, in its order.
    pub(crate) async fn stream(&self, name: &str) -> Vec<(String, HeaderMap, AgentMessage)> {
        wait("the content of a stream", async || self.try_stream(name).await).await
    }

    /// The same. None while a cluster has no leader for it.
    ///
    /// Entry by entry: a cluster may give a consumer to a server that it does not know yet to be dead, and then it
    /// delivers nothing for half a minute.
    async fn try_stream(&self, name: &str) -> Option<Vec<(String, HeaderMap, AgentMessage)>> {
        let mut stream = self.jetstream.get_stream(name).await.ok()?;
        let state = stream.info().await.ok()?.state.clone();
        let mut all = Vec::new();
        for number in state.first_sequence.max(1)..=state.last_sequence {
            let message = stream.get_raw_message(number).await.ok()?;
            let text = String::from_utf8(message.payload.to_vec()).unwrap();
            all.push((message.subject.to_string(), message.headers, AgentMessage::decode(&text).unwrap()));
        }
        Some(all)
    }

    /// The lines of all jobs in the log, each once, and how often each came.
    pub(crate) async fn lines(&self) -> BTreeMap<(String, u64), (String, usize)> {
        let mut lines = BTreeMap::new();
        for (_, _, message) in self.stream(names::LOG).await {
            let AgentMessage::OutputBatch(batch) = message else { continue };
            for line in batch.lines {
                let entry = lines.entry((batch.job_id.clone(), line.seq)).or_insert((line.line, 0));
                entry.1 += 1;
            }
        }
        lines
    }

    /// Waits for the end of a command, and checks that every line of the counter is there, once for a reader, and that
    /// there is one status.
    pub(crate) async fn wait_counted(&self, lines: usize) {
        wait("the status of the command", async || {
            let ends = self.stream(names::STATUS).await;
            (!ends.is_empty()).then_some(())
        })
        .await;
        let got = self.lines().await;
        let jobs: BTreeSet<_> = got.keys().map(|(job, _)| job.clone()).collect();
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        let texts: Vec<_> = got.values().map(|(text, _)| text.clone()).collect();
        let expected: Vec<_> = (1..=lines).map(|number| format!("line {number}")).collect();
        assert_eq!(texts, expected);
        let ends = self.stream(names::STATUS).await;
        assert_eq!(ends.len(), 1, "{ends:?}");
        let AgentMessage::Status(status) = &ends[0].2 else { panic!("{ends:?}") };
        assert_eq!((status.command.as_str(), status.exit_code), ("count", 0));
        let log = self.stream(names::LOG).await;
        let ends = log.iter().filter(|(subject, ..)| subject.ends_with(".status")).count();
        assert_eq!(ends, 1, "the log has one end as well");
    }

    /// No message of an older connection follows one of a newer connection.
    pub(crate) async fn assert_connections_in_order(&self) {
        let mut newest = 0;
        for (subject, headers, _) in self.stream(names::LOG).await {
            let of: u64 = headers.get(names::CONNECTION).unwrap().as_str().parse().unwrap();
            assert!(of >= newest, "{subject} of connection {of} after one of {newest}");
            newest = of;
        }
    }
}

/// Looks until there is something to see.
pub(crate) async fn wait<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} did not come");
        sleep(TICK).await;
    }
}

/// Passes each connection to the first gateway that takes it.
async fn balance(listener: TcpListener, backends: Arc<Mutex<Vec<SocketAddr>>>) {
    while let Ok((mut agent, _)) = listener.accept().await {
        let backends = backends.lock().unwrap().clone();
        tokio::spawn(async move {
            for backend in backends {
                if let Ok(mut gateway) = TcpStream::connect(backend).await {
                    // An error is the end of the connection.
                    return drop(copy_bidirectional(&mut agent, &mut gateway).await);
                }
            }
        });
    }
}

/// The agent beside the gateway. Cargo builds both for the tests of the workspace; for those of this package alone it has
/// to be told.
fn agent_program() -> PathBuf {
    let agent = Path::new(env!("CARGO_BIN_EXE_nixfleet-gateway")).with_file_name("nixfleet-agent");
    if !agent.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = std::process::Command::new(cargo);
        build.args(["build", "--locked", "-p", "nixfleet-agent", "--bin", "nixfleet-agent"]);
        assert!(build.status().unwrap().success(), "no agent could be built");
    }
    agent
}
