//! Why the certificate of a server is not trusted, and what to do about it.

use jiff::Timestamp;
use rustls::CertificateError;
use rustls::pki_types::UnixTime;

use nixfleet_os::certificate::{Certificate, Name};

use super::clock_skew::minute;
use super::quote::quote;

/// Longest reason of a library in characters: one sentence.
const REASON: usize = 120;

/// Longest name in characters: that of a host.
const NAME: usize = 253;

/// How webpki names the error of a server that presents an authority's certificate. The error has no other form outside
/// that library.
const AUTHORITY_AS_SERVER: &str = "CaUsedAsEndEntity";

/// Why a certificate is not trusted. `host` is the name or the address that was connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistrust {
    /// Its validity is over.
    #[error(
        "the certificate of {host} has expired: it was valid until {}, and the clock here says {}; renew it on the \
         dashboard's side, or set the clock of this host if that is wrong (timedatectl)",
        minute(*until),
        minute(*now)
    )]
    Expired {
        /// The host.
        host: String,
        /// The end of its validity.
        until: Timestamp,
        /// The time of this host.
        now: Timestamp,
    },
    /// Its validity has not begun.
    #[error(
        "the certificate of {host} is not valid yet: it is valid from {}, and the clock here says {}; set the clock \
         of this host if that is wrong (timedatectl), or give the dashboard another certificate",
        minute(*from),
        minute(*now)
    )]
    NotYetValid {
        /// The host.
        host: String,
        /// The begin of its validity.
        from: Timestamp,
        /// The time of this host.
        now: Timestamp,
    },
    /// It is for other hosts.
    #[error(
        "the certificate is for another name than {host}: it has {}; write a name that it has in NIXFLEET_URL, or \
         give the dashboard a certificate for {host}",
        listed(names, *more)
    )]
    OtherName {
        /// The host.
        host: String,
        /// The first names that it has.
        names: Vec<String>,
        /// How many more it has.
        more: usize,
    },
    /// It is for no host at all. A common name alone has not counted for twenty years.
    #[error(
        "the certificate of {host} has no subjectAltName, and its subject ({subject}) does not count; make it anew \
         with subjectAltName={}",
        alt_name(host)
    )]
    NoName {
        /// The host.
        host: String,
        /// Whom it is for.
        subject: Name,
    },
    /// Nobody who is trusted vouches for its issuer.
    #[error(
        "this host does not trust the certificate's issuer ({issuer}); put the certificate of that authority in PEM \
         into the file of NIXFLEET_CA_FILE, or let the server send all certificates up to a known authority"
    )]
    UnknownIssuer {
        /// Its issuer.
        issuer: Name,
    },
    /// It is issued by itself.
    #[error(
        "the certificate of {host} is issued by itself ({subject}), and this host does not know it; if it is the \
         dashboard's, put it in PEM into the file of NIXFLEET_CA_FILE"
    )]
    SelfSigned {
        /// The host.
        host: String,
        /// Whom it is for.
        subject: Name,
    },
    /// It is an authority's, which no server may use as its own (RFC 5280, 4.2.1.9), also if it is trusted.
    #[error(
        "{host} presents an authority's certificate (CA:TRUE, {subject}) as its own; make one for a server, and put its \
         cert.pem into the file of NIXFLEET_CA_FILE: openssl req -x509 -newkey rsa:2048 -nodes -days 365 -keyout \
         key.pem -out cert.pem -subj /CN={host} -addext basicConstraints=critical,CA:FALSE -addext subjectAltName={}",
        alt_name(host)
    )]
    Authority {
        /// The host.
        host: String,
        /// Whom it is for.
        subject: Name,
    },
    /// A trusted authority has the name of the issuer, and another key.
    #[error(
        "the certificate of {host} names an authority that this host trusts ({issuer}), and is signed by another key; \
         if the authority has a new key, put its present certificate into the file of NIXFLEET_CA_FILE"
    )]
    OtherKey {
        /// The host.
        host: String,
        /// Its issuer.
        issuer: Name,
    },
    /// It is not for servers.
    #[error(
        "the certificate of {host} is not for servers: its extendedKeyUsage lacks serverAuth; give the dashboard one \
         that has it"
    )]
    OtherPurpose {
        /// The host.
        host: String,
    },
    /// Anything else.
    #[error("the certificate of {host} cannot be used: {why}; give the dashboard another one")]
    Unusable {
        /// The host.
        host: String,
        /// What is wrong.
        why: String,
    },
}

