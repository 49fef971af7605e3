//! The connection: handshake, registration, ping, close, back-off after a refusal, and two agents with the
//! same hostname.
//!
//! What happens to a running command during a reconnect is tested in `reconnect.rs`. The back-off itself is
//! tested in `src/link/backoff.rs`, the deadlines of a session in `src/link/session/tests.rs`, in virtual time.

use std::fs;
use std::net::TcpListener as StdListener;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustix::process::Signal;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use nixfleet_dashboard::Refusal;
use nixfleet_protocol::{AgentMessage, Register};

use crate::rig::in_nats::{self, needs_mock};
use crate::rig::{AgentProcess, Fleet, HOST, LIMIT, TOKEN, eventually};

/// A dashboard that is only a socket, so that a test sees frames and headers.
struct Peer {
    listener: TcpListener,
    /// Provides the agent's settings and folder.
    fleet: Fleet,
}

/// The agent's request, and the connection.
struct Caller {
    path: String,
    headers: Vec<(String, String)>,
    socket: WebSocketStream<TcpStream>,
}

impl Peer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, fleet: Fleet::start().await }
    }

    fn agent(&self, settings: &[(&str, &str)]) -> AgentProcess {
        let mut command = self.fleet.agent_command();
        let url = format!("ws://{}/ws", self.listener.local_addr().unwrap());
        command.env("NIXFLEET_URL", url).envs(settings.iter().copied());
        AgentProcess::spawn(command, self.fleet.path("state"))
    }

    async fn accept(&self) -> Caller {
        let (tcp, _) = timeout(LIMIT, self.listener.accept()).await.expect("an agent").unwrap();
        let mut seen = None;
        #[allow(clippy::result_large_err, reason = "the library's own signature; nothing is refused")]
        let look = |request: &Request, response: Response| {
            let headers = request.headers().iter();
            let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
            seen = Some((request.uri().to_string(), headers.collect()));
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(tcp, look).await.unwrap();
        let (path, headers) = seen.unwrap();
        Caller { path, headers, socket }
    }
}

impl Caller {
    async fn frame(&mut self) -> Message {
        timeout(LIMIT, self.socket.next()).await.expect("a frame").expect("no end").unwrap()
    }

