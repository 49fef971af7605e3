//! Dashboards, a real NATS, and what a gateway would say.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_nats::{Client, jetstream};
use futures_util::StreamExt;
use nixfleet_console::{Console, Settings};
use nixfleet_dashboard::Handle;
use nixfleet_fleet::{Beat, Claim, Layout, Left, Login, Options, Reply, Request, Sizes, names, said};
use nixfleet_protocol::{AgentMessage, DashboardMessage};
use nixfleet_testbed::{Nats, Setup};
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// Longest wait for anything, also beside other builds.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// When the gateway read what it says, in Unix milliseconds.
pub(crate) const AT: i64 = 1_790_000_000_000;

/// Longer than any test.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// A dashboard that runs.
pub(crate) struct Screen {
    pub(crate) handle: Handle,
    address: SocketAddr,
}

impl Screen {
    pub(crate) async fn start(nats: &Nats) -> Self {
        Self::start_as(options(nats)).await
    }

    pub(crate) async fn start_as(nats: Options) -> Self {
        let console = Console::start(Settings { listen: ([127, 0, 0, 1], 0).into(), nats }).await.unwrap();
        let (handle, address) = (console.handle(), console.address());
        tokio::spawn(console.serve(std::future::pending()));
        Self { handle, address }
    }

    /// Once it has read all that there is.
    pub(crate) async fn ready(nats: &Nats) -> Self {
        let screen = Self::start(nats).await;
        screen.wait_ready("ready").await;
        screen
    }

    /// Waits until the answer for balancers has this text.
    pub(crate) async fn wait_ready(&self, text: &str) -> String {
        let begun = Instant::now();
        loop {
            let (status, answer) = self.get("/readyz").await;
            if answer.contains(text) {
                assert_eq!(status == 200, answer == "ready\n", "{answer}");
                return answer;
            }
            assert!(begun.elapsed() < LIMIT, "still {answer} instead of {text}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.http("GET", path, "", "").await
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).await.1).unwrap()
    }

    /// Asks a host for something, as the page does.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let page = self.get("/").await.1;
        let token = page.split("csrf-token\" content=\"").nth(1).unwrap().split('"').next().unwrap();
        let head = format!("X-CSRF-Token: {token}\r\n");
        let (status, text) = self.http("POST", path, &head, &body.to_string()).await;
        (status, serde_json::from_str(&text).unwrap())
    }

    async fn http(&self, method: &str, path: &str, head: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{head}\r\n{body}"
        );
        let mut tcp = TcpStream::connect(self.address).await.unwrap();
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(LIMIT, tcp.read_to_string(&mut answer)).await.expect("an answer in time").unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// What people see of all hosts, and of the log of one, without what depends on when this dashboard was started.
    pub(crate) async fn content(&self, host: &str) -> (Value, Value) {
        let mut hosts = self.json("/api/hosts").await;
        for host in hosts["hosts"].as_array_mut().unwrap() {
            let host = host.as_object_mut().unwrap();
            host.remove("repeats");
            host.remove("first_seen");
        }
        let log = self.json(&format!("/api/hosts/{host}/log")).await;
        (hosts, log["entries"].clone())
    }
}

/// A server with the logins of the example in dist/nats/, and the way to use one of them.
pub(crate) struct Guarded {
    pub(crate) nats: Nats,
    folder: TempDir,
}

impl Guarded {
    pub(crate) fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut keys = String::new();
        for name in ["gateway", "dashboard", "operator"] {
            let pair = KeyPair::new_user();
            keys += &format!("{}_KEY: \"{}\"\n", name.to_uppercase(), pair.public_key());
            fs::write(folder.path().join(name), pair.seed().unwrap()).unwrap();
        }
        let logins = concat!(env!("CARGO_MANIFEST_DIR"), "/../../dist/nats/logins.conf");
        let config = fs::read_to_string(logins).unwrap().replace("include keys.conf", &keys);
        Some(Self { nats: Nats::with(&Setup { config, name: None })?, folder })
    }

    pub(crate) fn login(&self, name: &str) -> Options {
        Options {
            login: Login::Nkey(self.folder.path().join(name)),
            inbox_prefix: Some(format!("_INBOX_{name}")),
            ..options(&self.nats)
        }
    }

    /// Fails if anybody has tried more than the logins allow.
    pub(crate) fn assert_no_violations(&self) {
        let log = self.nats.log();
        let found: Vec<&str> = log.lines().filter(|line| line.contains("Violation")).collect();
        assert!(found.is_empty(), "{found:#?}");
    }
}

pub(crate) fn options(nats: &Nats) -> Options {
    Options { servers: vec![nats.url()], name: "test".to_owned(), ..Options::default() }
}