impl Mistrust {
    /// Why rustls refused this certificate; `read` is none if it could not be read.
    pub(super) fn new(err: &CertificateError, read: Option<Certificate>, host: &str, now: UnixTime) -> Self {
        let host = host.to_owned();
        let Some(Certificate { validity, subject, issuer, names_itself, hosts, more_hosts }) = read else {
            return Self::Unusable { host, why: reason(err) };
        };
        let [subject, issuer] = [subject, issuer].map(quoted);
        let hosts: Vec<String> = hosts.iter().map(|host| quote(host, NAME)).collect();
        let now = timestamp(now);
        match err {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Self::Expired { host, until: validity.not_after, now }
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid { host, from: validity.not_before, now }
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                match hosts.is_empty() {
                    true => Self::NoName { host, subject },
                    false => Self::OtherName { host, names: hosts, more: more_hosts },
                }
            }
            // The second: this host trusts another one of that name, such as the one before it.
            CertificateError::UnknownIssuer | CertificateError::BadSignature if names_itself => {
                Self::SelfSigned { host, subject }
            }
            CertificateError::UnknownIssuer => Self::UnknownIssuer { issuer },
            // The second: a key of another kind.
            CertificateError::BadSignature
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
                Self::OtherKey { host, issuer }
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::OtherPurpose { host }
            }
            other if is_authority_as_server(other) => Self::Authority { host, subject },
            other => Self::Unusable { host, why: reason(other) },
        }
    }

    /// Whether a clock that is set may end it.
    pub fn is_about_time(&self) -> bool {
        matches!(self, Self::Expired { .. } | Self::NotYetValid { .. })
    }
}

/// Whether a certificate was refused because it is an authority's.
fn is_authority_as_server(err: &CertificateError) -> bool {
    matches!(err, CertificateError::Other(inner) if inner.0.to_string() == AUTHORITY_AS_SERVER)
}

pub(super) fn timestamp(time: UnixTime) -> Timestamp {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|at| Timestamp::from_second(at).ok())
        .unwrap_or(Timestamp::MAX)
}

fn quoted(name: Name) -> Name {
    let part = |text: Option<String>| text.map(|text| quote(&text, NAME));
    Name { common: part(name.common), organization: part(name.organization) }
}

fn listed(names: &[String], more: usize) -> String {
    let names = names.join(", ");
    if more == 0 { names } else { format!("{names} and {more} more") }
}

/// The name as OpenSSL wants it.
fn alt_name(host: &str) -> String {
    let kind = if host.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" };
    format!("{kind}:{host}")
}

/// What people can understand of an error that has no words of its own.
fn reason(err: &CertificateError) -> String {
    match err {
        CertificateError::BadEncoding => "it is damaged".to_owned(),
        CertificateError::UnhandledCriticalExtension => {
            "it has a critical extension of an unknown kind".to_owned()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. } => {
            "it is signed by an algorithm that is out of use, such as SHA-1, or too new".to_owned()
        }
        CertificateError::Other(inner) => match inner.0.to_string().as_str() {
            "UnsupportedCriticalExtension" => "it has a critical extension of an unknown kind".to_owned(),
            "UnsupportedCertVersion" => "it has version 1, and only version 3 counts".to_owned(),
            other => quote(other, REASON),
        },
        other => quote(&other.to_string(), REASON),
    }
}

#[cfg(test)]
mod tests;
