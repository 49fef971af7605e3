//! A dashboard in memory, for tests of the agent and for the demo.
//!
//! ```text
//! agents  -- /ws ------> agents ---\                       /--> browsers -- /browser --> page
//!                                   >-- Shared { Hub } ---<
//! curl, page -- /api --> api ------/         ^             \--> Handle (tests, in process)
//!                                            |
//!                                  sweep: the next offline deadline
//! ```
//!
//! * `hub` owns all state of hosts. Its methods are plain functions of that state, a message and the time;
//!   they never wait. All other modules use it through `Shared::apply`.
//! * `strict` checks the agents' messages against the needs of existing dashboards, if enabled.
//! * `wire` is the listener: TCP connections that can hold back pongs.
//! * `agents` and `browsers` run one task for each socket. `api` answers HTTP requests. `faults` describes
//!   how the dashboard can misbehave, and `policy` what it requests from agents. `rate` counts registrations.
//!
//! # A mock, not a dashboard
//! Nothing is stored, reading needs no login, and the page at `/` contains the CSRF token. So it is meant for
//! loopback and for virtual machines only. The CSRF header is still required, because real dashboards require
//! it, and because a script of another site cannot read the page: `names` refuses requests under a name that may be
//! that site's.
//!
//! # When a host is online
//! Only heartbeats count: a host is `online` from its first heartbeat until three intervals have passed since
//! the newest one. The interval is the one that the dashboard requested, or else the one in `register`. A
//! lost socket does not change the status, but it shows in `connected` at once. A timer on the next deadline
//! changes the status, so browsers get the change without a request.
#![cfg_attr(test, allow(clippy::string_slice, reason = "a wrong index fails the test"))]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use axum::extract::ws::Utf8Bytes;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::info;

use hub::{Hub, Live};
use moment::Moment;
use names::Names;

mod agents;
mod api;
mod asks;
mod browsers;
pub mod demo;
mod doors;
mod faults;
mod figures;
mod handle;
mod history;
mod host;
mod hub;
mod jobs;
mod link;
mod log;
mod moment;
mod names;
mod newest;
mod page;
mod policy;
mod rate;
mod record;
mod running;
mod strict;
mod summary;
mod view;
mod web;
mod wire;

#[cfg(test)]
mod tests;

pub use faults::{Faults, Refusal};
pub use handle::Handle;
pub use host::SendError;
pub use log::Ended;
pub use names::BadName;
pub use policy::Policy;
pub use rate::Registrations;
pub use record::Recorded;
pub use running::Progress;
pub use strict::{Rule, Strict, Verdict, Violation};
pub use view::{HostStatus, HostView, LastStatus};

/// Lists of changed hosts that are kept for a browser that reads slowly: eight seconds of them. A browser that is
/// further behind gets the list of all hosts instead.
const BROWSER_BACKLOG: usize = 16;

/// Shortest time between two lists of changed hosts. Two in a second look immediate for a fleet, and are two messages
/// in a second however many hosts there are. The host that a browser watches has no such limit.
const UPDATE_INTERVAL: Duration = Duration::from_millis(500);

