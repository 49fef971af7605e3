//! A dashboard in memory: what the agent is tested against, and what `demo` shows.
//!
//! ```text
//! agents  -- /ws ------> agents ---\                       /--> browsers -- /browser --> page
//!                                   >-- Shared { Hub } ---<
//! curl, page -- /api --> api ------/         ^             \--> Handle (tests, in process)
//!                                            |
//!                                  sweep: the next offline deadline
//! ```
//!
//! * `hub` owns everything known about hosts. Its methods are plain functions of that state, the
//!   message and the time; nothing in it waits. Everyone else goes through `Shared::apply`.
//! * `strict` judges what agents say by what existing dashboards need, if it is asked to.
//! * `wire` is the listener: TCP with a switch that keeps pongs from leaving.
//! * `agents` and `browsers` run one task for each socket, `api` answers HTTP, `faults` says
//!   how to misbehave, `policy` what is wished of agents.
//!
//! # A mock, not a dashboard
//! Nothing is stored, reading needs no login, and the page at `/` carries the CSRF token for whoever
//! can open it: it is meant for loopback and for virtual machines. The CSRF header still is demanded,
//! because the real dashboard does, and because another site's script cannot read the page.
//!
//! # When a host is online
//! Heartbeats alone decide (T02 scenario 5): a host is `online` from its first heartbeat until three
//! times the interval *it registered with* have passed since the newest one. A lost socket does not
//! change that by itself; it shows in `connected` at once. A timer on the next deadline flips the
//! status, so browsers learn of it without anybody asking.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::extract::ws::Utf8Bytes;
use sha2::{Digest, Sha256};
use tokio::{
    net::TcpListener,
    sync::{Notify, broadcast, mpsc, watch},
    time::{Instant, sleep_until, timeout},
};
use tracing::info;

mod agents;
mod api;
mod asks;
mod browsers;
pub mod demo;
mod faults;
mod handle;
mod host;
mod hub;
mod jobs;
mod policy;
mod record;
mod strict;
mod view;
mod wire;

#[cfg(test)]
mod tests;

pub use faults::{Faults, Refusal};
pub use handle::{Handle, SendError};
pub use policy::Policy;
pub use record::Recorded;
pub use strict::{Rule, Strict, Verdict, Violation};
pub use view::{HostStatus, HostView, LastStatus};

use hub::{Hub, Moment};

/// Messages kept for a browser that is slow to read; one that falls further behind gets a fresh
/// snapshot instead. A thousand is well over a second of the noisiest command.
const BROWSER_BACKLOG: usize = 1024;

/// How long `serve` waits for open connections once it was told to end.
const FAREWELL: Duration = Duration::from_secs(3);

/// What a dashboard needs to know before it starts.
#[derive(Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What agents must present as `Authorization: Bearer`.
    pub token: String,
    /// What `X-CSRF-Token` must be on every POST; a random one is made for `None`.
    pub csrf_token: Option<String>,
    /// Behave as existing dashboards do, and record whatever they could not cope with.
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
        /// The address that was asked for.
        address: SocketAddr,
        /// `AddrInUse` when another program has it.
        source: io::Error,
    },
    /// No random bytes for the CSRF token.
    #[error("cannot make a CSRF token")]
    Random(#[source] io::Error),
    /// An empty token would let everybody in.
    #[error("the agents' token is empty")]
    EmptyToken,
    /// The page and the header could not carry it.
    #[error("the CSRF token must be 1 to 128 visible ASCII characters")]
    BadCsrfToken,
}

/// A dashboard that listens, but does not answer before [`serve`](Self::serve).
pub struct Dashboard {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl fmt::Debug for Dashboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dashboard").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Dashboard {
    /// Takes the address.
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
        })
    }

    /// Where it listens, with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `X-CSRF-Token` must be.
    #[must_use]
    pub fn csrf_token(&self) -> &str {
        &self.shared.csrf_token
    }

    /// Control from the same process; works before, during and after [`serve`](Self::serve).
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.shared))
    }

    /// Answers until `shutdown` resolves; then closes every socket with 1001 and waits for their
    /// tasks, for three seconds at most. Dropping this future ends them too.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        // Both live in this future: dropped with it, they end every connection's task.
        let (closing, closed) = watch::channel(());
        let (alive, mut all_gone) = mpsc::channel::<std::convert::Infallible>(1);
        let app = api::router(Arc::clone(&self.shared), Lifetime { closed: closed.clone(), _alive: alive });

        let mut http_closed = closed.clone();
        let http = axum::serve(wire::Door::new(self.listener), app).with_graceful_shutdown(async move {
            // An error says that the sender is gone, which is the signal.
            drop(http_closed.changed().await);
        });
        let mut http = std::pin::pin!(http.into_future());
        info!(address = %self.address, "the mock dashboard listens");

        tokio::select! {
            () = shutdown => {}
            // Cannot happen: accept errors are retried. If it did, there is nothing left to serve.
            _ = &mut http => {}
            () = sweep(&self.shared) => {}
        }
        drop((closing, closed));
        let farewell = async {
            drop(http.await);
            // Nothing is ever sent: `None` means that the last socket task has ended.
            while all_gone.recv().await.is_some() {}
        };
        if timeout(FAREWELL, farewell).await.is_err() {
            info!("some connections did not end in time and were dropped");
        }
    }
}

