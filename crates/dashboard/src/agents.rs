//! Sockets of agents: authentication, and one task for each socket.

use std::sync::Arc;

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use tracing::{debug, info};

use crate::Shared;
use crate::listener::Peer;
use crate::web::{AppState, failure};

mod session;

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
    let (upgrade, answer) = match nixfleet_sessions::begin(&mut parts).await {
        Ok(begun) => begun,
        Err(refusal) => return refusal,
    };
    tokio::spawn(async move {
        let Some(socket) = upgrade.socket().await else {
            return debug!(peer = %peer.address, "a connection ended with its request");
        };
        session::run(state.shared, peer.address, socket, state.lifetime).await;
        drop(peer.place);
    });
    answer
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
