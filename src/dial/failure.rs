//! Why there is no connection, and what that means for the next attempt.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::http::StatusCode;

use nixfleet_config::{CaFileError, TokenError};

use super::CONNECT_DEADLINE;
use super::redirect::Redirect;

/// Why the last attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Nothing was sent to the dashboard: this host has no network, no route, or no answer from a name server.
    Local,
    /// The network, or a dashboard that went away.
    Broken,
    /// The dashboard rejected this agent: a wrong token, or another agent with the same hostname.
    Refused,
}

impl Cause {
    /// The cause of a TCP connection that failed with this error. Errors that the kernel reports when it has
    /// nowhere to send a packet to are local. A router may have reported them as well, and then the dashboard
    /// was not reached either. A refusal and a time-out are not local: packets were sent.
    pub fn of_tcp(err: &io::Error) -> Self {
        match err.kind() {
            io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::AddrNotAvailable => Self::Local,
            _ => Self::Broken,
        }
    }
}

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
    /// The token has characters that no header may have.
    #[error("the token holds characters that cannot be sent; write it anew")]
    TokenForm,
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    TlsSetup(#[source] rustls::Error),
    /// No certificate can be for such a name.
    #[error("no certificate can be for the name {0:?}; write another one in NIXFLEET_URL")]
    ServerName(String),
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
    /// 301, 302, 307 or 308.
    #[error("the dashboard answered {} and names another address: {}", .0.status, .0.location.as_deref().unwrap_or("none"))]
    Redirected(Redirect),
    /// The TLS handshake failed.
    #[error("the handshake failed; check that the URL's scheme, ws or wss, suits the port")]
    Tls(#[source] io::Error),
    /// The WebSocket handshake failed.
    #[error("the handshake failed; check that the URL's scheme, ws or wss, suits the port")]
    Upgrade(#[source] Box<WsError>),
}

impl ConnectError {
    /// The name under which this failure is counted.
    pub fn counted_as(&self) -> &'static str {
        match self {
            Self::Token(_) | Self::TokenForm => "token",
            Self::CaFile(_) | Self::CaCertificate(..) | Self::NoRoots => "certificates",
            Self::TlsSetup(_) => "tls",
            Self::NoThread(_) => "no_thread",
            Self::Lookup(..) | Self::Unreachable(..) => "unreachable",
            Self::Slow => "slow",
            Self::WrongToken => "refused_token",
            Self::Forbidden => "forbidden",
            Self::Busy(..) => "busy",
            Self::NoWebSocket(_) | Self::Redirected(_) => "no_websocket",
            Self::ServerName(_) | Self::Tls(_) | Self::Upgrade(_) => "handshake",
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

    /// Whether another time on this host's clock could change the outcome.
    pub fn is_about_time(&self) -> bool {
        use rustls::CertificateError as Refused;

        let Some(rustls::Error::InvalidCertificate(refused)) = self.tls() else { return false };
        matches!(
            refused,
            Refused::Expired
                | Refused::ExpiredContext { .. }
                | Refused::NotValidYet
                | Refused::NotValidYetContext { .. }
        )
    }

    /// The TLS error, if TLS is what failed.
    pub fn tls(&self) -> Option<&rustls::Error> {
        match self {
            Self::TlsSetup(err) => Some(err),
            Self::Tls(err) => err.get_ref()?.downcast_ref(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_local_if_nothing_was_sent() {
        use io::ErrorKind;

        // Numbers of Linux, so that the test also covers how they become kinds.
        #[cfg(target_os = "linux")]
        for (number, cause) in [
            (99, Cause::Local),   // EADDRNOTAVAIL
            (100, Cause::Local),  // ENETDOWN
            (101, Cause::Local),  // ENETUNREACH
            (113, Cause::Local),  // EHOSTUNREACH
            (104, Cause::Broken), // ECONNRESET
            (110, Cause::Broken), // ETIMEDOUT
            (111, Cause::Broken), // ECONNREFUSED
            (1, Cause::Broken),   // EPERM, from a firewall
            (24, Cause::Broken),  // EMFILE
        ] {
            assert_eq!(Cause::of_tcp(&io::Error::from_raw_os_error(number)), cause, "{number}");
        }
        let slow = io::Error::new(ErrorKind::TimedOut, "no answer from 192.0.2.7:443");
        assert_eq!(Cause::of_tcp(&slow), Cause::Broken);
    }
}
