//! The step `tls`: the certificate of the dashboard.

use jiff::{SignedDuration, Timestamp};
use rustls::{CertificateError, Error as TlsError};

use super::super::{Finding, fail, ok, warning};

/// Remaining validity below which a certificate should have been renewed already: those of public authorities
/// are renewed a month before their end.
const RENEWED: SignedDuration = SignedDuration::from_hours(14 * 24);

pub(super) fn trusted(end: Option<Timestamp>, now: Timestamp) -> Finding {
    let Some(end) = end else { return ok("tls", "the certificate is trusted") };
    let left = end.duration_since(now);
    let days = left.as_hours() / 24;
    let text = format!("the certificate is trusted, and valid for {days} more days");
    if left < RENEWED { warning("tls", text, "renew it; why was it not renewed?") } else { ok("tls", text) }
}

/// The finding for a certificate that rustls refused, or for a failed handshake.
pub(super) fn mistrusted(problem: &TlsError) -> Finding {
    let clock = "or is this host's clock wrong? timedatectl";
    let (text, fix) = match problem {
        TlsError::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer => (
                "this host does not trust the certificate's issuer".to_owned(),
                "set NIXFLEET_CA_FILE to the PEM file of its authority".to_owned(),
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
                "the certificate has expired".to_owned(),
                format!("renew it on the dashboard's side; {clock}"),
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                ("the certificate is not valid yet".to_owned(), format!("wait for it; {clock}"))
            }
            CertificateError::NotValidForName => wrong_name(&[]),
            CertificateError::NotValidForNameContext { presented, .. } => wrong_name(presented),
            other => {
                (format!("the certificate is refused: {other}"), "give the dashboard another one".to_owned())
            }
        },
        TlsError::InvalidMessage(_) => (
            "what listens there does not speak TLS".to_owned(),
            "check the port in NIXFLEET_URL; without TLS the scheme is ws://".to_owned(),
        ),
        other => (
            format!("the TLS handshake failed: {other}"),
            "look at the log of the dashboard or its proxy".to_owned(),
        ),
    };
    fail("tls", text, fix)
}

fn wrong_name(presented: &[String]) -> (String, String) {
    let names = if presented.is_empty() { String::new() } else { format!(": {}", presented.join(", ")) };
    (
        format!("the certificate is for another name{names}"),
        "write the certificate's name in NIXFLEET_URL, or give the dashboard one for this name".to_owned(),
    )
}
