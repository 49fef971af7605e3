//! One attempt to connect: DNS, TCP, TLS, the token and the WebSocket upgrade.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Once};
use std::time::Duration;

use jiff::Timestamp;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Error as WsError};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use nixfleet_config::{CaFileError, Connection, TokenError};
use nixfleet_protocol::{MAX_RECEIVED_BYTES, MAX_SENT_BYTES};

use super::backoff::Cause;
use super::blocking;
use super::reach::{Unreached, reach};
use super::retry_after::retry_after;

/// Time limit for DNS, TCP, TLS and upgrade together; several addresses of a name fit into it. Longer than a bad
/// link needs, and shorter than the time after which a dashboard shows the host as offline.
const CONNECT_DEADLINE: Duration = Duration::from_secs(15);

/// A WebSocket on which no message has been sent yet.
pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The token cannot be read. The error says by itself which file or variable it is about.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The extra certificates cannot be read. The error says by itself which file it is about.
    #[error(transparent)]
    CaFile(#[from] CaFileError),
    /// One of the extra certificates is none.
    #[error("{} has a certificate that cannot be used; check NIXFLEET_CA_FILE", .0.display())]
    CaCertificate(PathBuf, #[source] rustls::Error),
    /// There is no trusted certificate.
    #[error("no trusted certificates: the system has none, and NIXFLEET_CA_FILE is not set")]
    NoRoots,
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    /// There is no thread for what blocks: reading certificates, looking up names.
    #[error("no thread to connect with")]
    NoThread(#[source] io::Error),
    /// The name in this host and port was not found.
    #[error("cannot reach {0}")]
    Lookup(String, #[source] io::Error),
    /// There is no TCP connection to this host and port.
    #[error("cannot reach {0}")]
    Unreachable(String, #[source] io::Error),
    /// The attempt took longer than its time limit.
    #[error("no connection within {CONNECT_DEADLINE:?}")]
    Slow,
    /// 401: the dashboard does not accept the token.
    #[error("the dashboard refused the token (401); compare the agent's token with the dashboard's")]
    WrongToken,
    /// 403: the agent may not connect, whatever its token is.
    #[error(
        "the dashboard forbids this agent to connect (403); a proxy is in between, or the host is banned"
    )]
    Forbidden,
    /// 429 or 503, with the delay of `Retry-After` if there is one.
    #[error("the dashboard asks for patience ({0})")]
    Busy(StatusCode, Option<Duration>),
    /// Any other HTTP answer.
    #[error("the dashboard answered {0} instead of a WebSocket; check the path of the URL, usually /ws")]
    NoWebSocket(StatusCode),
    /// The TLS or WebSocket handshake failed.
    #[error("the handshake failed; check that the URL's scheme, ws or wss, suits the port")]
    Handshake(#[source] Box<WsError>),
}

impl ConnectError {
    /// The name under which this failure is counted.
    pub fn counted_as(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::CaFile(_) | Self::CaCertificate(..) | Self::NoRoots => "certificates",
            Self::Tls(_) => "tls",
            Self::NoThread(_) => "no_thread",
            Self::Lookup(..) | Self::Unreachable(..) => "unreachable",
            Self::Slow => "slow",
            Self::WrongToken => "refused_token",
            Self::Forbidden => "forbidden",
            Self::Busy(..) => "busy",
            Self::NoWebSocket(_) => "no_websocket",
            Self::Handshake(_) => "handshake",
        }
    }

    /// The kind of failure, which decides the next delay.
    pub fn cause(&self) -> Cause {
        match self {
            Self::WrongToken | Self::Forbidden | Self::Token(_) => Cause::Refused,
            // getaddrinfo(3) says why only in words. Whatever it was, nothing was sent to the dashboard.
            Self::Lookup(..) => Cause::Local,
            Self::Unreachable(_, err) => Cause::of_tcp(err),
            _ => Cause::Broken,
        }
    }

    /// The TLS error, if TLS is what failed.
    pub fn tls(&self) -> Option<&rustls::Error> {
        match self {
            Self::Tls(err) => Some(err),
            Self::Handshake(err) => match err.as_ref() {
                WsError::Io(err) => err.get_ref()?.downcast_ref(),
                _ => None,
            },
            _ => None,
        }
    }

    /// The shortest delay that the dashboard asked for.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy(_, after) => *after,
            _ => None,
        }
    }
}

