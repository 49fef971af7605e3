//! A dashboard in memory, for tests of the agent and for the demo.
//!
//! ```text
//! agents  -- /ws ------> agents ---\                       /--> browsers -- /browser --> page
//!                                   >-- Shared { Hub } ---<
//! curl, page -- /api --> api ------/         ^             \--> Handle (tests, in process)
//!                                            |
//!                  sweep: the next offline deadline; send_updates: lists of changed hosts
//! ```
//!
//! * `hub` owns all state of hosts. Its methods are plain functions of that state, a message and the time;
//!   they never wait. All other modules use it through `Shared::apply`. Of each `host` it has the newest messages
//!   (`record`), what its commands said (`log`), which one runs (`running`), the last hour (`history`), and one
//!   line for lists (`summary`).
//! * `strict` checks the agents' messages against the needs of existing dashboards, if enabled.
//! * `feed` is the entrance for hosts whose sockets another program has, such as the gateways of a fleet.
//! * `agents` and `browsers` run one task for each socket; that of an agent is `nixfleet-sessions`. `api` answers HTTP requests, `page` has the files of the
//!   page. `faults` describes how the dashboard can misbehave, and `policy` what it requests from agents. `rate` counts
//!   registrations.
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
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use tracing::info;

use names::Names;
use shared::{Shared, send_updates, sweep};

mod agents;
mod api;
mod browsers;
mod doors;
mod faults;
mod feed;
mod figures;
mod handle;
mod history;
mod host;
mod hub;
mod listener;
mod log;
mod moment;
mod names;
mod newest;
mod page;
mod person;
mod policy;
mod rate;
mod record;
mod running;
mod shared;
mod strict;
mod summary;
mod view;
mod web;

#[cfg(test)]
mod tests;

pub use faults::{Faults, Refusal};
pub use feed::{Answer, Asked, Feed, FeedError, Outage};
pub use handle::Handle;
pub use host::SendError;
pub use listener::Peer;
pub use log::Ended;
pub use names::BadName;
pub use person::{CanLogOut, Leave, Person, Stay};
pub use policy::Policy;
pub use rate::Registrations;
pub use record::Recorded;
pub use running::Progress;
pub use strict::{Rule, Strict, Verdict, Violation};
pub use view::{HostStatus, HostView, LastStatus};

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
    /// For connections.
    room: Arc<Semaphore>,
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
        let csrf_token = checked(options.csrf_token)?;
        Self::listen(options.listen, Shared::new(&options.token, csrf_token, options.strict)).await
    }

    /// Listens for browsers only: another program has the sockets of the agents. It tells about them by the [`Feed`],
    /// and passes on what is [`Asked`] of them. Without a CSRF token a random one is made.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn fed(
        listen: SocketAddr,
        csrf_token: Option<String>,
    ) -> Result<(Self, Feed, mpsc::Receiver<Asked>), BindError> {
        let (sender, asked) = feed::requests();
        let dashboard = Self::listen(listen, Shared::fed(checked(csrf_token)?, sender)).await?;
        let feed = Feed::new(Arc::clone(&dashboard.shared));
        Ok((dashboard, feed, asked))
    }

    async fn listen(listen: SocketAddr, shared: Shared) -> Result<Self, BindError> {
        let failed = |source| BindError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let room = if shared.is_fed() { listener::of_browsers() } else { listener::of_agents() };
        Ok(Self { listener, address, shared: Arc::new(shared), names: Names::default(), room })
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
        self.serve_behind(|routes| routes, shutdown).await;
    }

    /// Serves as [`serve`](Self::serve), with what `wrap` puts around the routes: others beside them, or a login. Requests
    /// under another name and of pages of other sites are refused before. Handlers find the [`Peer`] as `ConnectInfo`.
    pub async fn serve_behind(
        self,
        wrap: impl FnOnce(axum::Router) -> axum::Router,
        shutdown: impl Future<Output = ()>,
    ) {
        // Both are owned by this future. When it is dropped, the tasks of all connections end.
        let (closing, closed) = watch::channel(());
        let (alive, mut all_gone) = mpsc::channel::<std::convert::Infallible>(1);
        let lifetime = Lifetime { closed: closed.clone(), _alive: alive };
        let app = api::router(Arc::clone(&self.shared), self.names, lifetime.clone(), wrap);
        info!(address = %self.address, "the dashboard listens");

        tokio::select! {
            () = shutdown => {}
            () = listener::accept(self.listener, self.room, app, lifetime) => {}
            () = sweep(&self.shared) => {}
            () = send_updates(&self.shared) => {}
        }
        drop((closing, closed));
        // Nothing is ever sent. `None` means that the last task has ended.
        if timeout(CLOSE_LIMIT, all_gone.recv()).await.is_err() {
            info!("some connections did not end in time and were dropped");
        }
    }
}

/// Every task of a connection or of a socket owns one. It signals when to end, and dropping it signals that the task has ended.
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

/// The CSRF token, or a random one.
fn checked(csrf_token: Option<String>) -> Result<String, BindError> {
    let token = match csrf_token {
        Some(token) => token,
        None => random_token().map_err(BindError::Random)?,
    };
    let fits = (1..=128).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(token) } else { Err(BindError::BadCsrfToken) }
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