/// How long `serve` waits for open connections after the shutdown.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// Options of a dashboard.
#[derive(Clone)]
pub struct Options {
    /// Address and port to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Token that agents must present as `Authorization: Bearer`.
    pub token: String,
    /// Required value of `X-CSRF-Token` in every POST request. With `None` a random token is created.
    pub csrf_token: Option<String>,
    /// Strict mode: behave as existing dashboards do, and record every message that they could not handle.
    pub strict: Option<Strict>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// Why a dashboard cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be used.
    #[error("cannot listen on {address}")]
    Listen {
        /// The requested address.
        address: SocketAddr,
        /// The cause; `AddrInUse` if another program uses the address.
        source: io::Error,
    },
    /// There are no random bytes for the CSRF token.
    #[error("cannot make a CSRF token")]
    Random(#[source] io::Error),
    /// The token for agents is empty.
    #[error("the agents' token is empty")]
    EmptyToken,
    /// The CSRF token does not fit into the page and the header.
    #[error("the CSRF token must be 1 to 128 visible ASCII characters")]
    BadCsrfToken,
}

/// A dashboard that listens. It does not answer before [`serve`](Self::serve).
pub struct Dashboard {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    names: Names,
}

impl fmt::Debug for Dashboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dashboard").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Dashboard {
    /// Listens on the address.
    ///
    /// # Errors
    /// [`BindError`]: the address is in use, or a token cannot be used.
    pub async fn bind(options: Options) -> Result<Self, BindError> {
        if options.token.is_empty() {
            return Err(BindError::EmptyToken);
        }
        let csrf_token = match options.csrf_token {
            Some(token) => token,
            None => random_token().map_err(BindError::Random)?,
        };
        if csrf_token.is_empty()
            || csrf_token.len() > 128
            || !csrf_token.bytes().all(|b| b.is_ascii_graphic())
        {
            return Err(BindError::BadCsrfToken);
        }
        let failed = |source| BindError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address,
            shared: Arc::new(Shared::new(&options.token, csrf_token, options.strict)),
            names: Names::default(),
        })
    }

    /// Answers under this name, too. By default it answers under names of loopback, and under the address that
    /// the connection was made to. All others may be names of another site, which a browser would let read the
    /// answers.
    ///
    /// # Errors
    /// The text is neither a name nor an address.
    pub fn allow_host(mut self, name: &str) -> Result<Self, BadName> {
        self.names.allow(name)?;
        Ok(self)
    }

    /// The address that it listens on, with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Required value of `X-CSRF-Token`.
    #[must_use]
    pub fn csrf_token(&self) -> &str {
        &self.shared.csrf_token
    }

    /// Control from the same process. It works before, during and after [`serve`](Self::serve).
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.shared))
    }

    /// Serves until `shutdown` resolves. Then it closes every socket with code 1001, and waits three seconds
    /// at most for their tasks. Dropping this future ends them too.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        // Both are owned by this future. When it is dropped, the tasks of all connections end.
        let (closing, closed) = watch::channel(());
        let (alive, mut all_gone) = mpsc::channel::<std::convert::Infallible>(1);
        let app = api::router(
            Arc::clone(&self.shared),
            self.names,
            Lifetime { closed: closed.clone(), _alive: alive },
        );

        let mut http_closed = closed.clone();
        let http = axum::serve(wire::Listener::new(self.listener), app).with_graceful_shutdown(async move {
            // An error means that the sender has been dropped, which is the signal.
            drop(http_closed.changed().await);
        });
        let mut http = std::pin::pin!(http.into_future());
        info!(address = %self.address, "the mock dashboard listens");

        tokio::select! {
            () = shutdown => {}
            // This cannot happen, because errors of `accept` are retried.
            _ = &mut http => {}
            () = sweep(&self.shared) => {}
            () = send_updates(&self.shared) => {}
        }
        drop((closing, closed));
        let finish = async {
            drop(http.await);
            // Nothing is ever sent. `None` means that the last task has ended.
            while all_gone.recv().await.is_some() {}
        };
        if timeout(CLOSE_LIMIT, finish).await.is_err() {
            info!("some connections did not end in time and were dropped");
        }
    }
}

/// Every task of a socket owns one. It signals when to end, and dropping it signals that the task has ended.
#[derive(Clone)]
struct Lifetime {
    /// Closed when the dashboard ends; `changed` returns an error then.
    closed: watch::Receiver<()>,
    _alive: mpsc::Sender<std::convert::Infallible>,
}

impl Lifetime {
    /// Resolves when the dashboard ends.
    async fn ended(&mut self) {
        drop(self.closed.changed().await);
    }
}

/// Sets hosts offline on time. Sleeps until the earliest deadline. A host that comes online or changes its
/// interval wakes the sweep, because its deadline may be earlier.
async fn sweep(shared: &Shared) {
    loop {
        let next = shared.apply(|hub, moment| {
            hub.expire(moment.now);
            hub.next_deadline()
        });
        tokio::select! {
            () = shared.deadline_moved.notified() => {}
            () = sleep_until_some(next) => {}
        }
    }
}

/// Sends lists of changed hosts to all browsers.
async fn send_updates(shared: &Shared) {
    loop {
        shared.hosts_changed.notified().await;
        shared.send_updates();
        sleep(UPDATE_INTERVAL).await;
    }
}

