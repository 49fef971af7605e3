//! Why an HTTP request became no WebSocket, without an answer that says why.

use std::io;

use super::{MAX_HEAD, MAX_HEADERS, MAX_INTERIM};

/// Why there is no WebSocket.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The end of the connection in place of an answer.
    #[error(
        "the connection was closed without an answer to the HTTP request; look at the log of the dashboard, or of the \
         proxy in front of it"
    )]
    Closed,
    /// The end of the connection within the head of an answer.
    #[error(
        "the connection was closed in the middle of the answer to the HTTP request; look at the log of the dashboard, \
         or of the proxy in front of it"
    )]
    CutOff,
    /// The connection failed before there was an answer.
    #[error(
        "the connection broke before the answer to the HTTP request: {0}; look at the log of the dashboard, or of the \
         proxy in front of it"
    )]
    Broken(io::Error),
    /// A record of TLS came.
    #[error(
        "what listens there speaks TLS where HTTP was expected; if NIXFLEET_URL begins with ws://, write wss://"
    )]
    SpeaksTls,
    /// Something else than HTTP came; it is quoted.
    #[error("what listens there does not speak HTTP but began with {0}; check host and port in NIXFLEET_URL")]
    NoHttp(String),
    /// It looks like HTTP, and is not; with the reason.
    #[error(
        "the answer is not valid HTTP/1.1: {0}; check host and port in NIXFLEET_URL, and proxies in between"
    )]
    Malformed(String),
    /// The head is too long.
    #[error(
        "the head of the answer has more than {} KiB; check host and port in NIXFLEET_URL, and proxies in between",
        MAX_HEAD / 1024
    )]
    LargeHead,
    /// The head has too many lines.
    #[error(
        "the answer has more than {MAX_HEADERS} headers; check host and port in NIXFLEET_URL, and proxies in between"
    )]
    ManyHeaders,
    /// There are too many interim answers.
    #[error(
        "more than {MAX_INTERIM} interim answers (1xx) came and no final one; look at the log of the dashboard, or of \
         the proxy in front of it"
    )]
    OnlyInterim,
    /// 101, and yet no WebSocket.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}

/// What is wrong with an answer 101.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// HTTP/1.0 has no upgrades.
    #[error(
        "the answer 101 is HTTP/1.0, which has no WebSockets; let the proxy in front of the dashboard speak HTTP/1.1 \
         (nginx: proxy_http_version 1.1)"
    )]
    Http10,
    /// `Upgrade: websocket` is missing.
    #[error(
        "the answer 101 lacks the header `Upgrade: websocket`; let the proxy in front of the dashboard pass the headers \
         Upgrade and Connection on"
    )]
    NoUpgrade,
    /// `Connection: Upgrade` is missing.
    #[error(
        "the answer 101 lacks the header `Connection: Upgrade`; let the proxy in front of the dashboard pass the \
         headers Upgrade and Connection on"
    )]
    NoConnection,
    /// The proof that the request was read is missing.
    #[error(
        "the answer 101 lacks the header Sec-WebSocket-Accept, so something in between answered for the dashboard; \
         check host, port and path in NIXFLEET_URL, and proxies in between"
    )]
    NoAccept,
    /// The proof belongs to another request.
    #[error(
        "the answer 101 has the wrong Sec-WebSocket-Accept, so something in between answered for the dashboard, perhaps \
         from a cache; check host, port and path in NIXFLEET_URL, and proxies in between"
    )]
    WrongAccept,
    /// An extension that nobody asked for, cleaned.
    #[error(
        "the answer 101 switches on the WebSocket extension {0:?}, which the agent did not ask for; turn it off in the \
         dashboard or in the proxy in front of it"
    )]
    Extension(String),
    /// A subprotocol that nobody asked for, cleaned.
    #[error(
        "the answer 101 chooses the WebSocket subprotocol {0:?}, which the agent did not ask for; turn it off in the \
         dashboard or in the proxy in front of it"
    )]
    Subprotocol(String),
}
