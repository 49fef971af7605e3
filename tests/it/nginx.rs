//! The agent behind a real nginx with a location for WebSockets, as most dashboards are installed.
//!
//! nginx runs as a child of the test, on free ports, with all its files in a folder of its own.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getuid, kill_process};
use tokio::net::TcpListener;

use crate::rig::{AgentProcess, Fleet, LIMIT, eventually, lives};
use crate::skipped::skipped_unless;

/// Set where a skip is a failure: in CI, where nobody reads it.
const REQUIRED: &str = "NIXFLEET_REQUIRE_NGINX_TEST";

/// Ports that are tried: another program may take a free one before nginx does.
const PORTS: usize = 5;

/// A running nginx.
struct Nginx {
    folder: tempfile::TempDir,
    process: Child,
    port: u16,
    /// A second port, for TLS.
    tls_port: u16,
}

fn program() -> Option<PathBuf> {
    let places = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&places).collect();
    // Not in the path of users who are not root.
    folders.push("/usr/sbin".into());
    let found = folders.into_iter().map(|folder| folder.join("nginx")).find(|path| path.is_file());
    if found.is_none() {
        skipped_unless(REQUIRED, "there is no nginx here (Debian: nginx-light)");
    }
    found
}

impl Nginx {
    /// Starts nginx with the servers that `servers` writes for two free ports. None without nginx: then it says so.
    async fn start(servers: impl Fn(u16, u16) -> String) -> Option<Self> {
        let program = program()?;
        let mut errors = String::new();
        for _ in 0..PORTS {
            let folder = tempfile::tempdir().unwrap();
            let (port, tls_port) = (free_port().await, free_port().await);
            write(&folder, &servers(port, tls_port));
            let process = spawn(&program, &folder);
            let mut nginx = Self { folder, process, port, tls_port };
            if nginx.listens().await {
                return Some(nginx);
            }
            errors = nginx.errors();
        }
        panic!("nginx does not start: {errors}");
    }

    /// Whether it has come up; false if it has ended.
    async fn listens(&mut self) -> bool {
        eventually("nginx", || match self.process.try_wait().unwrap() {
            Some(_) => Some(false),
            None => std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok().then_some(true),
        })
        .await
    }

    /// What it wrote about errors.
    fn errors(&self) -> String {
        fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }

    /// Reads another configuration. Old connections last a second more.
    fn reload(&self, servers: &str) {
        write(&self.folder, servers);
        kill_process(Pid::from_child(&self.process), Signal::HUP).unwrap();
    }

    /// Ends nginx and all its connections.
    fn stop(&mut self) {
        // Its workers end with it.
        self.terminate();
        let begun = Instant::now();
        while self.process.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < LIMIT, "nginx does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to end, unless it has ended: its process id may be another's then.
    fn terminate(&mut self) {
        if self.process.try_wait().unwrap().is_none() {
            kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        }
    }

    async fn start_again(&mut self) {
        self.process = spawn(&program().unwrap(), &self.folder);
        assert!(self.listens().await, "{}", self.errors());
    }

    fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/ws", self.port)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return self.stop();
        }
        self.terminate();
        drop(self.process.wait());
    }
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

