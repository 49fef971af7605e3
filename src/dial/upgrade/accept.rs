//! Whether an answer 101 belongs to the request (RFC 6455, 4.1).

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::failure::Mismatch;
use super::head::Head;
use crate::dial::quote::quote;

/// Longest name of an extension or a subprotocol in a message, in characters.
const SHOWN: usize = 60;

/// Checks the head of an answer 101 to the request with this key.
pub(super) fn check(head: &Head, key: &str) -> Result<(), Mismatch> {
    let headers = &head.headers;
    if head.is_http_1_0 {
        return Err(Mismatch::Http10);
    }
    if !lists(headers, header::UPGRADE, "websocket") {
        return Err(Mismatch::NoUpgrade);
    }
    if !lists(headers, header::CONNECTION, "upgrade") {
        return Err(Mismatch::NoConnection);
    }
    let wanted = derive_accept_key(key.as_bytes());
    let accepts: Vec<&HeaderValue> = headers.get_all(header::SEC_WEBSOCKET_ACCEPT).iter().collect();
    if accepts.is_empty() {
        return Err(Mismatch::NoAccept);
    }
    if accepts.iter().any(|value| value.as_bytes() != wanted.as_bytes()) {
        return Err(Mismatch::WrongAccept);
    }
    if let Some(extension) = named(headers, header::SEC_WEBSOCKET_EXTENSIONS) {
        return Err(Mismatch::Extension(extension));
    }
    if let Some(subprotocol) = named(headers, header::SEC_WEBSOCKET_PROTOCOL) {
        return Err(Mismatch::Subprotocol(subprotocol));
    }
    Ok(())
}

/// Whether the list in this header, which may have several lines, has this word. Letters of any case are the same
/// (RFC 9110, 7.6.1).
fn lists(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let mut words =
        headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    words.any(|given| given.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

/// What this header names. Nothing is named by an empty one.
fn named(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let value = headers.get_all(name).iter().find(|value| !value.is_empty())?;
    Some(quote(&String::from_utf8_lossy(value.as_bytes()), SHOWN))
}
