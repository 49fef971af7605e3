//! The file with certificates to trust in addition to those of the system.

use std::io;
use std::path::{Path, PathBuf};

use nixfleet_os::bounded_read;
use nixfleet_os::text::BYTE_ORDER_MARK;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject};

use crate::problem::one_line;

/// Longest file read, in bytes. The bundle of a whole distribution has a quarter of a megabyte.
const MAX_CA_FILE: u64 = 4 * 1024 * 1024;

/// The certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaFileError {
    /// The file cannot be read.
    #[error("cannot read certificates from {}; check NIXFLEET_CA_FILE", shown(path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A part of the file looks like a certificate and is none.
    #[error("cannot read certificates from {}; check NIXFLEET_CA_FILE", shown(path))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: pem::Error,
    },
    /// The file has no certificate in PEM.
    #[error("{} holds {what}, and no certificate in PEM; check NIXFLEET_CA_FILE", shown(path))]
    None {
        /// The file.
        path: PathBuf,
        /// What it holds instead, and how to convert that.
        what: &'static str,
    },
}

fn shown(path: &Path) -> String {
    one_line(&path.to_string_lossy())
}

/// Reads all certificates of a file, which has at least one.
///
/// # Errors
/// [`CaFileError`], which names the file. A FIFO, a device or a folder is an error, without waiting.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CaFileError> {
    let unreadable = |source| CaFileError::Unreadable { path: path.to_owned(), source };
    let bytes = bounded_read::read(path, MAX_CA_FILE).map_err(unreadable)?;
    // With the mark, the first line would not count.
    let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = read.map_err(|source| CaFileError::Malformed { path: path.to_owned(), source })?;
    if found.is_empty() {
        return Err(CaFileError::None { path: path.to_owned(), what: instead(text) });
    }
    Ok(found)
}

/// What a file without a certificate in PEM holds.
fn instead(text: &[u8]) -> &'static str {
    /// The first byte of every certificate in DER: a sequence.
    const DER: u8 = 0x30;
    let has = |label: &[u8]| text.windows(label.len()).any(|part| part == label);
    if text.trim_ascii().is_empty() {
        "nothing"
    } else if has(b"-----BEGIN TRUSTED CERTIFICATE-----") {
        "a certificate in OpenSSL's own form (`openssl x509 -in FILE -out NEW` converts it)"
    } else if has(b"PRIVATE KEY-----") {
        "a private key"
    } else if text.first() == Some(&DER) {
        "what looks like DER (`openssl x509 -inform DER -in FILE -out NEW` converts it)"
    } else {
        "something else"
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// `AAEC` is no certificate. Only TLS looks inside.
    const ONE: &str = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";

    #[test]
    fn certificates_are_read_and_a_file_without_one_says_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let read = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            certificates(&path).map(|found| found.len()).map_err(|error| nixfleet_os::error::chain(&error))
        };
        for good in
            [ONE.to_owned(), ONE.replace('\n', "\r\n"), format!("\u{feff}{ONE}"), format!("# text\n{ONE}")]
        {
            assert_eq!(read(good.as_bytes()), Ok(1), "{good:?}");
        }
        assert_eq!(read(ONE.repeat(3).as_bytes()), Ok(3));
        for (wrong, said) in [
            (b"" as &[u8], "holds nothing, and no certificate"),
            (b"\xef\xbb\xbf\r\n", "holds nothing, and no certificate"),
            (b"\x30\x82\x01\x02", "-inform DER"),
            (b"-----BEGIN PRIVATE KEY-----\nAAEC\n-----END PRIVATE KEY-----\n", "holds a private key"),
            (ONE.replace("CERT", "TRUSTED CERT").as_bytes(), "OpenSSL's own form"),
            (b"s3cret", "holds something else"),
            (b"-----BEGIN CERTIFICATE-----\nAAEC\n", "cannot read certificates"),
        ] {
            let error = read(wrong).expect_err("an error");
            assert!(
                error.contains(said) && error.contains("/ca.pem") && !error.contains("s3cret"),
                "{error}"
            );
        }
    }
}
