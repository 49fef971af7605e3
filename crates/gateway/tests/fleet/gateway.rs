//! One gateway, as a process.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::rig::{PATIENCE, wait};

/// A gateway that runs.
pub(crate) struct Gateway {
    process: Child,
    log: Arc<Mutex<Vec<String>>>,
    pub(crate) agents: SocketAddr,
    health: SocketAddr,
}

impl Gateway {
    /// Starts one, and waits until it takes agents.
    pub(crate) async fn start(name: &str, settings: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nixfleet-gateway"));
        command.arg("--config").arg(settings).stderr(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (mut agents, mut health) = (None, None);
        loop {
            let line = timeout(PATIENCE, lines.next_line()).await.expect("a gateway starts").unwrap();
            let line = line.expect("the gateway ended");
            eprintln!("{name}: {line}");
            let address = |begin: &str, end: &str| {
                let rest = line.split(begin).nth(1)?;
                rest.strip_suffix(end)?.parse::<SocketAddr>().ok()
            };
            agents = agents.or_else(|| address("agents: ", "/ws"));
            health = health.or_else(|| address("health: http://", "/readyz"));
            if line.contains("agents are taken") {
                break;
            }
        }
        let (name, log) = (name.to_owned(), Arc::default());
        let said: Arc<Mutex<Vec<String>>> = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                eprintln!("{name}: {line}");
                said.lock().unwrap().push(line);
            }
        });
        Self { process, log, agents: agents.unwrap(), health: health.unwrap() }
    }

    /// Whether a line of its log, after its start, has this text.
    pub(crate) fn has_said(&self, text: &str) -> bool {
        self.log.lock().unwrap().iter().any(|line| line.contains(text))
    }

    pub(crate) fn kill(&mut self) {
        self.process.start_kill().unwrap();
    }

    /// Sends a signal.
    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.process.id().unwrap().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().await.unwrap().success());
    }

    /// Waits for its end, and returns whether it was a good one.
    pub(crate) async fn wait(&mut self) -> bool {
        timeout(PATIENCE, self.process.wait()).await.expect("the gateway ends").unwrap().success()
    }

    pub(crate) async fn wait_ready(&self) {
        wait("a gateway that is ready", async || self.get("/readyz").await.contains(" 200 ").then_some(()))
            .await;
    }

    /// One of its metrics.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let metrics = self.get("/metrics").await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("nixfleet_gateway_{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {metrics}")).trim().parse().unwrap()
    }

    /// The whole answer to a request.
    pub(crate) async fn get(&self, path: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = TcpStream::connect(self.health).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}
