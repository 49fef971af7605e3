//! Client certificates of agents: which are trusted, and for how long.
//!
//! TLS judges a certificate once, at the beginning of a connection. Connections stay for months, so it is judged again
//! when the authorities or the list of revoked certificates have changed, and its end is looked at all the time.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use nixfleet_os::certificate::Certificate;
use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};

use crate::pem::{TlsError, certificates};

/// The rule for certificates at one time.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    verifier: Arc<dyn ClientCertVerifier>,
    /// Another one for each rule.
    generation: u64,
}

impl Clients {
    /// Reads the authorities, and the lists of what they have revoked.
    pub(crate) fn read(ca: &Path, crl: Option<&Path>, tokens: bool) -> Result<Self, TlsError> {
        static GENERATIONS: AtomicU64 = AtomicU64::new(1);
        let unusable = |path: &Path, why: &dyn std::fmt::Display| TlsError::Unusable {
            path: path.to_owned(),
            why: why.to_string(),
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca)? {
            roots.add(certificate).map_err(|err| unusable(ca, &err))?;
        }
        let mut builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
        if let Some(path) = crl {
            // Of the hosts, and of authorities between them and the roots, which hosts bring along.
            builder = builder.with_crls(revoked(path)?);
        }
        if tokens {
            builder = builder.allow_unauthenticated();
        }
        let verifier = builder.build().map_err(|err| unusable(crl.unwrap_or(ca), &err))?;
        Ok(Self { verifier, generation: GENERATIONS.fetch_add(1, Relaxed) })
    }

    /// For the handshakes of TLS.
    pub(crate) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }

    /// Whether this rule has not judged it yet.
    pub(crate) fn is_new_to(&self, shown: &Shown) -> bool {
        shown.judged_by.load(Relaxed) != self.generation && shown.refused.get().is_none()
    }

    /// Judges it by this rule: some 0.1 ms.
    pub(crate) fn judge(&self, shown: &Shown) {
        let Some((own, between)) = shown.chain.split_first() else { return };
        match self.verifier.verify_client_cert(own, between, UnixTime::now()) {
            Ok(_) => shown.judged_by.store(self.generation, Relaxed),
            // Of two that judge at the same time, either may say why.
            Err(err) => {
                drop(shown.refused.set(format!("the client certificate is not valid any more: {err}")))
            }
        }
    }
}

/// What an agent has shown in the handshake.
#[derive(Debug)]
pub(crate) struct Shown {
    /// Its certificate, then those between it and its authority.
    chain: Vec<CertificateDer<'static>>,
    hosts: Vec<String>,
    /// When its own one expires. TLS may have done without any of the others.
    until: Timestamp,
    judged_by: AtomicU64,
    refused: OnceLock<String>,
}

impl Shown {
    /// What it shows to a gateway with this rule, which has let it in. None if it is for no host, or cannot be read.
    pub(crate) fn read(chain: &[CertificateDer<'_>], by: &Clients) -> Option<Self> {
        let own = chain.first()?;
        let (hosts, until) = (hosts(own), Certificate::read(own)?.validity.not_after);
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        let refused = OnceLock::new();
        (!hosts.is_empty()).then(|| Self { chain, hosts, until, judged_by: by.generation.into(), refused })
    }

    /// Whether it is for this host.
    pub(crate) fn is_for(&self, host: &str) -> bool {
        self.hosts.iter().any(|own| own == host)
    }

    /// Why its connection must end, if it must.
    pub(crate) fn refusal(&self, now: Timestamp) -> Option<String> {
        let expired = || (now > self.until).then(|| "the client certificate has expired".to_owned());
        self.refused.get().cloned().or_else(expired)
    }
}

/// The hosts that a certificate is for: its DNS names (RFC 5280, section 4.2.1.6), up to the first dot.
fn hosts(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else { return Vec::new() };
    let host = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    certificate.valid_dns_names().map(host).filter(|name| nixfleet_protocol::is_hostname(name)).collect()
}

/// Lists of revoked certificates (RFC 5280, section 5).
fn revoked(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let failed = |source| TlsError::File { what: "revoked certificates", path: path.to_owned(), source };
    let read: Result<Vec<_>, _> =
        CertificateRevocationListDer::pem_file_iter(path).map_err(failed)?.collect();
    let lists = read.map_err(failed)?;
    if lists.is_empty() {
        return Err(TlsError::Empty {
            path: path.to_owned(),
            what: "list of revoked certificates",
            label: "X509 CRL",
        });
    }
    Ok(lists)
}
