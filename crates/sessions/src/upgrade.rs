//! The end of HTTP on a connection that becomes a WebSocket.

use axum::body::Body;
use axum::extract::{FromRequestParts, ws::WebSocketUpgrade};
use axum::http::{HeaderValue, StatusCode, header, request::Parts};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::{rt::TokioIo, server::conn::auto::upgrade};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::socket::Socket;
use crate::wire::Wire;

/// A connection that becomes a WebSocket once the answer is written.
#[derive(Debug)]
pub struct Upgrade(OnUpgrade);

/// The answer to a request for a WebSocket, and what comes after it.
///
/// # Errors
/// The answer to a request that asks for something else.
pub async fn begin(parts: &mut Parts) -> Result<(Upgrade, Response), Response> {
    // The extractor checks the request and takes this away.
    let on_upgrade = parts.extensions.get::<OnUpgrade>().cloned();
    let key = parts.headers.get(header::SEC_WEBSOCKET_KEY).cloned();
    let checked = WebSocketUpgrade::from_request_parts(parts, &()).await;
    drop(checked.map_err(IntoResponse::into_response)?);
    let Some((on_upgrade, key)) = on_upgrade.zip(key) else {
        return Err((StatusCode::UPGRADE_REQUIRED, "not HTTP/1.1").into_response());
    };
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept(&key)),
    ];
    let answer = (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response();
    Ok((Upgrade(on_upgrade), answer))
}

impl Upgrade {
    /// The socket, once the answer is written. None if the peer is gone.
    ///
    /// What HTTP has used for the connection is dropped here: its buffers are larger than all that a socket needs.
    pub async fn socket(self) -> Option<Socket> {
        // An error of the second kind is another listener's connection, which does not exist.
        let parts = upgrade::downcast::<TokioIo<Wire>>(self.0.await.ok()?).ok()?;
        Some(Socket::new(parts.io.into_inner(), &parts.read_buf))
    }
}

/// Base64 is visible ASCII.
fn accept(key: &HeaderValue) -> HeaderValue {
    HeaderValue::try_from(derive_accept_key(key.as_bytes())).unwrap_or(HeaderValue::from_static(""))
}
