//! The way to NATS.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use nixfleet_os::address::public;
use nixfleet_os::text::one_line;
use percent_encoding::percent_decode_str;

/// The oldest server with entries that expire one by one and leave a marker.
const MIN_VERSION: (i64, i64, i64) = (2, 11, 0);

/// The longest pause between two attempts to connect. Gateways and dashboards are few, and without NATS of no use.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How often the connection is looked after. A dead one is found within two of them.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// How long one attempt may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Longest quotation of a bad setting.
const MAX_QUOTED: usize = 80;

/// How to log in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Login {
    /// By the client certificate, by the user and password in the first address that has them, or not at all.
    #[default]
    None,
    /// A file with credentials: a JWT and the seed of an NKey.
    Credentials(PathBuf),
    /// A file with the seed of an NKey.
    Nkey(PathBuf),
}

/// How to connect.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Addresses of servers, such as `nats://10.0.0.1:4222` or `tls://nats.example.org`.
    pub servers: Vec<String>,
    /// How to log in.
    pub login: Login,
    /// Certificates to trust in addition.
    pub ca_file: Option<PathBuf>,
    /// A client certificate and its key.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// What the servers show of this connection.
    pub name: String,
    /// First part of the subjects of replies, such as `_INBOX_gateway`. A login that may read its own replies only has
    /// one of its own. None means `_INBOX`.
    pub inbox_prefix: Option<String>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// An address cannot be read.
    #[error("`{address}` is no address of a NATS server; write it like nats://10.0.0.1:4222")]
    Address {
        /// The address, without its login.
        address: String,
        /// The cause.
        source: std::io::Error,
    },
    /// No address is given.
    #[error("no address of a NATS server is given")]
    NoServer,
    /// The prefix of replies cannot be one.
    #[error("`{}` is no prefix for replies; write it like _INBOX_gateway", one_line(.0, MAX_QUOTED))]
    Prefix(String),
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The servers do not take the connection.
    #[error("cannot connect to NATS at {servers}")]
    Connect {
        /// The addresses.
        servers: String,
        /// The cause.
        source: async_nats::ConnectError,
    },
    /// The server is too old.
    #[error(
        "the NATS server at {servers} is version {version}; entries that expire need 2.11 or newer: update nats-server"
    )]
    TooOld {
        /// The addresses.
        servers: String,
        /// Its version.
        version: String,
    },
}

/// Connects. A connection that is lost later is made again, for ever.
///
/// # Errors
/// [`ConnectError`], also if no server answers now.
pub async fn connect(options: &Options) -> Result<Client, ConnectError> {
    let servers = addresses(options)?;
    let shown = options.servers.iter().map(|address| public(address)).collect::<Vec<_>>().join(", ");
    let connecting = login(options, &servers).await?.connect(servers).await;
    let client = connecting.map_err(|source| ConnectError::Connect { servers: shown.clone(), source })?;
    let (major, minor, patch) = MIN_VERSION;
    if !client.is_server_compatible(major, minor, patch) {
        return Err(ConnectError::TooOld { servers: shown, version: client.server_info().version });
    }
    Ok(client)
}

fn addresses(options: &Options) -> Result<Vec<ServerAddr>, ConnectError> {
    if options.servers.is_empty() {
        return Err(ConnectError::NoServer);
    }
    let one = |address: &String| {
        address.parse().map_err(|source| ConnectError::Address { address: public(address), source })
    };
    options.servers.iter().map(one).collect()
}

/// The login in an address. The library leaves it out.
fn user_and_password(server: &ServerAddr) -> Option<(String, String)> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    Some((decoded(server.username()?), decoded(server.password()?)))
}

async fn login(options: &Options, servers: &[ServerAddr]) -> Result<ConnectOptions, ConnectError> {
    let unreadable = |path: &PathBuf| {
        let path = path.clone();
        move |source| ConnectError::File { path, source }
    };
    let mut made = match &options.login {
        Login::None => match servers.iter().find_map(user_and_password) {
            Some((user, password)) => ConnectOptions::with_user_and_password(user, password),
            None => ConnectOptions::new(),
        },
        Login::Credentials(path) => {
            ConnectOptions::with_credentials_file(path).await.map_err(unreadable(path))?
        }
        Login::Nkey(path) => {
            let seed = tokio::fs::read_to_string(path).await.map_err(unreadable(path))?;
            if nkeys::KeyPair::from_seed(seed.trim()).is_err() {
                let what = "it has no seed of an NKey, which begins with SU";
                return Err(unreadable(path)(io::Error::new(io::ErrorKind::InvalidData, what)));
            }
            ConnectOptions::with_nkey(seed.trim().to_owned())
        }
    };
    // The library reads these at each handshake, and does not say which one is missing.
    let pair = options.client_certificate.iter().flat_map(|(certificate, key)| [certificate, key]);
    for path in options.ca_file.iter().chain(pair) {
        tokio::fs::read(path).await.map_err(unreadable(path))?;
    }
    if let Some(ca) = &options.ca_file {
        made = made.add_root_certificates(ca.clone());
    }
    if let Some((certificate, key)) = &options.client_certificate {
        made = made.add_client_certificate(certificate.clone(), key.clone());
    }
    if let Some(prefix) = &options.inbox_prefix {
        // A wildcard or a space in it would only show later, by requests that nobody answers.
        let plain = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if !prefix.split('.').all(plain) {
            return Err(ConnectError::Prefix(prefix.clone()));
        }
        made = made.custom_inbox_prefix(prefix);
    }
    let (connected, complained) = (AtomicBool::new(false), AtomicBool::new(false));
    Ok(made
        .name(&options.name)
        .ping_interval(PING_INTERVAL)
        .connection_timeout(CONNECT_LIMIT)
        .reconnect_delay_callback(|attempts| {
            LONGEST_PAUSE.min(Duration::from_millis(50) * u32::try_from(attempts).unwrap_or(u32::MAX))
        })
        .event_callback(move |event| {
            let again = match event {
                Event::Connected => {
                    complained.store(false, Relaxed);
                    connected.swap(true, Relaxed)
                }
                Event::ClientError(_) => complained.swap(true, Relaxed),
                _ => false,
            };
            async move { note(&event, again) }
        }))
}

/// What happens to the connection, for the log. Of what happens `again`, a new connection is news, and an error since the
/// last one is not: each attempt has one, for as long as the servers are away.
fn note(event: &Event, again: bool) {
    match event {
        // Whoever connects for the first time, or ends a connection, knows it.
        Event::Connected if !again => tracing::debug!("Connected to NATS."),
        Event::Closed => tracing::debug!("The connection to NATS is closed."),
        Event::Connected => tracing::info!("Connected to NATS again."),
        Event::ClientError(err) if again => tracing::debug!("NATS still reports an error: {err}"),
        Event::Disconnected => tracing::warn!("The connection to NATS is lost."),
        Event::SlowConsumer(_) => {
            tracing::warn!("Messages of NATS were dropped, because they came too fast.")
        }
        other => tracing::warn!(event = %other, "NATS reports an event."),
    }
}
