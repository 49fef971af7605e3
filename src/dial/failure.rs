//! Why there is no connection, and what that means for the next attempt.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio_tungstenite::tungstenite::http::StatusCode;

use nixfleet_config::{CaFileError, ClientCertificateError, TokenError};
use nixfleet_os::error;
use nixfleet_os::text::one_line;

use super::client_auth::{ClientAuth, ClientCertificateRefused};
use super::clock_skew::ClockSkew;
use super::handshake::HandshakeFailure;
use super::proxy_failure::ProxyError;
use super::redirect::Redirect;
use super::step::Step;
use super::target::Target;
use super::upgrade::{Answer, NoSocket, UpgradeError};

mod answered;
pub mod rows;
mod unreached;

/// Longest path in characters.
const PATH: usize = 300;

/// Longest words of a library in characters.
const REASON: usize = 120;

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
    /// The client certificate cannot be read. The error says by itself which file it is about, and what to do.
    #[error(transparent)]
    ClientCertificate(#[from] ClientCertificateError),
    /// The dashboard asks for a client certificate, and did not take this host's. The error says what to do.
    #[error(transparent)]
    ClientCertificateRefused(ClientCertificateRefused),
    /// One of the extra certificates is none.
    #[error(
        "a certificate in {} cannot be used ({}); take it out of that file, or replace it: NIXFLEET_CA_FILE",
        one_line(&.0.to_string_lossy(), PATH),
        one_line(&.1.to_string(), REASON)
    )]
    CaCertificate(PathBuf, rustls::Error),
    /// There is no trusted certificate.
    #[error(
        "this host trusts no certificate: the system has none, and NIXFLEET_CA_FILE is not set; install the \
         certificates of authorities (ca-certificates), or set NIXFLEET_CA_FILE to the dashboard's"
    )]
    NoRoots,
    /// The token has characters that no header may have.
    #[error("the token holds characters that cannot be sent; write it anew")]
    TokenForm,
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}; this is a fault of the agent, please report it")]
    TlsSetup(rustls::Error),
    /// No certificate can be for such a name.
    #[error("no certificate can be for the name {}; write another name in NIXFLEET_URL", one_line(.0, REASON))]
    ServerName(String),
    /// There is no thread for what blocks: reading certificates, looking up names.
    #[error("no thread to connect with: {0}; look at TasksMax and LimitNPROC of the unit, and at what hangs")]
    NoThread(io::Error),
    /// The name in this host and port was not found.
    #[error("{}", unreached::lookup(.0, .1))]
    Lookup(String, io::Error),
    /// There is no TCP connection to this host and port.
    #[error("{}", unreached::tcp(.0, .1))]
    Unreachable(String, io::Error),
    /// The proxy. The error says by itself which one, and what to do.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The attempt took longer than this, and was at this step.
    #[error("no connection within {} s: {}", .1.as_secs(), .0.hung())]
    Slow(Step, Duration),
    /// 401: the dashboard does not accept the token.
    #[error("the dashboard refused the token (401); compare the agent's token with the dashboard's")]
    WrongToken,
    /// 401 of a dashboard with another time: a token with a date in it is not valid yet for it, or not any more.
    #[error(
        "the dashboard refused the token (401), and {0}; set the clock that is wrong (timedatectl), then compare the \
         agent's token with the dashboard's"
    )]
    WrongTokenOrClock(ClockSkew),
    /// 403: the agent may not connect, whatever its token is.
    #[error(
        "the dashboard forbids this agent to connect (403); look at what is in between, such as the access rules of a \
         proxy, and whether the dashboard has banned this host"
    )]
    Forbidden,
    /// 429 or 503, with the delay of `Retry-After` if there is one.
    #[error("{}", answered::busy(*.0))]
    Busy(StatusCode, Option<Duration>),
    /// Any other HTTP answer.
    #[error("{}", answered::words(.0))]
    NoWebSocket(Box<Answer>),
    /// 301, 302, 307 or 308. It says by itself where to, and why it was not followed.
    #[error(transparent)]
    Redirected(Box<Redirect>),
    /// The TLS handshake failed. The error says by itself how.
    #[error(transparent)]
    Tls(#[from] HandshakeFailure),
    /// The HTTP request has no answer, or one that contradicts itself. The error says by itself what is wrong.
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
}

impl ConnectError {
    /// Why the request to this target became no WebSocket.
    pub(super) fn of_upgrade(err: NoSocket, target: &Target) -> Self {
        match err {
            NoSocket::Failed(UpgradeError::Broken(err)) => {
                match HandshakeFailure::late(&err, target.host()) {
                    Some(failure) => Self::Tls(failure),
                    None => Self::Upgrade(UpgradeError::Broken(err)),
                }
            }
            NoSocket::Failed(err) => Self::Upgrade(err),
            NoSocket::Answered(answer) => Self::of_answer(answer, target),
        }
    }