/// Tries until it works: new streams of a cluster have no leader for a moment.
pub(crate) async fn patient<T, E: std::fmt::Debug>(mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    let begun = Instant::now();
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(err) => assert!(begun.elapsed() < LIMIT, "{err:?}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// What a gateway does.
pub(crate) struct Gateway {
    pub(crate) client: Client,
    pub(crate) jetstream: jetstream::Context,
    pub(crate) layout: Layout,
    /// How many heartbeats there were. Each has a time of its own.
    beats: AtomicI64,
}

impl Gateway {
    pub(crate) async fn start(nats: &Nats) -> Self {
        Self::start_as(&options(nats)).await
    }

    pub(crate) async fn start_as(options: &Options) -> Self {
        Self::start_with(options, 1).await
    }

    /// With so many copies of each entry.
    pub(crate) async fn start_with(options: &Options, replicas: usize) -> Self {
        let client = nixfleet_fleet::connect(options).await.unwrap();
        let jetstream = jetstream::new(client.clone());
        let sizes = Sizes { replicas, ..Sizes::default() };
        let layout = patient(async || Layout::ensure(&jetstream, &sizes).await).await;
        Self { client, jetstream, layout, beats: AtomicI64::new(0) }
    }

    pub(crate) async fn registers(&self, host: &str) -> Claim {
        let owners = &self.layout.owners;
        let claim = patient(async || Claim::take(owners, host, "gateway-1", AT).await).await;
        let mut register = example("register");
        register["payload"]["hostname"] = host.into();
        let text = register.to_string();
        patient(async || {
            let (hosts, text) = (&self.layout.hosts, text.clone().into());
            nixfleet_fleet::facts::store(&self.jetstream, hosts, host, claim.owner.connection, AT, text).await
        })
        .await;
        claim
    }

    pub(crate) async fn leaves(&self, host: &str, claim: Claim) {
        let left = Left { at_ms: AT, why: "test".to_owned() };
        assert!(claim.leave(&self.layout.owners, host, left).await.unwrap());
    }

    /// A heartbeat with this generation.
    pub(crate) async fn beats(&self, host: &str, connection: u64, generation: &str, interval: Duration) {
        self.beat(host, connection, generation, interval).await.unwrap();
    }

    /// The same. An error says that NATS does not take it now.
    pub(crate) async fn beat(
        &self,
        host: &str,
        connection: u64,
        generation: &str,
        interval: Duration,
    ) -> Result<(), jetstream::context::PublishError> {
        let at_ms = AT + self.beats.fetch_add(1, Ordering::Relaxed);
        let Beat { subject, headers } = Beat::new(host, connection, at_ms, interval);
        let mut beat = example("heartbeat-idle");
        beat["payload"]["generation"] = generation.into();
        let text = beat.to_string().into();
        self.jetstream.publish_with_headers(subject, headers, text).await?.await?;
        Ok(())
    }

    pub(crate) async fn says(&self, host: &str, connection: u64, message: &Value) {
        self.says_at(host, connection, AT, message).await;
    }

    /// The end of a command, which has no job: a dashboard does not see by itself which ends it has.
    pub(crate) async fn ends(&self, host: &str, connection: u64, at_ms: i64, message: &str) {
        let mut status = example("status");
        status["payload"]["message"] = message.into();
        self.says_at(host, connection, at_ms, &status).await;
    }

    async fn says_at(&self, host: &str, connection: u64, at_ms: i64, message: &Value) {
        let text = message.to_string();
        let said = said(host, connection, at_ms, &AgentMessage::decode(&text).unwrap()).unwrap();
        for subject in said.subjects {
            let publish =
                self.jetstream.publish_with_headers(subject, said.headers.clone(), text.clone().into());
            publish.await.unwrap().await.unwrap();
        }
    }

    /// Answers commands for a host by what they are called.
    pub(crate) async fn answers(&self, host: &str) {
        let group = names::OWNER_GROUP.to_owned();
        let mut asked = self.client.queue_subscribe(names::command(host), group).await.unwrap();
        self.client.flush().await.unwrap();
        let client = self.client.clone();
        tokio::spawn(async move {
            while let Some(message) = asked.next().await {
                let reply = match Request::decode(&message.payload).unwrap().0 {
                    DashboardMessage::Command(request) => answer(&request.command),
                    _ => Some(Reply::Sent),
                };
                if let Some(reply) = reply {
                    let reply = serde_json::to_vec(&reply).unwrap().into();
                    client.publish(message.reply.unwrap(), reply).await.unwrap();
                }
            }
        });
    }
}

fn answer(command: &str) -> Option<Reply> {
    let rejection =
        json!({ "reason": "command already running", "current_command": "pull", "current_pid": 7 });
    Some(match command {
        "accepted" => Reply::Accepted { evidence: "output".to_owned() },
        "silent" => Reply::Accepted { evidence: "silence".to_owned() },
        "rejected" => Reply::Rejected { rejection: serde_json::from_value(rejection).unwrap() },
        "refused" => Reply::Refused { reason: "the host registers".to_owned() },
        "unknown" => Reply::Unknown { reason: "the connection ended".to_owned() },
        "stop" => Reply::Sent,
        "late" => return None,
        other => panic!("{other}"),
    })
}

pub(crate) fn example(name: &str) -> Value {
    let file = format!("{}/../protocol/tests/wire/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

pub(crate) fn lines(job: &str, range: std::ops::Range<u64>) -> Value {
    let at = "2026-07-14T12:00:00.500Z";
    let line = |seq| json!({ "seq": seq, "stream": "stdout", "line": format!("line {seq}"), "at": at });
    let lines: Vec<_> = range.map(line).collect();
    json!({ "type": "output_batch", "payload": { "job_id": job, "command": "pull", "lines": lines } })
}