async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The state that all parts of the dashboard share.
struct Shared {
    /// Held for the length of one decision, never across an await.
    hub: Mutex<Hub>,
    /// Lists of changed hosts for every browser, as text.
    browsers: broadcast::Sender<Utf8Bytes>,
    /// A list of changed hosts is due.
    hosts_changed: Notify,
    /// Counts decisions, so that tests can wait for a state.
    changes: watch::Sender<u64>,
    /// The offline deadline of a host may now be earlier than the time until which the sweep sleeps.
    deadline_moved: Notify,
    faults: watch::Sender<Faults>,
    policy: watch::Sender<Policy>,
    /// SHA-256 of the agents' token.
    token: watch::Sender<[u8; 32]>,
    csrf_digest: [u8; 32],
    csrf_token: String,
    /// Whether the strict mode is on, so that the hub has a judge.
    strict: bool,
    /// Time limits of the sockets.
    times: Strict,
}

impl Shared {
    fn new(token: &str, csrf_token: String, strict: Option<Strict>) -> Self {
        Self {
            strict: strict.is_some(),
            times: strict.clone().unwrap_or_default(),
            hub: Mutex::new(Hub::new(strict)),
            browsers: broadcast::channel(BROWSER_BACKLOG).0,
            hosts_changed: Notify::new(),
            changes: watch::Sender::new(0),
            deadline_moved: Notify::new(),
            faults: watch::Sender::new(Faults::default()),
            policy: watch::Sender::new(Policy::default()),
            token: watch::Sender::new(digest(token.as_bytes())),
            csrf_digest: digest(csrf_token.as_bytes()),
            csrf_token,
        }
    }

    /// Changes the hub, and notifies browsers, the sweep and waiting tests.
    ///
    /// Messages to browsers are sent under the lock, so that no change is missing between what a browser gets first
    /// and the messages after it.
    fn apply<R>(&self, decide: impl FnOnce(&mut Hub, Moment) -> R) -> R {
        let mut hub = self.lock();
        hub.set_has_browsers(self.browsers.receiver_count() > 0);
        let result = decide(&mut hub, Moment::now());
        for news in hub.take_news() {
            hub.tell(&news);
        }
        if hub.take_has_changed() {
            self.hosts_changed.notify_one();
        }
        if hub.take_deadline_moved() {
            self.deadline_moved.notify_one();
        }
        drop(hub);
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
        result
    }

    /// Sends the list of changed hosts to all browsers.
    fn send_updates(&self) {
        let mut hub = self.lock();
        if let Some(changes) = hub.changes(Moment::now()) {
            // An error means that the last browser has just disconnected.
            drop(self.browsers.send(changes.into()));
        }
    }

    /// The list of all hosts, and a receiver for all changes of it.
    fn subscribe(&self) -> (Utf8Bytes, broadcast::Receiver<Utf8Bytes>) {
        let mut hub = self.lock();
        (hub.overview(Moment::now()).into(), self.browsers.subscribe())
    }

    /// What a browser gets first of a host that it watches, and a receiver for all messages about it.
    fn watch(&self, id: &str, after: Option<u64>) -> (Vec<Utf8Bytes>, u64, broadcast::Receiver<Live>) {
        let mut hub = self.lock();
        let (first, next) = hub.first_sight(id, after);
        (first.into_iter().map(Utf8Bytes::from).collect(), next, hub.watch(id))
    }

    /// Reads the hub.
    fn read<R>(&self, read: impl FnOnce(&Hub) -> R) -> R {
        read(&self.lock())
    }

    /// A panic under the lock is a bug in the handling of one host. The other hosts are still usable.
    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the strict mode is on.
    fn is_strict(&self) -> bool {
        self.strict
    }

    /// Whether `registered` has nothing but the host's name.
    fn is_legacy(&self) -> bool {
        self.strict || self.faults.borrow().no_capabilities
    }

    fn token_matches(&self, presented: &[u8]) -> bool {
        digest(presented) == *self.token.borrow()
    }

    fn csrf_matches(&self, presented: &[u8]) -> bool {
        digest(presented) == self.csrf_digest
    }
}

/// Secrets are compared as digests, so that the time of the comparison does not reveal the secret.
fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// 128 random bits in hex.
fn random_token() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    #[allow(clippy::disallowed_methods, reason = "the kernel's own device, of which 16 bytes are read")]
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