    /// The same failure of an attempt that had `client_auth` to present: an alert may be about that.
    pub(super) fn about_client_certificate(self, client_auth: &ClientAuth) -> Self {
        let Self::Tls(failure) = &self else { return self };
        let refused = failure.alert().and_then(|alert| client_auth.refused(alert));
        refused.map_or(self, Self::ClientCertificateRefused)
    }

    /// What an answer of this target means, other than 101.
    fn of_answer(answer: Box<Answer>, target: &Target) -> Self {
        match answer.status {
            status if Redirect::is_one(status) => {
                Self::Redirected(Box::new(Redirect::new(status, answer.location.as_deref(), target)))
            }
            StatusCode::UNAUTHORIZED => answer.skew.map_or(Self::WrongToken, Self::WrongTokenOrClock),
            StatusCode::FORBIDDEN => Self::Forbidden,
            status @ (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
                Self::Busy(status, answer.retry_after)
            }
            _ => match answered::client_certificate(&answer) {
                Some(refused) => Self::ClientCertificateRefused(refused),
                None => Self::NoWebSocket(answer),
            },
        }
    }

    /// The name under which this failure is counted.
    pub fn counted_as(&self) -> &'static str {
        match self {
            Self::Token(_) | Self::TokenForm => "token",
            Self::CaFile(_) | Self::CaCertificate(..) | Self::NoRoots => "certificates",
            Self::ClientCertificate(_) | Self::ClientCertificateRefused(_) => "client_certificate",
            Self::TlsSetup(_) => "tls",
            Self::NoThread(_) => "no_thread",
            Self::Lookup(..) | Self::Unreachable(..) => "unreachable",
            Self::Proxy(_) => "proxy",
            Self::Slow(..) => "slow",
            Self::WrongToken | Self::WrongTokenOrClock(_) => "refused_token",
            Self::Forbidden => "forbidden",
            Self::Busy(..) => "busy",
            Self::NoWebSocket(_) | Self::Redirected(_) => "no_websocket",
            Self::ServerName(_) | Self::Tls(_) | Self::Upgrade(_) => "handshake",
        }
    }

    /// The kind of failure, which decides the next delay.
    pub fn cause(&self) -> Cause {
        match self {
            Self::WrongToken | Self::WrongTokenOrClock(_) | Self::Forbidden | Self::Token(_) => {
                Cause::Refused
            }
            Self::ClientCertificate(_) | Self::ClientCertificateRefused(_) => Cause::Refused,
            // Files that hang.
            Self::Slow(Step::Reading, _) => Cause::Local,
            // getaddrinfo(3) says why only in words. Whatever it was, nothing was sent to the dashboard.
            Self::Lookup(..) => Cause::Local,
            Self::Proxy(err) if err.refuses() => Cause::Refused,
            Self::Proxy(err) if err.is_lookup() => Cause::Local,
            Self::Proxy(err) => err.tcp().map_or(Cause::Broken, Cause::of_tcp),
            Self::Unreachable(_, err) => Cause::of_tcp(err),
            _ => Cause::Broken,
        }
    }

    /// What happened, and what to do next: the whole text on one line, in two parts.
    pub fn parts(&self) -> (String, String) {
        let text = error::chain(self);
        match text.split_once("; ") {
            Some((what, fix)) => (what.to_owned(), fix.to_owned()),
            None => (text, String::new()),
        }
    }

    /// Whether a clock that is set may end it.
    pub fn is_about_time(&self) -> bool {
        match self {
            Self::Tls(failure) => failure.is_about_time(),
            Self::WrongTokenOrClock(_) => true,
            _ => false,
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
    fn refusals_are_told_apart() {
        let target = Target::new("wss://dash.example/ws".parse().unwrap());
        let refusal = |status: StatusCode, after| {
            let answer = Answer { retry_after: after, ..Answer::bare(status) };
            ConnectError::of_answer(Box::new(answer), &target)
        };
        assert!(matches!(refusal(StatusCode::UNAUTHORIZED, None), ConnectError::WrongToken));
        assert!(matches!(refusal(StatusCode::FORBIDDEN, None), ConnectError::Forbidden));
        assert!(matches!(refusal(StatusCode::FOUND, None), ConnectError::Redirected(_)));
        assert!(matches!(refusal(StatusCode::SEE_OTHER, None), ConnectError::NoWebSocket(_)));
        assert!(matches!(refusal(StatusCode::OK, None), ConnectError::NoWebSocket(_)));
        assert_eq!(refusal(StatusCode::UNAUTHORIZED, None).cause(), Cause::Refused);
        let after = Some(Duration::from_secs(7));
        for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
            let error = refusal(status, after);
            assert_eq!((error.retry_after(), error.cause()), (after, Cause::Broken), "{status}");
        }
    }

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
