//! X.509 certificates.

use nixfleet_os::certificate::{Certificate, has_shape};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error};

/// Longest name in characters.
const MAX_NAME: usize = 253;

/// Most hosts that are kept.
const MAX_HOSTS: usize = 8;

/// A certificate in DER. What is cut off is no certificate, and what follows one changes nothing; names are bounded and
/// printable. Whatever rustls takes for a certificate is read, and rustls says the same of the hosts that it is for.
pub fn certificate(data: &[u8]) {
    let read = Certificate::read(data);
    if let Some(read) = &read {
        let whole = first_element(data).expect("the head of an element");
        assert_eq!(Certificate::read(&data[..whole]).as_ref(), Some(read), "what follows is a part of it");
        assert_eq!(Certificate::read(&data[..whole - 1]), None, "it is cut off");
        let names = [&read.subject, &read.issuer].map(|name| [&name.common, &name.organization]);
        names.as_flattened().iter().filter_map(|name| name.as_ref()).chain(&read.hosts).for_each(|name| {
            assert!(name.chars().count() <= MAX_NAME, "{name}");
            assert!(!name.chars().any(char::is_control), "{name:?}");
        });
        assert!(read.hosts.len() <= MAX_HOSTS && (read.more_hosts == 0 || read.hosts.len() == MAX_HOSTS));
    }
    if has_shape(data) {
        assert!(!has_shape(&[data, b"\0"].concat()), "something follows");
    }
    let der = CertificateDer::from(data);
    let Ok(parsed) = ParsedCertificate::try_from(&der) else { return };
    assert!(has_shape(data), "rustls reads it");
    // rustls reads times only when it verifies, so these may be anything.
    for host in read.iter().flat_map(|read| &read.hosts) {
        // Of a name with odd signs these are left out. The tag and a length of one byte are in front of a whole one.
        let element = [&[0x82, host.len() as u8], host.as_bytes()].concat();
        let is_whole = host.len() < 0x80 && data.windows(element.len()).any(|part| part == element);
        let is_address = host.parse::<std::net::IpAddr>().is_ok();
        let Ok(name) = ServerName::try_from(host.as_str()) else { continue };
        // rustls takes a name with a dot at its end for another one.
        if !is_whole && !is_address || host.ends_with('.') {
            continue;
        }
        let verdict = verify_server_name(&parsed, &name);
        let is_another = matches!(
            verdict,
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
            ))
        );
        assert!(!is_another, "rustls finds no {host} in it");
    }
}

/// The length of the first element of DER with its head, by a second implementation: X.690, 8.1.3.
fn first_element(der: &[u8]) -> Option<usize> {
    let first = usize::from(*der.get(1)?);
    if first < 0x80 {
        return Some(2 + first);
    }
    let digits = der.get(2..2 + (first & 0x7f))?;
    Some(2 + digits.len() + digits.iter().fold(0, |sum, digit| sum * 256 + usize::from(*digit)))
}
