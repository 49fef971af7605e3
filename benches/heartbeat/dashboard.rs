//! The mock dashboard, and what the benchmark asks it.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use nixfleet_dashboard::{Dashboard, Handle, LastStatus, Options, Strict};
use nixfleet_protocol::AgentMessage;

/// Time between two polls of the dashboard.
pub(crate) const POLL: Duration = Duration::from_millis(5);

/// Longest wait for a state. Only a hang, or an agent that does not know the command, takes this long.
const LIMIT: Duration = Duration::from_secs(60);

/// The mock dashboard, on a thread of its own.
pub(crate) struct BenchDashboard {
    pub(crate) address: SocketAddr,
    pub(crate) handle: Handle,
}

impl BenchDashboard {
    /// One that takes batches of lines, or one that behaves as existing dashboards do and takes each line alone.
    pub(crate) fn start(takes_batches: bool) -> Self {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listen = SocketAddr::from(([127, 0, 0, 1], 0));
                let strict = (!takes_batches).then(Strict::default);
                let options = Options { listen, token: "bench".to_owned(), csrf_token: None, strict };
                let dashboard = Dashboard::bind(options).await.expect("a free port");
                sender.send((dashboard.address(), dashboard.handle())).expect("main waits for it");
                dashboard.serve(std::future::pending()).await;
            });
        });
        let (address, handle) = receiver.recv().expect("the dashboard starts");
        Self { address, handle }
    }

    pub(crate) fn lines(&self, host: &str) -> u64 {
        self.handle.host(host).map_or(0, |host| host.lines)
    }

    /// Sends a command, and tells whether the agent was there.
    pub(crate) fn command(&self, host: &str, command: &str) -> bool {
        self.handle.send_command(host, command, None).is_ok()
    }

    /// The status of that command.
    pub(crate) fn status(&self, host: &str, command: &str) -> Option<LastStatus> {
        wait("status", || self.handle.host(host)?.last_status.filter(|last| last.status.command == command))
    }

    pub(crate) fn connected(&self, host: &str) -> bool {
        self.handle.host(host).is_some_and(|host| host.connected)
    }

    /// Arrival of the first heartbeat from the record with this number on, in Unix milliseconds.
    pub(crate) fn first_beat(&self, host: &str, from: u64) -> Option<i64> {
        wait("heartbeat", || {
            let messages = self.handle.messages_since(host, from);
            messages.iter().find(|m| matches!(m.message, AgentMessage::Heartbeat(_))).map(|m| m.at_ms)
        })
    }

    /// Number of heartbeats from the record with this number on.
    pub(crate) fn beats(&self, host: &str, from: u64) -> usize {
        let messages = self.handle.messages_since(host, from);
        messages.iter().filter(|m| matches!(m.message, AgentMessage::Heartbeat(_))).count()
    }
}

/// Waits for a state. Without it, there is a line on standard error, and the figure is not measured.
pub(crate) fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if begun.elapsed() > LIMIT {
            eprintln!("no {what} within {LIMIT:?}: not measured");
            return None;
        }
        sleep(POLL);
    }
}
