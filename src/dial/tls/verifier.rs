//! Which server is trusted.
//!
//! webpki decides, with one exception: a server may use a certificate with CA:TRUE as its own if the file of
//! NIXFLEET_CA_FILE holds exactly that certificate. `openssl req -x509` makes such certificates, and people use them.
//! SECURITY.md says why this trusts nobody who was not trusted before.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use nixfleet_os::certificate::Certificate;

use crate::dial::mistrust::{Mistrust, is_authority_as_server, timestamp};

/// Certificates of authorities that a server may use as its own.
#[derive(Debug, Default)]
pub(super) struct Pins(Vec<CertificateDer<'static>>);

impl Pins {
    /// Adds a certificate that the operator trusts, if it can be a server's: only one that names a host. So the pins of
    /// a file with all authorities of the world take no memory.
    pub(super) fn add(&mut self, certificate: &CertificateDer<'static>) {
        if Certificate::read(certificate).is_some_and(|read| read.is_authority && !read.hosts.is_empty()) {
            self.0.push(certificate.clone());
        }
    }

    fn has(&self, certificate: &CertificateDer<'_>) -> bool {
        self.0.iter().any(|pin| pin.as_ref() == certificate.as_ref())
    }
}

/// Asks webpki, and notes why it refused.
#[derive(Debug)]
pub(super) struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    pins: Pins,
    verdict: Arc<OnceLock<Mistrust>>,
}

impl Verifier {
    /// A verifier for one connection, and where it notes its verdict.
    pub(super) fn new(webpki: Arc<WebPkiServerVerifier>, pins: Pins) -> (Self, Arc<OnceLock<Mistrust>>) {
        let verdict = Arc::default();
        (Self { webpki, pins, verdict: Arc::clone(&verdict) }, verdict)
    }

    /// Whether a pinned certificate of an authority is right for this name at this time. Its validity was looked at by
    /// webpki before it saw the authority; it is looked at here as well, so that nothing depends on that order.
    fn pinned(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let read = Certificate::read(certificate).ok_or(CertificateError::BadEncoding)?;
        let now = timestamp(now);
        if now < read.validity.not_before {
            return Err(CertificateError::NotValidYet.into());
        }
        if now > read.validity.not_after {
            return Err(CertificateError::Expired.into());
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut verified = self.webpki.verify_server_cert(certificate, intermediates, name, ocsp, now);
        if let Err(Error::InvalidCertificate(err)) = &verified
            && is_authority_as_server(err)
            && self.pins.has(certificate)
        {
            verified = self.pinned(certificate, name, now).map(|()| ServerCertVerified::assertion());
        }
        if let Err(Error::InvalidCertificate(err)) = &verified {
            let mistrust = Mistrust::new(err, Certificate::read(certificate), &name.to_str(), now);
            // Only the first verdict counts; there is no second one for a connection.
            self.verdict.set(mistrust).ok();
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.webpki.requires_raw_public_keys()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.webpki.root_hint_subjects()
    }
}

#[cfg(test)]
mod tests;
