//! The example in dist/nats/: what each login may do, and what not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use async_nats::jetstream::consumer::push::OrderedConfig;
use async_nats::jetstream::{self, Context, consumer};
use async_nats::{Client, Subject};
use futures_util::StreamExt;
use nixfleet_fleet::names::{LOG, OWNER_GROUP, OWNERS, STATUS};
use nixfleet_fleet::{
    Beat, Claim, Layout, Left, Login, Options, Presence, Reply, Request, Sizes, ask, connect, facts, names,
};
use nixfleet_protocol::DashboardMessage;
use nixfleet_testbed::{Nats, Setup};
use nkeys::KeyPair;
use tempfile::TempDir;

use crate::rig::{soon, until};

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/nats").join(name);
    fs::read_to_string(path).unwrap()
}

/// A server with the logins of the example.
struct World {
    nats: Nats,
    folder: TempDir,
    seeds: Vec<(&'static str, PathBuf)>,
}

impl World {
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (mut keys, mut seeds) = (String::new(), Vec::new());
        for (variable, name) in
            [("GATEWAY_KEY", "gateway"), ("DASHBOARD_KEY", "dashboard"), ("OPERATOR_KEY", "operator")]
        {
            let pair = KeyPair::new_user();
            keys.push_str(&format!("{variable}: \"{}\"\n", pair.public_key()));
            let path = folder.path().join(name);
            fs::write(&path, format!("{}\n", pair.seed().unwrap())).unwrap();
            seeds.push((name, path));
        }
        fs::write(folder.path().join("keys.conf"), &keys).unwrap();
        let config = shipped("logins.conf").replace("include keys.conf", &keys);
        let nats = Nats::with(&Setup { config, name: None })?;
        Some(Self { nats, folder, seeds })
    }

    async fn client(&self, name: &str) -> Client {
        let (_, seed) = self.seeds.iter().find(|(known, _)| *known == name).unwrap();
        let options = Options {
            servers: vec![self.nats.url()],
            login: Login::Nkey(seed.clone()),
            inbox_prefix: Some(format!("_INBOX_{name}")),
            name: name.to_owned(),
            ..Options::default()
        };
        connect(&options).await.unwrap()
    }

    /// How many violations of permissions the server has seen.
    fn violations(&self) -> usize {
        self.nats.log().matches("Violation").count()
    }

    /// What is forbidden is said by the server, and does nothing else.
    async fn forbidden(&self, client: &Client, subject: &str, payload: &str) {
        let before = self.violations();
        client.publish(subject.to_owned(), payload.to_owned().into()).await.unwrap();
        client.flush().await.unwrap();
        until(subject, async || (self.violations() > before).then_some(())).await;
    }

    async fn deaf(&self, client: &Client, subject: &str) {
        let before = self.violations();
        let _subscription = client.subscribe(subject.to_owned()).await.unwrap();
        client.flush().await.unwrap();
        until(subject, async || (self.violations() > before).then_some(())).await;
    }
}

/// All that a gateway does.
async fn as_gateway(jetstream: &Context) -> Layout {
    let client = jetstream.client();
    let layout = Layout::ensure(jetstream, &Sizes::default()).await.unwrap();
    Layout::ensure(jetstream, &Sizes::default()).await.unwrap();
    let first = Claim::take(&layout.owners, "web-1", "one", 1).await.unwrap();
    let second = Claim::take(&layout.owners, "web-1", "two", 2).await.unwrap();
    nixfleet_fleet::Eviction::send(&client, "web-1", &first.owner).await.unwrap();
    let left = Left { at_ms: 3, why: "it ended".to_owned() };
    assert!(second.leave(&layout.owners, "web-1", left).await.unwrap());
    Claim::take(&layout.owners, "web-1", "two", 4).await.unwrap();
    assert!(facts::store(jetstream, &layout.hosts, "web-1", 3, 5, "{}".into()).await.unwrap());
    assert!(facts::store(jetstream, &layout.hosts, "web-1", 3, 5, "{}".into()).await.unwrap());
    for subject in [names::said("web-1", "output"), names::said("web-1", "status"), names::status("web-1")] {
        jetstream.publish(subject, "{}".into()).await.unwrap().await.unwrap();
    }
    let presence = Presence {
        id: "two".to_owned(),
        version: "0".to_owned(),
        started_ms: 0,
        connections: 1,
        draining: false,
    };
    presence.renew(jetstream).await.unwrap();
    let beat = Beat::new("web-1", 3, 6, Duration::from_secs(60));
    client.publish_with_headers(beat.subject, beat.headers, "{}".into()).await.unwrap();
    client.flush().await.unwrap();
    layout
}

fn pull() -> Request {
    let text = r#"{"type":"command","payload":{"command":"pull","id":"c1"}}"#;
    Request(DashboardMessage::decode(text).unwrap())
}

