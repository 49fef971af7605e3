//! Connections of agents: accepted, encrypted, and out of HTTP.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use nixfleet_sessions::{Stream, Wire};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::clients::Shown;
use crate::door::{Door, come_again};
use crate::figures::Figures;
use crate::health::Gateway;
use crate::places::{Place, Places};
use crate::session;

/// Where agents connect.
const PATH: &str = "/ws";

/// Longest wait for the handshake of TLS, and for the head of the request after it.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Longest time from the end of that handshake until a connection is a WebSocket, or has its other answer.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);

/// Buffer of HTTP, in bytes: the smallest that the library takes. A request of an agent has some 500.
const BUFFER: usize = 8 * 1024;

/// Pause after a failed `accept`. Its usual cause, a lack of file descriptors, does not disappear at once.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What all connections need.
#[derive(Debug)]
pub(crate) struct Shared {
    /// None until NATS was reached. Agents are answered from the start on: one that waits for an answer would try no
    /// other gateway.
    pub(crate) gateway: Gateway,
    pub(crate) figures: Arc<Figures>,
    pub(crate) door: Arc<Door>,
    pub(crate) places: Arc<Places>,
}

/// Serves all connections for as long as it is polled. They go on afterwards.
pub(crate) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((tcp, peer)) => take(&shared, tcp, peer),
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn take(shared: &Arc<Shared>, tcp: TcpStream, peer: SocketAddr) {
    let Some(place) = shared.places.take(peer.ip()) else {
        shared.figures.no_room.add();
        return debug!(%peer, "no room for another connection");
    };
    if let Err(error) = tcp.set_nodelay(true) {
        debug!(%peer, %error, "cannot send small frames at once on this connection");
    }
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        if let Err(error) = http(shared, tcp, peer, place).await {
            debug!(%peer, %error, "a connection ended before it was a WebSocket");
        }
    });
}

/// Speaks TLS and HTTP, until the connection becomes a WebSocket.
async fn http(
    shared: Arc<Shared>,
    tcp: TcpStream,
    peer: SocketAddr,
    place: Place,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (stream, shown) = match shared.door.tls() {
        None => (Stream::Tcp(tcp), None),
        Some(speech) => {
            let accepting = TlsAcceptor::from(speech.config).accept(tcp);
            let tls = timeout(HANDSHAKE_LIMIT, accepting)
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            let shown = tls.get_ref().1.peer_certificates().zip(speech.clients);
            let shown = shown.and_then(|(chain, clients)| Shown::read(chain, &clients)).map(Arc::new);
            (Stream::Tls(Box::new(tls)), shown)
        }
    };
    let place = Arc::new(place);
    let service = service_fn(|request: Request<Incoming>| {
        let (shared, shown, place) = (Arc::clone(&shared), shown.clone(), Arc::clone(&place));
        async move {
            let mut answer = answer(shared, request, shown, peer, place).await;
            if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                // An agent asks once. Who shows nothing keeps no place.
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_LIMIT).max_buf_size(BUFFER);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(Wire::new(stream)), service);
    timeout(REQUEST_LIMIT, serving).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Answers one request. What becomes a WebSocket is served by a task of its own.
async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
    shown: Option<Arc<Shown>>,
    peer: SocketAddr,
    place: Arc<Place>,
) -> Response<Body> {
    let (mut parts, _) = request.into_parts();
    if parts.uri.path() != PATH || parts.method != Method::GET {
        return (StatusCode::NOT_FOUND, "agents connect at /ws").into_response();
    }
    let Some(gate) = shared.gateway.get() else {
        shared.figures.turned_away.add();
        return come_again("the gateway has not reached NATS yet");
    };
    let identity = match shared.door.admit(gate, &parts.headers, shown.as_ref(), peer) {
        Ok(identity) => identity,
        Err(refusal) => return *refusal,
    };
    let (upgrade, answer) = match nixfleet_sessions::begin(&mut parts).await {
        Ok(begun) => begun,
        Err(refusal) => return refusal,
    };
    let gate = Arc::clone(gate);
    tokio::spawn(async move {
        let Some(socket) = upgrade.socket().await else {
            return debug!(%peer, "a connection ended with its request");
        };
        session::serve(gate, peer, identity, socket).await;
        drop(place);
    });
    answer
}
