//! Why a TLS handshake failed, and what to do about it.

use std::io;

use rustls::{AlertDescription, Error as TlsError};

use super::mistrust::Mistrust;
use super::quote::quote;

/// Longest quotation in characters, of a library or of what answered.
const QUOTED: usize = 120;

/// Why a handshake failed. `host` is the name or the address that was connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeFailure {
    /// The certificate of the server is not trusted.
    #[error(transparent)]
    Mistrusted(#[from] Mistrust),
    /// Not the key of the certificate signed the handshake.
    #[error(
        "{host} does not prove that it has the key of its certificate; give the dashboard the key that belongs to its \
         certificate"
    )]
    Unproven {
        /// The host.
        host: String,
    },
    /// The server serves no host of this name.
    #[error(
        "{host} refused the TLS handshake: it serves no host of this name (alert {}); check the name in NIXFLEET_URL, \
         and the names that the dashboard's server is set up for",
        alert_name(AlertDescription::UnrecognisedName)
    )]
    UnknownHost {
        /// The host.
        host: String,
    },
    /// The server wants to know who this is, or did not believe it. What that means for the dashboard's server,
    /// [`ClientCertificateRefused`](super::client_auth::ClientCertificateRefused) says.
    #[error(
        "{host} refused the TLS handshake: it asks for a client certificate (alert {}), and only the dashboard gets \
         this host's; let the agent in without one",
        alert_name(*alert)
    )]
    ClientCertificate {
        /// The host.
        host: String,
        /// The alert.
        alert: AlertDescription,
    },
    /// There is no version and no cipher that both sides speak.
    #[error(
        "{host} and this agent have no TLS version or cipher in common ({why}); allow TLS 1.2 or 1.3 with usual \
         ciphers on the dashboard's side"
    )]
    NothingInCommon {
        /// The host.
        host: String,
        /// The alert, or the words of the library.
        why: String,
        /// The alert, if there was one.
        alert: Option<AlertDescription>,
    },
    /// Any other alert.
    #[error(
        "{host} refused the TLS handshake (alert {}); look at the log of the dashboard's server or its proxy",
        alert_name(*alert)
    )]
    Alert {
        /// The host.
        host: String,
        /// The alert.
        alert: AlertDescription,
    },
    /// HTTP without TLS.
    #[error(
        "what listens at {host} does not speak TLS: it answered in plain HTTP; check the port in NIXFLEET_URL, or \
         write ws:// if there is to be no encryption"
    )]
    PlainHttp {
        /// The host.
        host: String,
    },
    /// Neither TLS nor HTTP.
    #[error(
        "what listens at {host} does not speak TLS: it answered \"{answer}\"; check the port in NIXFLEET_URL, or write \
         ws:// if there is to be no encryption"
    )]
    NotTls {
        /// The host.
        host: String,
        /// The begin of the answer.
        answer: String,
    },
    /// The connection ended in between.
    #[error(
        "{host} ended the connection during the TLS handshake ({how}); check the port in NIXFLEET_URL, and look at \
         the log of the dashboard's server and of firewalls in between"
    )]
    Ended {
        /// The host.
        host: String,
        /// By which error.
        how: String,
    },
    /// Anything else.
    #[error(
        "the TLS handshake with {host} failed: {why}; look at the log of the dashboard's server or its proxy"
    )]
    Other {
        /// The host.
        host: String,
        /// The words of the library.
        why: String,
    },
}

impl HandshakeFailure {
    /// The failure behind an error of a TLS stream. `verdict` is what the certificate was refused for, `answer` the
    /// first bytes that the server sent.
    pub(super) fn new(err: &io::Error, host: &str, verdict: Option<&Mistrust>, answer: &[u8]) -> Self {
        let host = host.to_owned();
        let Some(tls) = tls_error(err) else {
            let ended = matches!(
                err.kind(),
                io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
            );
            let how = quote(&err.to_string(), QUOTED);
            return if ended { Self::Ended { host, how } } else { Self::Other { host, why: how } };
        };
        match tls {
            TlsError::InvalidCertificate(_) => match verdict {
                Some(mistrust) => Self::Mistrusted(mistrust.clone()),
                // The certificate was accepted, and the signature was not.
                None => Self::Unproven { host },
            },
            TlsError::AlertReceived(alert) => Self::of_alert(*alert, host),
            TlsError::PeerIncompatible(_) => Self::NothingInCommon { host, why: quoted(tls), alert: None },
            TlsError::InvalidMessage(_) if answer.starts_with(b"HTTP/") => Self::PlainHttp { host },
            TlsError::InvalidMessage(_) if !is_tls(answer) => {
                let answer = quote(&String::from_utf8_lossy(answer), QUOTED);
                Self::NotTls { host, answer }
            }
            other => Self::Other { host, why: quoted(other) },
        }
    }

    fn of_alert(alert: AlertDescription, host: String) -> Self {
        match alert {
            AlertDescription::UnrecognisedName => Self::UnknownHost { host },
            AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateRequired => Self::ClientCertificate { host, alert },
            AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity => Self::NothingInCommon {
                host,
                why: format!("alert {}", alert_name(alert)),
                alert: Some(alert),
            },
            _ => Self::Alert { host, alert },
        }
    }

    /// An alert of the server that came with its first bytes behind the handshake. In TLS 1.3 the server judges the
    /// client's certificate only then.
    pub(super) fn late(err: &io::Error, host: &str) -> Option<Self> {
        match tls_error(err)? {
            TlsError::AlertReceived(alert) => Some(Self::of_alert(*alert, host.to_owned())),
            _ => None,
        }
    }

    /// The alert of the server, if it sent one.
    pub(super) fn alert(&self) -> Option<AlertDescription> {
        match self {
            Self::ClientCertificate { alert, .. } | Self::Alert { alert, .. } => Some(*alert),
            Self::NothingInCommon { alert, .. } => *alert,
            _ => None,
        }
    }

    /// Whether a clock that is set may end it.
    pub fn is_about_time(&self) -> bool {
        matches!(self, Self::Mistrusted(mistrust) if mistrust.is_about_time())
    }
}

fn tls_error(err: &io::Error) -> Option<&TlsError> {
    err.get_ref()?.downcast_ref()
}

/// Whether bytes begin as a record of TLS does: an alert, a handshake message or data, and the version.
pub(super) fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x14..=0x17, 0x03, ..])
}

fn quoted(err: &TlsError) -> String {
    quote(&err.to_string(), QUOTED)
}

/// The name of an alert as the standard writes it, such as `handshake_failure`.
pub(super) fn alert_name(alert: AlertDescription) -> String {
    let Some(name) = alert.as_str() else { return format!("number {}", u8::from(alert)) };
    let mut words = String::new();
    let mut before = '_';
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && before.is_ascii_lowercase() {
            words.push('_');
        }
        words.push(letter.to_ascii_lowercase());
        before = letter;
    }
    words
}

#[cfg(test)]
mod tests;