    /// Receives the registration and answers it.
    async fn register(&mut self) -> Register {
        let Message::Text(text) = self.frame().await else { panic!("the first frame is a text") };
        let Ok(AgentMessage::Register(register)) = AgentMessage::decode(&text) else { panic!("{text}") };
        self.socket.send(Message::text(r#"{"type":"registered","payload":{"host_id":"x"}}"#)).await.unwrap();
        *register
    }
}

#[tokio::test]
async fn an_agent_shows_its_token_and_registers_with_every_field() {
    if needs_mock("the test is the other end of the socket itself") {
        return;
    }
    let peer = Peer::start().await;
    let repo = peer.fleet.path("repo").display().to_string();
    let _agent = peer.agent(&[
        ("NIXFLEET_INTERVAL", "17"),
        ("NIXFLEET_THEME_COLOR", "#7aa2f7"),
        ("NIXFLEET_LOCATION", "cloud"),
        ("NIXFLEET_DEVICE_TYPE", "laptop"),
        ("NIXFLEET_REPO_URL", "https://user:hush@git.example/config"),
        ("NIXFLEET_REPO_DIR", &repo),
        ("NIXFLEET_NIXPKGS_VERSION", "26.05.20260714.7beb50e"),
        ("NIXFLEET_REPORTED_VERSION", "3.2.1"),
        ("NIXFLEET_PATHS__CURRENT_SYSTEM", "/nowhere"),
    ]);
    let mut caller = peer.accept().await;
    assert_eq!(caller.path, "/ws");
    let header = |wanted: &str| {
        let found: Vec<&str> =
            caller.headers.iter().filter(|(name, _)| name == wanted).map(|(_, v)| v.as_str()).collect();
        found.join("|")
    };
    assert_eq!(header("authorization"), format!("Bearer {TOKEN}"));
    for absent in ["origin", "sec-websocket-protocol", "sec-websocket-extensions"] {
        assert_eq!(header(absent), "", "{absent}");
    }
    let register = caller.register().await;
    assert_eq!((register.hostname.as_str(), register.heartbeat_interval), (HOST, 17));
    assert!(["nixos", "macos"].contains(&register.host_type.as_str()), "{register:?}");
    assert_eq!(
        (register.agent_version.as_str(), register.nixpkgs_version.as_str()),
        ("3.2.1", "26.05.20260714.7beb50e")
    );
    let place = (register.theme_color.as_str(), register.location.as_str(), register.device_type.as_str());
    assert_eq!(place, ("#7aa2f7", "cloud", "laptop"));
    assert!(register.repo_url.contains("git.example/config") && !register.repo_url.contains("hush"));
    assert_eq!(register.repo_dir, repo);
    // There is neither a checkout nor a running NixOS.
    assert_eq!(register.generation, "");
    assert!(!register.capabilities.is_empty(), "{register:?}");
    // The automatic clone may be running, nothing else.
    let idle = register.running_job.as_ref().is_none_or(|job| job.command == "clone");
    assert!(register.boot_id.is_some() && idle, "{register:?}");
    let Message::Text(text) = caller.frame().await else { panic!("a heartbeat") };
    assert!(text.contains(r#""type":"heartbeat""#), "at once after `registered`: {text}");
}

#[tokio::test]
async fn a_pong_carries_the_payload_of_its_ping() {
    if needs_mock("the test is the other end of the socket itself") {
        return;
    }
    let peer = Peer::start().await;
    let _agent = peer.agent(&[]);
    let mut caller = peer.accept().await;
    caller.register().await;
    for payload in [&b""[..], b"one", &[0xFF; 125]] {
        caller.socket.send(Message::Ping(payload.to_vec().into())).await.unwrap();
        let pong = loop {
            if let Message::Pong(pong) = caller.frame().await {
                break pong;
            }
        };
        assert_eq!(pong, payload);
    }
}

#[tokio::test]
async fn sigterm_closes_with_1000_shutdown() {
    if needs_mock("the test is the other end of the socket itself") {
        return;
    }
    let peer = Peer::start().await;
    let mut agent = peer.agent(&[]);
    let mut caller = peer.accept().await;
    caller.register().await;
    agent.signal(Signal::TERM);
    let close = loop {
        if let Message::Close(close) = caller.frame().await {
            break close.expect("a code");
        }
    };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1000, "shutdown"));
    // The WebSocket library answers the close frame on the next read.
    while let Ok(Some(Ok(_))) = timeout(LIMIT, caller.socket.next()).await {}
    assert_eq!(agent.exit_code().await, 0);
}

#[tokio::test]
async fn what_follows_malformed_json_on_the_same_connection_is_done() {
    if needs_mock("it sends frames that are no messages") {
        return;
    }
    let fleet = Fleet::strict().await.script("hello", "echo hello");
    let _agent = fleet.agent().await;
    let command = r#"{"type":"command","payload":{"command":"hello"}}"#.to_owned();
    let broken = [r#"{"type":"command","payload":{"command":"hel"#, r#"{"type":"registered","payload":7}"#];
    let texts = broken.iter().map(|&text| text.to_owned()).chain([command]).collect();
    fleet.dashboard.send_many(HOST, texts).unwrap();
    let status = fleet.wait("the status", |fleet| fleet.statuses().pop()).await;
    assert_eq!((status.command.as_str(), status.exit_code), ("hello", 0));
    assert_eq!(fleet.dashboard.connections(HOST), 1);
    fleet.assert_no_violations();
}

/// The log of an agent.
fn log(fleet: &Fleet, name: &str) -> String {
    fs::read_to_string(fleet.path(name)).unwrap_or_default()
}

#[tokio::test]
async fn a_refused_token_is_tried_again_ever_more_slowly() {
    let fleet = Fleet::start().await;
    let mut command = fleet.agent_command();
    command.env("NIXFLEET_TOKEN", "wr0ng-token").stderr(fs::File::create(fleet.path("log")).unwrap());
    let _agent = AgentProcess::spawn(command, fleet.path("state"));
    let text = eventually("a second refusal", || {
        Some(log(&fleet, "log")).filter(|text| text.matches("(401)").count() >= 2)
    })
    .await;
    let delays: Vec<f64> = text.split("retry_in=").skip(1).map(seconds).collect();
    // Drawn between half of and the full 4 s, then 8 s: a refused token stays refused until somebody changes it.
    assert!((2.0..=4.0).contains(&delays[0]) && (4.0..=8.0).contains(&delays[1]), "{delays:?}: {text}");
    assert!(!text.contains("wr0ng-token"), "{text}");
    assert!(fleet.dashboard.host(HOST).is_none(), "it has not registered");
}

/// The duration at the start of a log field, such as `1.25s` or `870ms`.
fn seconds(field: &str) -> f64 {
    let number: String = field.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let unit = if field[number.len()..].starts_with("ms") { 1000.0 } else { 1.0 };
    number.parse::<f64>().unwrap() / unit
}

#[tokio::test]
async fn an_agent_that_starts_without_a_dashboard_connects_when_it_comes() {
    // An address that no other test uses.
    let address = StdListener::bind("127.23.1.1:0").unwrap().local_addr().unwrap();
    let settings = Fleet::start().await;
    let mut command = settings.agent_command();
    command
        .env("NIXFLEET_URL", format!("ws://{address}/ws"))
        .stderr(fs::File::create(settings.path("log")).unwrap());
    let mut agent = AgentProcess::spawn(command, settings.path("state"));
    eventually("a failed attempt", || log(&settings, "log").contains("Not connected").then_some(())).await;
    assert!(agent.is_running(), "{}", log(&settings, "log"));
    let fleet = Fleet::start_at(&address.to_string()).await;
    fleet.wait("a first beat", |fleet| fleet.beats().pop()).await;
    assert!(agent.is_running());
}

#[tokio::test]
async fn an_agent_comes_back_when_its_dashboard_does() {
    let fleet = Fleet::strict().await.script("hello", "echo hello");
    let mut agent = fleet.agent().await;
    for connection in 2..=4 {
        // A restart of the dashboard as the agent sees it: the connection ends, attempts are refused, one succeeds.
        fleet.refuse(Refusal { status: 502, retry_after: None });
        // Only once with a close frame: repeated closes mean that another agent has the same hostname.
        if connection == 2 && !in_nats::is_on() {
            fleet.dashboard.close(HOST, 1001, "restart").unwrap();
        } else {
            fleet.cut();
        }
        fleet.wait("the loss", |fleet| (!fleet.dashboard.host(HOST)?.connected).then_some(())).await;
        fleet.admit();
        fleet
            .wait("a beat on a new connection", |fleet| {
                let last = fleet.messages().pop()?;
                (last.connection == connection && matches!(last.message, AgentMessage::Heartbeat(_)))
                    .then_some(())
            })
            .await;
    }
    assert_eq!(fleet.run("hello").await.exit_code, 0);
    assert!(agent.is_running());
    fleet.assert_no_violations();
}

/// An agent with the same hostname and a state folder of its own.
fn same_hostname(fleet: &Fleet, name: &str) -> (AgentProcess, PathBuf) {
    let mut command = fleet.agent_command();
    let state = fleet.path(&format!("state-{name}"));
    let log = fleet.path(name);
    command.env("NIXFLEET_STATE_DIR", &state).stderr(fs::File::create(log).unwrap());
    (AgentProcess::spawn(command, state.clone()), state)
}

#[tokio::test]
async fn two_agents_of_one_name_do_not_chase_each_other_for_ever() {
    // Dashboards close the older connection with 1008, or with an empty close frame.
    for fleet in [Fleet::start().await, Fleet::strict().await] {
        let _first = same_hostname(&fleet, "first");
        let _second = same_hostname(&fleet, "second");
        let complaint = "Does another agent use the same hostname?";
        eventually("a complaint", || {
            [log(&fleet, "first"), log(&fleet, "second")]
                .iter()
                .any(|text| text.contains(complaint))
                .then_some(())
        })
        .await;
        let before = fleet.dashboard.connections(HOST);
        assert!(before <= 10, "{before} connections until the first one noticed");
        // The other agent may reconnect a few times more. Then both wait for at least half a minute.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let after = fleet.dashboard.connections(HOST);
        assert!(after - before <= 3, "{} more connections in five seconds", after - before);
    }
}
