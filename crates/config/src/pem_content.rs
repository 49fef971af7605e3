//! What a file holds that should hold a certificate or a key in PEM and does not, and how to get one.

use nixfleet_os::certificate::has_shape;
use rustls_pki_types::pem;

/// What a file holds in the place of what is wanted of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Nothing,
    /// A certificate in PEM.
    Certificate,
    /// A certificate with OpenSSL's own notes about trust.
    TrustedCertificate,
    /// A private key in PEM, encrypted or not.
    PrivateKey,
    /// A private key of ssh.
    SshKey,
    /// A request for a certificate.
    Request,
    /// A list of revoked certificates.
    RevocationList,
    /// A bundle of certificates in PKCS #7.
    Pkcs7,
    /// A certificate without PEM around it.
    Der,
    /// Another binary form: PKCS #12, a key in DER.
    Binary,
    /// Text of two bytes for each character, as some editors of Windows write it.
    Utf16,
    /// None of these.
    Other,
}

impl Content {
    /// Of a file with these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        /// The first byte of DER and of PKCS #12: a sequence.
        const SEQUENCE: u8 = 0x30;
        /// Labels of PEM, and what they stand for. The first that is found counts.
        const LABELS: [(&str, Content); 8] = [
            ("-----BEGIN CERTIFICATE-----", Content::Certificate),
            ("-----BEGIN TRUSTED CERTIFICATE-----", Content::TrustedCertificate),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", Content::SshKey),
            ("PRIVATE KEY-----", Content::PrivateKey),
            // Old tools write NEW in front of it.
            ("CERTIFICATE REQUEST-----", Content::Request),
            ("-----BEGIN X509 CRL-----", Content::RevocationList),
            ("-----BEGIN PKCS7-----", Content::Pkcs7),
            ("-----BEGIN CMS-----", Content::Pkcs7),
        ];
        let has = |label: &str| bytes.windows(label.len()).any(|part| part == label.as_bytes());
        if bytes.trim_ascii().is_empty() {
            return Self::Nothing;
        }
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return Self::Utf16;
        }
        if let Some((_, content)) = LABELS.iter().find(|(label, _)| has(label)) {
            return *content;
        }
        match bytes.first() {
            _ if has_shape(bytes) => Self::Der,
            Some(&SEQUENCE) => Self::Binary,
            _ => Self::Other,
        }
    }

    /// Its name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Certificate => "a certificate",
            Self::TrustedCertificate => "a certificate in OpenSSL's own form",
            Self::PrivateKey => "a private key",
            Self::SshKey => "a key of ssh",
            Self::Request => "a request for a certificate",
            Self::RevocationList => "a list of revoked certificates",
            Self::Pkcs7 => "a bundle in PKCS #7",
            Self::Der => "a certificate in DER",
            Self::Binary => "what looks like PKCS #12 or a key in DER",
            Self::Utf16 => "text in UTF-16",
            Self::Other => "something else",
        }
    }

    /// How to get a certificate in PEM from it.
    pub(crate) fn to_certificate(self) -> &'static str {
        match self {
            Self::Nothing => "write the certificate into it",
            Self::TrustedCertificate => "convert it with openssl x509 -in FILE -out NEW",
            Self::PrivateKey | Self::SshKey => "name the file with the certificate, and keep this one secret",
            Self::Request => "let the authority sign it, and name what it returns",
            Self::Pkcs7 => "convert it with openssl pkcs7 -in FILE -print_certs -out NEW",
            Self::Der => "convert it with openssl x509 -inform DER -in FILE -out NEW",
            Self::Binary => "convert it with openssl pkcs12 -in FILE -nokeys -out NEW",
            Self::Utf16 => "save it as UTF-8 or ASCII",
            Self::Certificate | Self::RevocationList | Self::Other => "name a file with a certificate in PEM",
        }
    }

    /// How to get a private key in PEM from it.
    pub(crate) fn to_key(self) -> &'static str {
        match self {
            Self::Nothing => "write the key into it",
            Self::Certificate | Self::TrustedCertificate | Self::Der => {
                "name the file with the key in client_key, and this one in client_cert"
            }
            Self::SshKey => "name the key that belongs to the certificate",
            Self::Binary => {
                "convert it with openssl pkcs12 -in FILE -nocerts -nodes -out NEW, or openssl pkey -inform DER -in FILE \
                 -out NEW"
            }
            Self::Utf16 => "save it as UTF-8 or ASCII",
            Self::PrivateKey | Self::Request | Self::RevocationList | Self::Pkcs7 | Self::Other => {
                "name a file with a private key in PEM"
            }
        }
    }
}

/// What is wrong with PEM. The words of the library have the damaged line, which may be a part of a private key.
pub(crate) fn damage(err: &pem::Error) -> &'static str {
    match err {
        pem::Error::MissingSectionEnd { .. } => "an END line is missing, or the line ends are",
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is not whole",
        pem::Error::Base64Decode(_) => "what stands between BEGIN and END is not base64",
        pem::Error::SectionTooLarge => "it is too long",
        _ => "it cannot be read",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_content_is_known_by_its_first_words_or_its_form() {
        let made = rcgen::generate_simple_self_signed(vec!["web-1".to_owned()]).unwrap();
        let pem = |label: &str| format!("text\n-----BEGIN {label}-----\nAAEC\n-----END {label}-----\n");
        for (bytes, content) in [
            (Vec::new(), Content::Nothing),
            (b" \r\n".to_vec(), Content::Nothing),
            (pem("CERTIFICATE").into_bytes(), Content::Certificate),
            (pem("TRUSTED CERTIFICATE").into_bytes(), Content::TrustedCertificate),
            (pem("RSA PRIVATE KEY").into_bytes(), Content::PrivateKey),
            (pem("ENCRYPTED PRIVATE KEY").into_bytes(), Content::PrivateKey),
            (pem("OPENSSH PRIVATE KEY").into_bytes(), Content::SshKey),
            (pem("CERTIFICATE REQUEST").into_bytes(), Content::Request),
            (pem("NEW CERTIFICATE REQUEST").into_bytes(), Content::Request),
            (pem("X509 CRL").into_bytes(), Content::RevocationList),
            (pem("PKCS7").into_bytes(), Content::Pkcs7),
            (pem("CMS").into_bytes(), Content::Pkcs7),
            (made.cert.der().to_vec(), Content::Der),
            (made.signing_key.serialize_der(), Content::Binary),
            (b"\x30\x82\x01\x02".to_vec(), Content::Binary),
            (b"\xff\xfe-\0-\0".to_vec(), Content::Utf16),
            (b"\xfe\xff\0-\0-".to_vec(), Content::Utf16),
            (b"s3cret".to_vec(), Content::Other),
        ] {
            assert_eq!(Content::of(&bytes), content, "{}", String::from_utf8_lossy(&bytes));
        }
    }
}
