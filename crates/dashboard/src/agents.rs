//! Sockets of agents: authentication, the end of HTTP, and one task for each socket.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{ConnectInfo, FromRequestParts, Request, State, ws::WebSocketUpgrade},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use hyper::upgrade::OnUpgrade;
use hyper_util::{rt::TokioIo, server::conn::auto::upgrade};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::{debug, info};

use crate::Shared;
use crate::web::{AppState, failure};
use crate::wire::{Peer, Wire};

use session::Session;
use socket::Socket;

mod session;
mod socket;

/// `GET /ws`.
pub(super) async fn connect(
    State(state): State<AppState>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
) -> Response {
    let (mut parts, _) = request.into_parts();
    if let Some(refusal) = refusal(&state.shared, &peer, &parts.headers) {
        return refusal;
    }
    // The extractor checks the request and takes this away.
    let on_upgrade = parts.extensions.get::<OnUpgrade>().cloned();
    let key = parts.headers.get(header::SEC_WEBSOCKET_KEY).cloned();
    let (on_upgrade, key) = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Err(rejection) => return rejection.into_response(),
        Ok(_) => match on_upgrade.zip(key) {
            Some(pair) => pair,
            None => return failure(StatusCode::UPGRADE_REQUIRED, "not HTTP/1.1").into_response(),
        },
    };
    tokio::spawn(async move {
        let Some(socket) = after_http(on_upgrade).await else {
            return debug!(peer = %peer.address, "a connection ended with its request");
        };
        Session::run(state.shared, peer.address, socket, state.lifetime).await;
    });
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept(&key)),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response()
}

/// The socket, once the answer is written. None if the peer is gone.
///
/// What HTTP has used for the connection is dropped here: its buffers are larger than all that a socket needs.
async fn after_http(on_upgrade: OnUpgrade) -> Option<Socket> {
    // An error of the second kind is another listener's connection, which does not exist.
    let parts = upgrade::downcast::<TokioIo<Wire>>(on_upgrade.await.ok()?).ok()?;
    Some(Socket::new(parts.io.into_inner(), &parts.read_buf))
}

/// Base64 is visible ASCII.
fn accept(key: &HeaderValue) -> HeaderValue {
    HeaderValue::try_from(derive_accept_key(key.as_bytes())).unwrap_or(HeaderValue::from_static(""))
}

/// The answer to a request that must not become a socket, because of a fault or of its token.
fn refusal(shared: &Arc<Shared>, peer: &Peer, headers: &HeaderMap) -> Option<Response> {
    if let Some(refusal) = shared.faults.borrow().refuse_auth.clone() {
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let mut response = failure(status, "refused on request").into_response();
        if let Some(seconds) = refusal.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        return Some(response);
    }
    let presented = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    if presented.strip_prefix(b"Bearer ").is_some_and(|token| shared.token_matches(token)) {
        return None;
    }
    info!(peer = %peer.address, "an agent came with a missing or wrong token");
    let mut response = failure(StatusCode::UNAUTHORIZED, "missing or wrong token").into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    Some(response)
}
