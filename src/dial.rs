//! One attempt to connect: from the settings to a WebSocket on which nothing has been sent yet.
//!
//! ```text
//! credentials.rs  what is read anew for each attempt: the token, the client certificate
//! identity.rs     all of that without its secrets, to notice that it was replaced
//! client_auth.rs  the client certificate in TLS, and its refusal
//! clock_skew.rs   a clock that differs from the dashboard's
//! target.rs       where the WebSocket is
//! reach.rs        TCP to a name
//! addresses.rs    the addresses of a name, in the order in which they are tried
//! race.rs         several addresses at the same time: the first that answers wins
//! unanswered.rs   what the addresses said that did not answer
//! tunnel.rs       the way to the target: direct, or through a proxy
//! proxy_failure.rs why a proxy does not help
//! tls.rs          TLS to the dashboard: which certificates are trusted
//! handshake.rs    how a TLS handshake fails
//! mistrust.rs     why a certificate is not trusted
//! upgrade.rs      the HTTP request that becomes a WebSocket, and its answer
//! redirect.rs     answers that name another address
//! step.rs         how far an attempt has come
//! quote.rs        what others say, for a message
//! failure.rs      why there is no connection
//! retry_after.rs  how long a busy dashboard wants to be left alone
//! hard_close.rs   a second handle of the socket, to discard what waits in it
//! blocking.rs     calls that may block, on threads of their own
//! ```
//!
//! `redirect`, `tunnel`, `tls` and `upgrade` do not know of each other; this module puts them together.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::http::HeaderMap;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use nixfleet_config::Connection;
use nixfleet_protocol::{MAX_RECEIVED_BYTES, MAX_SENT_BYTES};

use credentials::Credentials;
pub use failure::{Cause, ConnectError};
pub use hard_close::{HardClose, UNCONFIRMED};
pub use identity::Identity;
pub use redirect::Redirect;
pub(crate) use retry_after::date;
use step::Step;
use target::Target;
pub use upgrade::{Answer, Mismatch, UpgradeError};

pub(crate) mod addresses;
mod blocking;
pub mod client_auth;
pub mod clock_skew;
mod credentials;
pub mod failure;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handshake;
mod hard_close;
mod identity;
mod mistrust;
mod proxy_failure;
mod quote;
pub(crate) mod race;
mod reach;
mod redirect;
mod retry_after;
pub mod step;
pub mod target;
mod tls;
mod tunnel;
pub(crate) mod unanswered;
mod upgrade;

/// Time limit for everything together, from the lookup to the answer of the dashboard. Longer than a bad link needs,
/// and shorter than the time after which a dashboard shows the host as offline.
const CONNECT_DEADLINE: Duration = Duration::from_secs(15);

/// What a connection is made of: TCP, or TLS in it.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The bytes of a connection. One type for all of them keeps the program small; the call through a pointer is nothing
/// beside the system call behind it.
pub type Stream = Box<dyn Duplex>;

/// A WebSocket on which no message has been sent yet.
pub type Socket = WebSocketStream<Stream>;

/// A connection that was made.
#[derive(Debug)]
pub struct Dialled<S> {
    /// No message was sent on it yet.
    pub socket: WebSocketStream<S>,
    /// How to break it off.
    pub hard_close: HardClose,
    /// What proved on it who this host is.
    pub identity: Identity,
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
    fn connect(&self) -> impl Future<Output = Result<Dialled<Self::Stream>, ConnectError>>;
}

impl Connect for Connection {
    type Stream = Stream;

    async fn connect(&self) -> Result<Dialled<Stream>, ConnectError> {
        connect(self).await
    }
}

/// Connects once. Token and certificates are read at each attempt, so new ones need no restart.
///
/// # Errors
/// [`ConnectError`], after 15 seconds at the latest.
pub async fn connect(connection: &Connection) -> Result<Dialled<Stream>, ConnectError> {
    let mut seen = Seen::default();
    let attempt = attempt(connection, true, &mut seen);
    let result = timeout(CONNECT_DEADLINE, attempt).await;
    result.unwrap_or_else(|_| Err(ConnectError::Slow(seen.step, CONNECT_DEADLINE)))
}

