//! A fleet in NATS in the place of the mock dashboard: a real server, a gateway for the agents, and the dashboard that
//! reads what the gateway writes. Between agents and gateway is a line that can be cut.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use nixfleet_console::Console;
use nixfleet_dashboard::Handle;
use nixfleet_fleet::Options;
use nixfleet_gateway::{Orders, Serving, Settings};
use nixfleet_os::sha256::hash_bytes;
use nixfleet_testbed::Nats;

use super::{HOST, LIMIT, TOKEN};

/// Whether a fleet in NATS takes the place of the mock dashboard.
pub(crate) fn is_on() -> bool {
    std::env::var_os("NIXFLEET_TEST_FLEET").is_some()
}

/// Whether a fleet in NATS takes the place of the mock dashboard, and a test has nothing to do there, for this reason. It
/// is said, and not by a macro: the test runner swallows what those print.
pub(crate) fn needs_mock(why: &str) -> bool {
    if is_on() {
        io::stderr().write_all(format!("\nnot through NATS: {why}\n").as_bytes()).unwrap();
    }
    is_on()
}

/// What has to live as long as the fleet.
pub(crate) struct Parts {
    line: watch::Sender<State>,
    tasks: Vec<JoinHandle<()>>,
    _nats: Nats,
}

/// How the line is.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// How often it was cut.
    cuts: u64,
    /// Nobody gets through.
    is_down: bool,
}

impl Parts {
    /// Ends all connections, without a word.
    pub(crate) fn cut(&self) {
        self.line.send_modify(|state| state.cuts += 1);
    }

    /// From now on nobody gets through, or everybody does.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.line.send_modify(|state| state.is_down = is_down);
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Starts all of it. Agents connect to the returned address, which is `listen` with the real port.
pub(crate) async fn start(listen: SocketAddr, folder: &Path) -> (Handle, SocketAddr, Parts) {
    let nats = Nats::start().expect("NIXFLEET_TEST_FLEET needs a nats-server");
    let tokens = folder.join("tokens");
    fs::write(&tokens, format!("{HOST} {}\n", hash_bytes(TOKEN.as_bytes()))).unwrap();
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut settings = Settings {
        listen: vec![loopback],
        health_listen: loopback,
        name: Some("gateway".to_owned()),
        tokens_file: Some(tokens),
        // Tests wait for agents that return.
        reconnect_window_s: 0,
        ..Settings::default()
    };
    settings.nats.servers = vec![nats.url()];
    let serving = Serving::start(settings).await.unwrap();
    let (agents, health) = serving.addresses().unwrap();
    let gateway = tokio::spawn(async move {
        let orders = Orders::default();
        serving.run(&orders, |_| ()).await.unwrap();
    });
    wait_ready(health).await;

    let options = Options { servers: vec![nats.url()], name: "dashboard".to_owned(), ..Options::default() };
    let console = nixfleet_console::Settings { listen: loopback, nats: options };
    let console = Console::start(console).await.unwrap();
    let (handle, dashboard) = (console.handle(), console.address());
    let console = tokio::spawn(console.serve(std::future::pending()));
    wait_ready(dashboard).await;

    let listener = TcpListener::bind(listen).await.unwrap();
    let address = listener.local_addr().unwrap();
    let line = watch::Sender::new(State::default());
    let passing = tokio::spawn(pass(listener, agents[0], line.subscribe()));
    (handle, address, Parts { line, tasks: vec![gateway, console, passing], _nats: nats })
}

/// Passes connections on.
async fn pass(listener: TcpListener, gateway: SocketAddr, line: watch::Receiver<State>) {
    // They end with this task.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((mut agent, _)) = listener.accept().await {
        let mut line = line.clone();
        let State { cuts, is_down } = *line.borrow();
        if is_down {
            continue;
        }
        connections.spawn(async move {
            let Ok(mut other) = TcpStream::connect(gateway).await else { return };
            tokio::select! {
                // An error is the end of the connection.
                _ = copy_bidirectional(&mut agent, &mut other) => {}
                _ = line.wait_for(|state| state.cuts != cuts) => {}
            }
        });
    }
}

/// Waits until a program says that it is ready.
async fn wait_ready(address: SocketAddr) {
    let begun = Instant::now();
    let request = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    loop {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(address).await {
            stream.write_all(request.as_bytes()).await.unwrap();
            // An error shows in the answer.
            drop(stream.read_to_string(&mut answer).await);
        }
        if answer.starts_with("HTTP/1.1 200 ") {
            return;
        }
        assert!(begun.elapsed() < LIMIT, "{address} is not ready: {answer}");
        sleep(Duration::from_millis(10)).await;
    }
}
