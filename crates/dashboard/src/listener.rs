//! The listener of the dashboard, and the peers of its connections.
//!
//! Before a login, all that strangers can do is to open connections. So there is a number of them, and each has a time
//! and a size for its requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use nixfleet_sessions::{Stream, Wire};
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use crate::Lifetime;

/// Pause after a failed `accept`. Its usual cause, a lack of file descriptors, does not disappear at once.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How long a connection waits for the whole head of its next request. Browsers and proxies keep connections for later
/// requests, and most of them give up those that were not used for a minute.
const HEAD_LIMIT: Duration = Duration::from_secs(75);

/// Buffer of HTTP, in bytes, which a head must fit in: what proxies in front pass on with all their cookies. More of a
/// head is answered with 431.
const BUFFER: usize = 32 * 1024;

/// Most connections of browsers. A page has one for its socket and a few more while it loads, so these are for a
/// thousand people. Their buffers have 128 MiB if all are full.
const MOST_OF_BROWSERS: usize = 4 * 1024;

/// File descriptors that connections leave for the rest of the process: files, logs, and connections to other servers.
const KEPT_FILES: u64 = 64;

/// How often the log says that there is no room.
const FULL_PAUSE: Duration = Duration::from_secs(60);

/// Room for the connections of browsers.
pub(super) fn of_browsers() -> Arc<Semaphore> {
    room(MOST_OF_BROWSERS)
}

/// Room for the connections of agents and browsers. They are as many as this process may have.
pub(super) fn of_agents() -> Arc<Semaphore> {
    room(Semaphore::MAX_PERMITS)
}

/// Room for so many connections, or for as many as there are files for.
fn room(most: usize) -> Arc<Semaphore> {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let places = files.saturating_sub(KEPT_FILES).max(1);
    Arc::new(Semaphore::new(usize::try_from(places).unwrap_or(usize::MAX).min(most)))
}

/// Serves all connections for as long as it is polled. They go on afterwards, until their lifetime has ended.
pub(super) async fn accept(listener: TcpListener, room: Arc<Semaphore>, app: Router, lifetime: Lifetime) {
    let mut full = Full::default();
    loop {
        match listener.accept().await {
            Ok((tcp, peer)) => match Arc::clone(&room).try_acquire_owned() {
                Ok(place) => drop(tokio::spawn(http(tcp, peer, place, app.clone(), lifetime.clone()))),
                Err(_) => full.closed_one(Instant::now()),
            },
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Connections that were closed because there was no room, and when the log said so.
#[derive(Debug, Default)]
struct Full {
    closed: u64,
    said: Option<Instant>,
}

impl Full {
    fn closed_one(&mut self, now: Instant) {
        self.closed += 1;
        if self.said.is_none_or(|said| now.saturating_duration_since(said) >= FULL_PAUSE) {
            warn!(
                closed = self.closed,
                "there are too many connections, so others are closed; a proxy in front can limit those of one address"
            );
            *self = Self { closed: 0, said: Some(now) };
        }
    }
}

/// Speaks HTTP, until the connection becomes a WebSocket.
async fn http(
    tcp: TcpStream,
    address: SocketAddr,
    place: OwnedSemaphorePermit,
    app: Router,
    mut lifetime: Lifetime,
) {
    if let Err(error) = tcp.set_nodelay(true) {
        debug!(peer = %address, %error, "cannot send small frames at once on this connection");
    }
    let wire = Wire::new(Stream::Tcp(tcp));
    let peer = Peer { address, local: wire.local_address(), place: Arc::new(place) };
    let begun = Arc::new(Notify::new());
    let of_service = Arc::clone(&begun);
    let service = service_fn(move |mut request: Request<Incoming>| {
        of_service.notify_one();
        request.extensions_mut().insert(ConnectInfo(peer.clone()));
        TowerToHyperService::new(app.clone()).call(request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT).max_buf_size(BUFFER);
    let mut connection = std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(wire), service));
    // The library looks at the first bytes to tell versions of HTTP apart, and sets no time for that.
    let silent = async {
        if timeout(HEAD_LIMIT, begun.notified()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    let served = tokio::select! {
        () = silent => return debug!(peer = %address, "a connection was closed that had no request"),
        served = &mut connection => served,
        () = lifetime.ended() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        debug!(peer = %address, %error, "a connection ended early");
    }
}

/// The peer of a connection, for handlers.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The address of this machine that the connection was made to, if the kernel still knows it.
    pub(super) local: Option<SocketAddr>,
    /// Its place among all connections. A socket keeps it until it ends.
    pub(super) place: Arc<OwnedSemaphorePermit>,
}
