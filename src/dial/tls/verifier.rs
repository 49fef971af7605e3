//! Which server is trusted: webpki decides. Why it refused a certificate is noted with what that says about itself, which
//! rustls does not hand on.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use nixfleet_os::certificate::Certificate;

use crate::dial::mistrust::Mistrust;

/// Asks webpki, and notes why it refused.
#[derive(Debug)]
pub(super) struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    verdict: Arc<OnceLock<Mistrust>>,
}

impl Verifier {
    /// A verifier for one connection, and where it notes its verdict.
    pub(super) fn new(webpki: Arc<WebPkiServerVerifier>) -> (Self, Arc<OnceLock<Mistrust>>) {
        let verdict = Arc::default();
        (Self { webpki, verdict: Arc::clone(&verdict) }, verdict)
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
        let verified = self.webpki.verify_server_cert(certificate, intermediates, name, ocsp, now);
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
