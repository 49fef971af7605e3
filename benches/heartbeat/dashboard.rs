//! The mock dashboard, and what the benchmark asks it.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use nixfleet_mock_dashboard::{Dashboard, Handle, LastStatus, Options};

/// Hostname of the agent.
pub(crate) const HOST: &str = "bench-host";

/// Time between two polls of the dashboard.
pub(crate) const POLL: Duration = Duration::from_millis(5);

/// Longest wait for a state. Only a hang takes this long.
const LIMIT: Duration = Duration::from_secs(60);

/// The mock dashboard, on a thread of its own.
pub(crate) struct BenchDashboard {
    pub(crate) address: SocketAddr,
    pub(crate) handle: Handle,
}

impl BenchDashboard {
    pub(crate) fn start() -> Self {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listen = SocketAddr::from(([127, 0, 0, 1], 0));
                let options = Options { listen, token: "bench".to_owned(), csrf_token: None, strict: None };
                let dashboard = Dashboard::bind(options).await.expect("a free port");
                sender.send((dashboard.address(), dashboard.handle())).expect("main waits for it");
                dashboard.serve(std::future::pending()).await;
            });
        });
        let (address, handle) = receiver.recv().expect("the dashboard starts");
        Self { address, handle }
    }
}

pub(crate) fn connected(handle: &Handle) -> bool {
    handle.host(HOST).is_some_and(|host| host.connected)
}

pub(crate) fn lines(handle: &Handle) -> u64 {
    handle.host(HOST).map_or(0, |host| host.lines)
}

pub(crate) fn start(handle: &Handle, command: &str) {
    handle.send_command(HOST, command, None).expect("the agent is connected");
}

pub(crate) fn status(handle: &Handle, command: &str) -> LastStatus {
    wait(handle, "status", |handle| {
        handle.host(HOST)?.last_status.filter(|last| last.status.command == command)
    })
}

pub(crate) fn wait<T>(handle: &Handle, what: &str, mut look: impl FnMut(&Handle) -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look(handle) {
            return found;
        }
        assert!(begun.elapsed() < LIMIT, "no {what} within {LIMIT:?}: {:#?}", handle.host(HOST));
        sleep(POLL);
    }
}
