//! The client certificate in TLS: what is presented, and what it means if the dashboard refuses it.
//!
//! With TLS 1.3 the client is done before the dashboard has looked at its certificate. The alert then comes with the
//! first read, which is the answer to the HTTP request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, SignatureScheme};

use super::handshake::alert_name;

/// What TLS presents if it is asked for a certificate. It also remembers that it was asked.
#[derive(Debug)]
pub(super) struct ClientAuth {
    certified: Option<Arc<CertifiedKey>>,
    asked: AtomicBool,
}

/// The dashboard asks for a client certificate, and did not take this host's. Each has what the dashboard said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientCertificateRefused {
    /// There is none.
    #[error(
        "the dashboard asks for a client certificate ({0}), and this agent has none; set client_cert and client_key to \
         the files of a certificate that the dashboard's authority signed"
    )]
    Missing(String),
    /// Its time is over, or has not begun.
    #[error(
        "the dashboard says that this host's client certificate has expired ({0}); put a new one in the place of \
         client_cert and client_key, or set the clock that is wrong"
    )]
    Expired(String),
    /// Another authority signed it.
    #[error(
        "the dashboard does not know the authority of this host's client certificate ({0}); set client_cert to one \
         that the dashboard's authority signed, with the certificates in between behind it"
    )]
    UnknownAuthority(String),
    /// For another reason.
    #[error(
        "the dashboard refused this host's client certificate ({0}); set client_cert and client_key to another one, \
         and look at the log of the dashboard or its proxy"
    )]
    Refused(String),
}

impl ClientCertificateRefused {
    /// What a page says that nginx sends in place of an alert. `seen` is the answer in short.
    pub(super) fn of_page(page: &str, seen: String) -> Option<Self> {
        if page.contains("No required SSL certificate was sent") {
            return Some(Self::Missing(seen));
        }
        page.contains("The SSL certificate error").then_some(Self::Refused(seen))
    }
}

impl ClientAuth {
    pub(super) fn new(certified: Option<Arc<CertifiedKey>>) -> Self {
        Self { certified, asked: AtomicBool::new(false) }
    }

    /// What an alert of the dashboard says about the client certificate, if that is what it is about.
    pub(super) fn refused(&self, alert: AlertDescription) -> Option<ClientCertificateRefused> {
        use AlertDescription::*;

        let is_about_certificates = matches!(
            alert,
            CertificateRequired
                | NoCertificate
                | BadCertificate
                | UnsupportedCertificate
                | CertificateRevoked
                | CertificateExpired
                | CertificateUnknown
                | UnknownCA
        );
        // Servers with TLS 1.2 have the first for a missing certificate too, and for much else. The last is for one
        // that another key of an authority of the right name has signed.
        let may_be = matches!(alert, HandshakeFailure | AccessDenied | DecryptError)
            && self.asked.load(Ordering::Acquire);
        if !is_about_certificates && !may_be {
            return None;
        }
        let said = format!("alert {}", alert_name(alert));
        Some(match alert {
            _ if self.certified.is_none() => ClientCertificateRefused::Missing(said),
            CertificateExpired => ClientCertificateRefused::Expired(said),
            UnknownCA | DecryptError => ClientCertificateRefused::UnknownAuthority(said),
            _ => ClientCertificateRefused::Refused(said),
        })
    }
}

impl ResolvesClientCert for ClientAuth {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Release);
        // As it is, also if the dashboard names other authorities: its refusal says more than a missing certificate.
        self.certified.clone()
    }

    fn has_certs(&self) -> bool {
        self.certified.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::dial::failure::ConnectError;
    use crate::dial::handshake::HandshakeFailure as Failure;
    use crate::dial::target::Target;
    use crate::dial::upgrade::{NoSocket, UpgradeError};

    fn received(alert: AlertDescription) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, rustls::Error::AlertReceived(alert))
    }

    fn early(alert: AlertDescription) -> ConnectError {
        ConnectError::Tls(Failure::new(&received(alert), "dash.example", None, b""))
    }

    fn late(alert: AlertDescription) -> ConnectError {
        let target = Target::new("wss://dash.example/ws".parse().unwrap());
        ConnectError::of_upgrade(NoSocket::Failed(UpgradeError::Broken(received(alert))), &target)
    }

    #[test]
    fn alerts_about_a_client_certificate_are_told_in_both_steps() {
        use AlertDescription::*;

        for (alert, asked, words) in [
            (CertificateRequired, true, Some("this agent has none; set client_cert and client_key")),
            (BadCertificate, false, Some("this agent has none; set client_cert")),
            (
                HandshakeFailure,
                true,
                Some("(alert handshake_failure), and this agent has none; set client_cert"),
            ),
            (HandshakeFailure, false, None),
            (AccessDenied, true, Some("(alert access_denied), and this agent has none; set client_cert")),
            (AccessDenied, false, None),
            (ProtocolVersion, true, None),
            (InternalError, true, None),
        ] {
            for err in [early(alert), late(alert)] {
                let auth = ClientAuth::new(None);
                assert!(!auth.has_certs());
                if asked {
                    assert!(auth.resolve(&[], &[]).is_none());
                }
                let told = err.about_client_certificate(&auth);
                let is_client = matches!(told, ConnectError::ClientCertificateRefused(_));
                assert_eq!(is_client, words.is_some(), "{told:?}");
                assert!(told.to_string().contains(words.unwrap_or_default()), "{told}");
            }
        }
    }

    #[test]
    fn a_refused_certificate_is_told_from_a_missing_one() {
        use AlertDescription::*;

        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["web-1".to_owned()]).unwrap();
        let both = folder.path().join("both.pem");
        std::fs::write(&both, format!("{}{}", made.signing_key.serialize_pem(), made.cert.pem())).unwrap();
        let files = nixfleet_config::ClientCertificateFiles { cert: both.clone(), key: both };
        for (alert, words) in [
            (CertificateExpired, "has expired (alert certificate_expired); put a new one"),
            (
                UnknownCA,
                "does not know the authority of this host's client certificate (alert unknown_ca); set",
            ),
            (
                DecryptError,
                "does not know the authority of this host's client certificate (alert decrypt_error); set",
            ),
            (BadCertificate, "refused this host's client certificate (alert bad_certificate); set"),
            (CertificateRequired, "refused this host's client certificate (alert certificate_required); set"),
        ] {
            let auth = ClientAuth::new(Some(files.read().unwrap().certified()));
            assert!(auth.resolve(&[], &[]).is_some());
            let told = early(alert).about_client_certificate(&auth).to_string();
            assert!(told.contains(words), "{told}");
        }
    }
}