/// What would prove now who this host is.
///
/// # Errors
/// [`ConnectError`]: something of it cannot be read.
pub async fn identity(connection: &Connection) -> Result<Identity, ConnectError> {
    Ok(credentials(connection, true).await?.identity)
}

/// Reads the files, which must not block the only thread of the runtime.
async fn credentials(connection: &Connection, with_token: bool) -> Result<Credentials, ConnectError> {
    let source = connection.clone();
    let read = blocking::run("credentials", move || Credentials::read(&source, with_token)).await;
    read.map_err(ConnectError::NoThread)?
}

/// What an attempt got to see, also if it failed.
#[derive(Debug, Default)]
pub struct Seen {
    /// How far it has come.
    pub step: Step,
    /// The headers of the dashboard's answer, whether it accepted or refused.
    pub headers: Option<HeaderMap>,
    /// The address to which the dashboard redirected, if that was followed. The rest is about that one.
    pub redirected: Option<Target>,
    /// The certificate of the dashboard in DER, if there was a connection with TLS.
    pub certificate: Option<Vec<u8>>,
}

/// The result of [`probe`].
#[derive(Debug)]
pub struct Probe {
    /// Why there was no connection; none if there was one.
    pub error: Option<ConnectError>,
    /// What was seen on the way.
    pub seen: Seen,
}

/// Connects as [`connect`] does, sends no message and closes again. Without a registration it does not
/// evict the agent that is connected under the same hostname. With `with_token` false it sends no token,
/// which the dashboard should refuse. `limit` bounds the attempt.
pub async fn probe(connection: &Connection, with_token: bool, limit: Duration) -> Probe {
    /// For the dashboard's answer to the close frame.
    const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
    let mut seen = Seen::default();
    let attempt = timeout(limit, attempt(connection, with_token, &mut seen)).await;
    let error = match attempt.unwrap_or_else(|_| Err(ConnectError::Slow(seen.step, limit))) {
        Ok(mut dialled) => {
            drop(timeout(CLOSE_TIMEOUT, dialled.socket.close(None)).await);
            None
        }
        Err(err) => Some(err),
    };
    Probe { error, seen }
}

async fn attempt(
    connection: &Connection,
    with_token: bool,
    seen: &mut Seen,
) -> Result<Dialled<Stream>, ConnectError> {
    let credentials = credentials(connection, with_token).await?;
    let target = Target::new(connection.url.expose().clone());
    let first = to(&target, connection, &credentials, seen).await;
    let next = match &first {
        Err(ConnectError::Redirected(redirect)) => redirect.follow(),
        _ => None,
    };
    let last = match next {
        Some(next) => {
            redirect::announce(&target, next);
            *seen = Seen { redirected: Some(next.clone()), ..Seen::default() };
            to(next, connection, &credentials, seen).await.map_err(|err| match err {
                ConnectError::Redirected(again) => ConnectError::Redirected(Box::new(again.behind_another())),
                other => other,
            })
        }
        None => first,
    };
    let (socket, hard_close) = last.map_err(|err| err.about_client_certificate(&credentials.client_auth))?;
    Ok(Dialled { socket, hard_close, identity: credentials.identity })
}

/// Connects to this address.
async fn to(
    target: &Target,
    connection: &Connection,
    credentials: &Credentials,
    seen: &mut Seen,
) -> Result<(Socket, HardClose), ConnectError> {
    // Before anything is sent: a file that is wrong is said whether the dashboard is there or not.
    let settings = match target.is_secure() {
        true => {
            let (source, client_auth) = (connection.clone(), Arc::clone(&credentials.client_auth));
            let read = blocking::run("certificates", move || tls::config(&source, Some(client_auth))).await;
            Some(read.map_err(ConnectError::NoThread)??)
        }
        false => None,
    };
    seen.step = Step::Reaching;
    let (mut stream, hard_close) = tunnel::open(target, connection, credentials.proxy.as_ref()).await?;
    if let Some(settings) = settings {
        seen.step = Step::Handshake;
        (stream, seen.certificate) = tls::wrap(stream, target.host(), settings).await?;
    }
    seen.step = Step::Answer;
    let socket = upgrade::upgrade(stream, target, credentials.bearer.as_ref(), &mut seen.headers).await;
    Ok((socket.map_err(|err| ConnectError::of_upgrade(err, target))?, hard_close))
}