fn spawn(program: &PathBuf, folder: &tempfile::TempDir) -> Child {
    let path = |name: &str| folder.path().join(name);
    let mut command = Command::new(program);
    command.arg("-p").arg(folder.path()).arg("-c").arg(path("nginx.conf")).arg("-e").arg(path("error.log"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn write(folder: &tempfile::TempDir, servers: &str) {
    let mut text = String::new();
    if getuid().is_root() {
        // Other users cannot enter the folder.
        text += "user root;\n";
    }
    text += "daemon off;\nworker_processes 1;\nworker_shutdown_timeout 1s;\npid nginx.pid;\n\
             events { worker_connections 64; }\nhttp {\naccess_log off;\n\
             map $http_upgrade $connection_upgrade { default upgrade; '' close; }\n";
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(text, "{kind}_temp_path {kind};").unwrap();
    }
    fs::write(folder.path().join("nginx.conf"), text + servers + "}\n").unwrap();
}

/// What nginx's own guide for WebSockets says, before this dashboard.
fn location(dashboard: SocketAddr, read_timeout: u32) -> String {
    format!(
        "location /ws {{ proxy_pass http://{dashboard}; proxy_http_version 1.1;\n\
         proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;\n\
         proxy_set_header Host $host; proxy_read_timeout {read_timeout}s; }}\n"
    )
}

fn server(port: u16, location: &str) -> String {
    format!("server {{ listen 127.0.0.1:{port};\n{location}}}\n")
}

/// An agent of this fleet behind nginx, whose log is a file.
fn agent(fleet: &Fleet, url: &str) -> Command {
    let mut command = fleet.agent_command();
    command.env("NIXFLEET_URL", url).stderr(fs::File::create(fleet.path("log")).unwrap());
    command
}

fn log(fleet: &Fleet) -> String {
    fs::read_to_string(fleet.path("log")).unwrap()
}

async fn logged(fleet: &Fleet, words: &str) {
    eventually(words, || log(fleet).contains(words).then_some(())).await;
}

/// Waits for a heartbeat on a later connection than this one. Returns its connection.
async fn beat_after(fleet: &Fleet, connection: u64) -> u64 {
    fleet
        .wait("a beat on another connection", |fleet| {
            let last = fleet.messages().pop()?;
            let is_beat = matches!(last.message, nixfleet_protocol::AgentMessage::Heartbeat(_));
            (is_beat && last.connection > connection).then_some(last.connection)
        })
        .await
}

#[tokio::test]
async fn behind_nginx_a_command_outlives_its_reload_and_its_restart() {
    let waits = "while [ ! -e \"$GATE\" ]; do sleep 0.05; done; echo end";
    let fleet = Fleet::strict().await.script("long", waits);
    let dashboard = fleet.dashboard_address();
    let Some(mut nginx) = Nginx::start(|port, _| server(port, &location(dashboard, 60))).await else {
        return;
    };
    let mut command = agent(&fleet, &nginx.url());
    command.env("GATE", fleet.path("gate"));
    let _agent = AgentProcess::spawn(command, fleet.path("state"));
    let first = beat_after(&fleet, 0).await;
    fleet.send("long");
    let pid = fleet.running("long").await;

    nginx.reload(&server(nginx.port, &location(dashboard, 61)));
    let second = beat_after(&fleet, first).await;
    assert_eq!(fleet.running("long").await, pid);

    nginx.stop();
    logged(&fleet, "refused").await;
    assert!(lives(pid), "the command runs on");
    nginx.start_again().await;
    beat_after(&fleet, second).await;
    assert_eq!(fleet.running("long").await, pid);
    fs::write(fleet.path("gate"), "").unwrap();
    assert_eq!(fleet.ended("long").await.exit_code, 0);
    assert_eq!(fleet.lines().last().unwrap().1, "end");
    fleet.assert_no_violations();
}

#[tokio::test]
async fn nginx_says_that_the_dashboard_is_down_or_slow_and_the_agent_comes_when_it_is_up() {
    let fleet = Fleet::strict().await;
    let down = SocketAddr::from(([127, 0, 0, 1], free_port().await));
    let Some(nginx) = Nginx::start(|port, _| server(port, &location(down, 60))).await else { return };
    let _agent = AgentProcess::spawn(agent(&fleet, &nginx.url()), fleet.path("state"));
    logged(&fleet, "502").await;

    // It accepts connections and answers none.
    let slow = TcpListener::bind("127.0.0.1:0").await.unwrap();
    nginx.reload(&server(nginx.port, &location(slow.local_addr().unwrap(), 1)));
    logged(&fleet, "504").await;

    // The usual mistake: a location that does not pass the headers on.
    let plain = format!("location /ws {{ proxy_pass http://{}; }}\n", fleet.dashboard_address());
    nginx.reload(&server(nginx.port, &plain));
    logged(&fleet, "did not understand the request (400 Bad Request").await;
    assert!(fleet.messages().is_empty(), "{:?}", fleet.messages());

    nginx.reload(&server(nginx.port, &location(fleet.dashboard_address(), 60)));
    beat_after(&fleet, 0).await;
    fleet.assert_no_violations();
}

#[tokio::test]
async fn pings_keep_a_connection_that_nginx_would_cut() {
    /// Seconds between heartbeats: longer than nginx waits for the dashboard to say anything.
    const INTERVAL: u32 = 20;
    let fleet = Fleet::strict().await;
    let dashboard = fleet.dashboard_address();
    let Some(nginx) = Nginx::start(|port, _| server(port, &location(dashboard, 2))).await else { return };
    let mut command = agent(&fleet, &nginx.url());
    command.env("NIXFLEET_INTERVAL", INTERVAL.to_string());
    let _agent = AgentProcess::spawn(command, fleet.path("state"));
    // It does cut: this one before the first ping.
    let first = beat_after(&fleet, 0).await;
    logged(&fleet, "Connection lost").await;
    beat_after(&fleet, first).await;

    // A ping is due after 15 s.
    nginx.reload(&server(nginx.port, &location(dashboard, INTERVAL - 3)));
    let kept = fleet
        .wait("two beats on one connection", |fleet| {
            let messages = fleet.messages();
            let beats = messages.iter().rev().take(2).map(|recorded| match recorded.message {
                nixfleet_protocol::AgentMessage::Heartbeat(_) => Some((recorded.connection, recorded.at_ms)),
                _ => None,
            });
            let beats: Vec<(u64, i64)> = beats.collect::<Option<_>>()?;
            let [(last, to), (before, from)] = beats[..] else { return None };
            (last == before).then_some(to - from)
        })
        .await;
    assert!(kept > i64::from(INTERVAL - 1) * 1000, "the second beat came after {kept} ms");
    fleet.assert_no_violations();
}

#[tokio::test]
async fn nginx_with_tls_may_redirect_to_it_and_never_away_from_it() {
    let fleet = Fleet::strict().await;
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(fleet.path("cert.pem"), made.cert.pem()).unwrap();
    fs::write(fleet.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let dashboard = fleet.dashboard_address();
    let servers = |port: u16, tls_port: u16| {
        let (cert, key) = (fleet.path("cert.pem"), fleet.path("key.pem"));
        server(port, &format!("return 301 https://$host:{tls_port}$request_uri;\n"))
            + &format!(
                "server {{ listen 127.0.0.1:{tls_port} ssl;\nssl_certificate {};\nssl_certificate_key {};\n\
                 location /away {{ return 301 http://$host:{port}/ws; }}\n{}}}\n",
                cert.display(),
                key.display(),
                location(dashboard, 60),
            )
    };
    let Some(nginx) = Nginx::start(servers).await else { return };
    let with_ca = |url: String| {
        let mut command = agent(&fleet, &url);
        command.env("NIXFLEET_CA_FILE", fleet.path("cert.pem"));
        AgentProcess::spawn(command, fleet.path("state"))
    };
    let away = with_ca(format!("wss://localhost:{}/away", nginx.tls_port));
    logged(&fleet, &format!("names an address without TLS, ws://localhost:{}/ws,", nginx.port)).await;
    drop(away);
    assert!(fleet.messages().is_empty());

    let _agent = with_ca(format!("ws://localhost:{}/ws", nginx.port));
    beat_after(&fleet, 0).await;
    assert!(
        log(&fleet).contains(&format!("to wss://localhost:{}/ws. Write", nginx.tls_port)),
        "{}",
        log(&fleet)
    );
    fleet.assert_no_violations();
}

#[tokio::test]
async fn nginx_that_wants_a_client_certificate_says_so_and_gets_one() {
    let fleet = Fleet::strict().await;
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (fleet.path("cert.pem"), fleet.path("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let dashboard = fleet.dashboard_address();
    // The server's own certificate is also the only client's that it knows.
    let servers = |port: u16, tls_port: u16| {
        let (cert, key) = (cert.display(), key.display());
        server(port, "return 404;\n")
            + &format!(
                "server {{ listen 127.0.0.1:{tls_port} ssl;\nssl_certificate {cert};\nssl_certificate_key {key};\n\
                 ssl_client_certificate {cert};\nssl_verify_client on;\n{}}}\n",
                location(dashboard, 60),
            )
    };
    let Some(nginx) = Nginx::start(servers).await else { return };
    let connecting = |client: Option<(&PathBuf, &PathBuf)>| {
        let mut command = agent(&fleet, &format!("wss://localhost:{}/ws", nginx.tls_port));
        command.env("NIXFLEET_CA_FILE", &cert);
        if let Some((cert, key)) = client {
            command.env("NIXFLEET_CLIENT_CERT", cert).env("NIXFLEET_CLIENT_KEY", key);
        }
        AgentProcess::spawn(command, fleet.path("state"))
    };
    let without = connecting(None);
    logged(&fleet, "asks for a client certificate (400 Bad Request, \"400 No required SSL certificate").await;
    drop(without);

    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let unknown = fleet.path("unknown.pem");
    fs::write(&unknown, format!("{}{}", other.cert.pem(), other.signing_key.serialize_pem())).unwrap();
    let with_another = connecting(Some((&unknown, &unknown)));
    logged(
        &fleet,
        "refused this host's client certificate (400 Bad Request, \"400 The SSL certificate error",
    )
    .await;
    drop(with_another);
    assert!(fleet.messages().is_empty());

    let _agent = connecting(Some((&cert, &key)));
    beat_after(&fleet, 0).await;
    fleet.assert_no_violations();
}