#[tokio::test]
async fn a_gateway_may_do_what_it_does_and_no_more() {
    let Some(world) = World::start() else { return };
    let client = world.client("gateway").await;
    let jetstream = jetstream::new(client.clone());
    as_gateway(&jetstream).await;
    let mut evictions = client.subscribe(names::evict("one")).await.unwrap();
    let _commands = client.queue_subscribe(names::command("web-1"), OWNER_GROUP.to_owned()).await.unwrap();
    client.flush().await.unwrap();
    client.publish(names::evict("one"), "{}".into()).await.unwrap();
    soon("the eviction", evictions.next()).await.unwrap();
    assert_eq!(world.violations(), 0, "{}", world.nats.log());

    world.deaf(&client, "_INBOX.>").await;
    world.deaf(&client, "_INBOX_dashboard.>").await;
    world.deaf(&client, ">").await;
    // Beside the gateway that has the host.
    world.deaf(&client, &names::command("web-1")).await;
    world.forbidden(&client, &names::command("web-1"), "{}").await;
    world.forbidden(&client, "_INBOX_dashboard.x.y", "{}").await;
    world.forbidden(&client, "fleet.up.a.b.c", "{}").await;
    for what in ["DELETE", "PURGE", "UPDATE"] {
        for stream in [LOG, STATUS, "KV_fleet_owners"] {
            world.forbidden(&client, &format!("$JS.API.STREAM.{what}.{stream}"), "{}").await;
        }
    }
    world.forbidden(&client, "$JS.API.STREAM.CREATE.OTHER", r#"{"name":"OTHER"}"#).await;
    world.forbidden(&client, "$JS.API.CONSUMER.CREATE.FLEET_LOG.x", "{}").await;
    // It is all still there.
    let owners = jetstream.get_key_value(OWNERS).await.unwrap();
    assert!(owners.get("web-1").await.unwrap().is_some());
}

/// What a dashboard and a command line read.
async fn reads(client: &Client) {
    let jetstream = jetstream::new(client.clone());
    for bucket in [names::BEATS, names::HOSTS, names::OWNERS, names::GATEWAYS] {
        let store = jetstream.get_key_value(bucket).await.unwrap();
        let mut watch = store.watch_all_from_revision(1).await.unwrap();
        let entry = soon(bucket, watch.next()).await.unwrap().unwrap();
        assert!(store.get(entry.key).await.unwrap().is_some());
    }
    for name in [LOG, STATUS] {
        let stream = jetstream.get_stream(name).await.unwrap();
        let config = OrderedConfig { deliver_subject: client.new_inbox(), ..OrderedConfig::default() };
        let mut pushed = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
        soon(name, pushed.next()).await.unwrap().unwrap();
        let config = consumer::pull::OrderedConfig::default();
        let mut pulled = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
        soon(name, pulled.next()).await.unwrap().unwrap();
        stream.direct_get(1).await.unwrap();
    }
}

#[tokio::test]
async fn readers_may_read_and_ask_and_write_nothing() {
    let Some(world) = World::start() else { return };
    let gateway = world.client("gateway").await;
    as_gateway(&jetstream::new(gateway.clone())).await;
    let mut commands =
        gateway.queue_subscribe(names::command("web-1"), OWNER_GROUP.to_owned()).await.unwrap();
    gateway.flush().await.unwrap();
    let (answering, forger) = (gateway.clone(), gateway.clone());
    let answers = tokio::spawn(async move {
        let mut last = Subject::from_static("none");
        for _ in 0..2 {
            let to = commands.next().await.unwrap().reply.unwrap();
            let reply = serde_json::to_vec(&Reply::Sent).unwrap();
            answering.publish(to.clone(), reply.into()).await.unwrap();
            last = to;
        }
        last
    });
    for name in ["dashboard", "operator"] {
        let client = world.client(name).await;
        reads(&client).await;
        assert_eq!(ask(&client, "web-1", &pull()).await.unwrap(), Reply::Sent);
        assert_eq!(world.violations(), 0, "{}", world.nats.log());
    }
    let last = soon("two answers", answers).await.unwrap();
    // A command is answered once.
    world.forbidden(&forger, &last, "{}").await;

    for (name, other) in [("dashboard", "operator"), ("operator", "dashboard")] {
        let client = world.client(name).await;
        let jetstream = jetstream::new(client.clone());
        for subject in [names::beat("web-1"), names::facts("web-1"), format!("$KV.{OWNERS}.web-1")] {
            world.forbidden(&client, &subject, "{}").await;
        }
        for subject in
            ["fleet.up.web-1.output", "fleet.status.web-1", "fleet.gateway.two.evict", "$KV.fleet_gateways.x"]
        {
            world.forbidden(&client, subject, "{}").await;
        }
        for what in ["DELETE", "PURGE", "UPDATE", "CREATE", "MSG.DELETE"] {
            world.forbidden(&client, &format!("$JS.API.STREAM.{what}.{LOG}"), "{}").await;
        }
        world.deaf(&client, &format!("_INBOX_{other}.>")).await;
        world.deaf(&client, "fleet.cmd.*").await;
        world.deaf(&client, "fleet.>").await;
        assert_eq!(jetstream.get_stream(LOG).await.unwrap().cached_info().state.messages, 2);
    }
}

#[tokio::test]
async fn an_unknown_key_and_no_key_are_refused() {
    let Some(world) = World::start() else { return };
    let seed = world.folder.path().join("stranger");
    fs::write(&seed, KeyPair::new_user().seed().unwrap()).unwrap();
    for login in [Login::None, Login::Nkey(seed)] {
        let options = Options { servers: vec![world.nats.url()], login, ..Options::default() };
        let err = connect(&options).await.unwrap_err().to_string();
        let wanted = format!("cannot connect to NATS at {}", world.nats.url());
        assert!(err.starts_with(&wanted), "{err}");
    }
}

#[test]
fn the_server_reads_the_whole_examples() {
    let Some(world) = World::start() else { return };
    let program = std::env::var_os("NIXFLEET_NATS_SERVER").unwrap_or_else(|| "nats-server".into());
    fs::write(world.folder.path().join("logins.conf"), shipped("logins.conf")).unwrap();
    for name in ["single.conf", "cluster.conf"] {
        let path = world.folder.path().join(name);
        fs::write(&path, shipped(name)).unwrap();
        let said = Command::new(&program).arg("-t").arg("-c").arg(&path).output().unwrap();
        assert!(said.status.success(), "{name}: {}", String::from_utf8_lossy(&said.stderr));
    }
}