/// Limits and buffer sizes of the socket. tungstenite's defaults take twenty times the memory.
pub fn limits() -> WebSocketConfig {
    /// Bytes. A dashboard's messages have a few hundred.
    const READ: usize = 4 * 1024;
    /// Bytes. One batch of output fits into one write.
    const WRITE: usize = 32 * 1024;
    WebSocketConfig::default()
        .read_buffer_size(READ)
        .write_buffer_size(WRITE)
        // Everything that is fed between two flushes, plus one message.
        .max_write_buffer_size(4 * MAX_SENT_BYTES)
        .max_message_size(Some(MAX_RECEIVED_BYTES))
        .max_frame_size(Some(MAX_RECEIVED_BYTES))
}

/// Makes connections to a dashboard.
pub trait Connect {
    /// What a connection is made of.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;
    /// Connects once.
    ///
    /// # Errors
    /// [`ConnectError`]
    fn connect(
        &self,
    ) -> impl Future<Output = Result<(WebSocketStream<Self::Stream>, HardClose), ConnectError>>;
}

impl Connect for Connection {
    type Stream = MaybeTlsStream<TcpStream>;

    async fn connect(&self) -> Result<(Socket, HardClose), ConnectError> {
        connect(self).await
    }
}

/// Connects once. The token is read at each attempt, so a new one needs no restart.
///
/// # Errors
/// [`ConnectError`], after 15 seconds at the latest.
pub async fn connect(connection: &Connection) -> Result<(Socket, HardClose), ConnectError> {
    let mut headers = None;
    let attempt = attempt(connection, true, &mut headers);
    timeout(CONNECT_DEADLINE, attempt).await.unwrap_or(Err(ConnectError::Slow))
}

/// The result of [`probe`].
#[derive(Debug)]
pub struct Probe {
    /// Why there was no connection; none if there was one.
    pub error: Option<ConnectError>,
    /// The headers of the dashboard's answer, whether it accepted or refused.
    pub headers: Option<HeaderMap>,
    /// The certificate of the dashboard in DER, if there was a connection with TLS.
    pub certificate: Option<Vec<u8>>,
}

/// Connects as [`connect`] does, sends no message and closes again. Without a registration it does not
/// evict the agent that is connected under the same hostname. With `with_token` false it sends no token,
/// which the dashboard should refuse. `limit` bounds the attempt.
pub async fn probe(connection: &Connection, with_token: bool, limit: Duration) -> Probe {
    /// For the dashboard's answer to the close frame.
    const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
    let mut headers = None;
    let attempt = timeout(limit, attempt(connection, with_token, &mut headers)).await;
    let (error, certificate) = match attempt.unwrap_or(Err(ConnectError::Slow)) {
        Ok((mut socket, _)) => {
            let certificate = certificate(&socket);
            drop(timeout(CLOSE_TIMEOUT, socket.close(None)).await);
            (None, certificate)
        }
        Err(err) => (Some(err), None),
    };
    Probe { error, headers, certificate }
}

fn certificate(socket: &Socket) -> Option<Vec<u8>> {
    match socket.get_ref() {
        MaybeTlsStream::Rustls(tls) => Some(tls.get_ref().1.peer_certificates()?.first()?.to_vec()),
        _ => None,
    }
}

async fn attempt(
    connection: &Connection,
    with_token: bool,
    headers: &mut Option<HeaderMap>,
) -> Result<(Socket, HardClose), ConnectError> {
    let source = connection.clone();
    // This reads files and the certificate store, which must not block the only thread of the runtime.
    let prepared = blocking::run("prepare", move || prepare(&source, with_token)).await;
    let (bearer, connector) = prepared.map_err(ConnectError::NoThread)??;
    let mut request = connection
        .url
        .expose()
        .as_str()
        .into_client_request()
        .map_err(|err| ConnectError::Handshake(Box::new(err)))?;
    if let Some(bearer) = bearer {
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
    }

    let host = connection.url.expose().host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = connection.url.expose().port_or_known_default().unwrap_or(443);
    let unreachable = |err| ConnectError::Unreachable(format!("{host}:{port}"), err);
    let tcp = reach(host, port).await.map_err(|err| match err {
        Unreached::NoThread(err) => ConnectError::NoThread(err),
        Unreached::Lookup(err) => ConnectError::Lookup(format!("{host}:{port}"), err),
        Unreached::Tcp(err) => unreachable(err),
    })?;
    // A heartbeat is one small packet, which Nagle's algorithm would delay.
    tcp.set_nodelay(true).map_err(unreachable)?;
    #[cfg(target_os = "linux")]
    set_user_timeout(&tcp);
    let hard_close = HardClose::of_socket(tcp.as_fd().try_clone_to_owned().map_err(unreachable)?);
    match client_async_tls_with_config(request, tcp, Some(limits()), Some(connector)).await {
        Ok((socket, response)) => {
            *headers = Some(response.into_parts().0.headers);
            Ok((socket, hard_close))
        }
        Err(WsError::Http(response)) => {
            let refusal = refusal(response.status(), response.headers());
            *headers = Some(response.into_parts().0.headers);
            Err(refusal)
        }
        Err(err) => Err(ConnectError::Handshake(Box::new(err))),
    }
}