/// What every socket task holds: it says when to end, and its end says that the task has.
#[derive(Clone)]
struct Lifetime {
    /// Closed (an error from `changed`) when the dashboard ends.
    closed: watch::Receiver<()>,
    _alive: mpsc::Sender<std::convert::Infallible>,
}

impl Lifetime {
    /// Resolves when the dashboard ends.
    async fn ended(&mut self) {
        drop(self.closed.changed().await);
    }
}

/// Flips hosts to offline on time. Sleeps until the earliest deadline, not in steps; a host that
/// comes online or changes its interval wakes it, since its deadline may be earlier.
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

async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// What the parts of the dashboard have in common.
struct Shared {
    /// Held for the length of one decision, never across an await.
    hub: Mutex<Hub>,
    /// To every browser, already encoded.
    browsers: broadcast::Sender<Utf8Bytes>,
    /// Counts decisions, so that tests can wait for a state.
    changes: watch::Sender<u64>,
    /// A host's offline deadline may now be earlier than the one slept on.
    deadline_moved: Notify,
    faults: watch::Sender<Faults>,
    policy: watch::Sender<Policy>,
    token: [u8; 32],
    csrf_digest: [u8; 32],
    csrf_token: String,
    /// Whether there is a judge in the hub.
    strict: bool,
    /// How often to ping, how long to wait.
    times: Strict,
}

impl Shared {
    fn new(token: &str, csrf_token: String, strict: Option<Strict>) -> Self {
        Self {
            strict: strict.is_some(),
            times: strict.clone().unwrap_or_default(),
            hub: Mutex::new(Hub::new(strict)),
            browsers: broadcast::channel(BROWSER_BACKLOG).0,
            changes: watch::Sender::new(0),
            deadline_moved: Notify::new(),
            faults: watch::Sender::new(Faults::default()),
            policy: watch::Sender::new(Policy::default()),
            token: digest(token.as_bytes()),
            csrf_digest: digest(csrf_token.as_bytes()),
            csrf_token,
        }
    }

    /// Makes one decision and lets the world know of it: browsers, the sweep, waiting tests.
    ///
    /// Browsers are told under the lock, so that a snapshot and what follows it fit together.
    fn apply<R>(&self, decide: impl FnOnce(&mut Hub, Moment) -> R) -> R {
        let mut hub = self.lock();
        hub.set_audience(self.browsers.receiver_count() > 0);
        let result = decide(&mut hub, Moment::now());
        for message in hub.take_news() {
            // An error says that the last browser has just left.
            drop(self.browsers.send(nixfleet_protocol::encode(&message).into()));
        }
        if hub.take_deadline_moved() {
            self.deadline_moved.notify_one();
        }
        drop(hub);
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
        result
    }

    /// Reads without changing anything.
    fn read<R>(&self, look: impl FnOnce(&Hub) -> R) -> R {
        look(&self.lock())
    }

    /// A panic under the lock is a bug in a decision on one host; the others are still worth showing.
    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to behave and to judge as existing dashboards do.
    fn is_strict(&self) -> bool {
        self.strict
    }

    /// Whether to announce nothing beyond the host's name.
    fn is_legacy(&self) -> bool {
        self.strict || self.faults.borrow().no_capabilities
    }

    fn token_matches(&self, presented: &[u8]) -> bool {
        digest(presented) == self.token
    }

    fn csrf_matches(&self, presented: &[u8]) -> bool {
        digest(presented) == self.csrf_digest
    }
}

/// Secrets are compared as digests: how long that takes says nothing about the secret itself.
fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// 128 random bits in hex.
fn random_token() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