/// A second handle of a connection's socket, to discard its send buffer at the end.
pub struct HardClose(Box<dyn FnOnce() + Send>);

impl fmt::Debug for HardClose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HardClose")
    }
}

impl HardClose {
    /// Makes the kernel discard unsent data when the socket is closed. Otherwise it would go on trying to
    /// deliver it, and heartbeats of a dead connection would arrive when the network is back.
    pub fn break_off(self) {
        (self.0)();
    }

    /// Does so by `discard`.
    pub fn by(discard: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(discard))
    }

    fn of_socket(socket: OwnedFd) -> Self {
        Self::by(move || {
            // An error means that the connection is already gone.
            rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).ok();
        })
    }
}

/// TCP_USER_TIMEOUT: how long sent data may stay unacknowledged before the kernel ends the connection.
/// Shorter than [`SILENCE`](super::session::SILENCE), after which the session would end it anyway.
pub const UNCONFIRMED: Duration = Duration::from_secs(40);

#[cfg(target_os = "linux")]
fn set_user_timeout(tcp: &TcpStream) {
    let limit = u32::try_from(UNCONFIRMED.as_millis()).unwrap_or(u32::MAX);
    if let Err(err) = rustix::net::sockopt::set_tcp_user_timeout(tcp, limit) {
        tracing::debug!("No time limit for unconfirmed data: {err}");
    }
}

fn prepare(
    connection: &Connection,
    with_token: bool,
) -> Result<(Option<HeaderValue>, Connector), ConnectError> {
    let bearer = if with_token { Some(bearer(connection)?) } else { None };
    let connector = if connection.url.expose().scheme() == "wss" {
        Connector::Rustls(Arc::new(tls(connection)?))
    } else {
        Connector::Plain
    };
    Ok((bearer, connector))
}

fn bearer(connection: &Connection) -> Result<HeaderValue, ConnectError> {
    /// The token is read for every attempt. Once per process is enough for a warning about its file.
    static WARNED: Once = Once::new();
    let token = connection.token.read()?;
    if let Some(warning) = token.warning() {
        WARNED.call_once(|| tracing::warn!("{warning}"));
    }
    let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose()))
        .map_err(|err| ConnectError::Handshake(Box::new(tungstenite::Error::HttpFormat(err.into()))))?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

fn tls(connection: &Connection) -> Result<ClientConfig, ConnectError> {
    let mut roots = RootCertStore::empty();
    // Certificates of the system that cannot be read are skipped.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = &connection.ca_file {
        for certificate in nixfleet_config::certificates(path)? {
            let unusable = |err| ConnectError::CaCertificate(path.clone(), err);
            roots.add(certificate).map_err(unusable)?;
        }
    }
    if roots.is_empty() {
        return Err(ConnectError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ConnectError::Tls)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn refusal(status: StatusCode, headers: &HeaderMap) -> ConnectError {
    match status {
        StatusCode::UNAUTHORIZED => ConnectError::WrongToken,
        StatusCode::FORBIDDEN => ConnectError::Forbidden,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            ConnectError::Busy(status, retry_after(headers, Timestamp::now()))
        }
        other => ConnectError::NoWebSocket(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        let none = HeaderMap::new();
        assert!(matches!(refusal(StatusCode::UNAUTHORIZED, &none), ConnectError::WrongToken));
        assert!(matches!(refusal(StatusCode::FORBIDDEN, &none), ConnectError::Forbidden));
        assert!(matches!(refusal(StatusCode::NOT_FOUND, &none), ConnectError::NoWebSocket(_)));
        assert_eq!(refusal(StatusCode::UNAUTHORIZED, &none).cause(), Cause::Refused);
        let mut headers = HeaderMap::new();
        for (text, seconds) in
            [("7", Some(7)), ("999999", Some(600)), ("Wed, 21 Oct 2015 07:28:00 GMT", Some(0))]
        {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(text));
            let error = refusal(StatusCode::SERVICE_UNAVAILABLE, &headers);
            assert_eq!(error.retry_after(), seconds.map(Duration::from_secs), "{text}");
            assert_eq!(error.cause(), Cause::Broken);
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_kernel_gives_up_before_the_session_would() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        set_user_timeout(&tcp);
        let limit = rustix::net::sockopt::tcp_user_timeout(&tcp).unwrap();
        assert_eq!(u128::from(limit), UNCONFIRMED.as_millis());
    }
}
