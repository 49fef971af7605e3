//! The file with certificates to trust in addition to those of the system.

use std::io;
use std::path::{Path, PathBuf};

use nixfleet_os::bounded_read;
use nixfleet_os::certificate::has_shape;
use nixfleet_os::text::BYTE_ORDER_MARK;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::pem_content::{Content, damage};
use crate::problem::one_line;

/// Longest file read, in bytes. The bundle of a whole distribution has a quarter of a megabyte.
const MAX_CA_FILE: u64 = 4 * 1024 * 1024;

/// The certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaFileError {
    /// The file cannot be read.
    #[error(
        "cannot read certificates from {}: {why}; name a file with certificates in PEM in NIXFLEET_CA_FILE",
        shown(path)
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        why: io::Error,
    },
    /// A part of the file looks like PEM and is none.
    #[error("{} (NIXFLEET_CA_FILE) is cut off or damaged ({why}); write it anew", shown(path))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// One of the certificates in PEM is none inside.
    #[error(
        "certificate {number} in {} (NIXFLEET_CA_FILE) is damaged; take it out of that file, or write it anew",
        shown(path)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which one, from 1.
        number: usize,
    },
    /// The file has no certificate in PEM.
    #[error(
        "{} (NIXFLEET_CA_FILE) holds {}, and no certificate in PEM; {}",
        shown(path),
        content.name(),
        content.to_certificate()
    )]
    None {
        /// The file.
        path: PathBuf,
        /// What it holds instead.
        content: Content,
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
    let unreadable = |why| CaFileError::Unreadable { path: path.to_owned(), why };
    let bytes = bounded_read::read(path, MAX_CA_FILE).map_err(unreadable)?;
    // With the mark, the first line would not count.
    let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = read.map_err(|why| CaFileError::Malformed { path: path.to_owned(), why: damage(&why) })?;
    if found.is_empty() {
        return Err(CaFileError::None { path: path.to_owned(), content: Content::of(text) });
    }
    match found.iter().position(|certificate| !has_shape(certificate)) {
        Some(index) => Err(CaFileError::Damaged { path: path.to_owned(), number: index + 1 }),
        None => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// `AAEC` is no certificate.
    const NONE: &str = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";

    #[test]
    fn certificates_are_read_and_a_file_without_one_says_what_it_holds() {
        let made = rcgen::generate_simple_self_signed(vec!["dash.example".to_owned()]).unwrap();
        let one = made.cert.pem();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let read = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            certificates(&path).map(|found| found.len()).map_err(|error| nixfleet_os::error::chain(&error))
        };
        for good in
            [one.clone(), one.replace('\n', "\r\n"), format!("\u{feff}{one}"), format!("# text\n{one}")]
        {
            assert_eq!(read(good.as_bytes()), Ok(1), "{good:?}");
        }
        assert_eq!(read(one.repeat(3).as_bytes()), Ok(3));
        for (wrong, said) in [
            (b"" as &[u8], "holds nothing, and no certificate"),
            (b"\xef\xbb\xbf\r\n", "holds nothing, and no certificate"),
            (
                made.cert.der(),
                "holds a certificate in DER, and no certificate in PEM; convert it with openssl x509",
            ),
            (b"\x30\x82\x01\x02", "holds what looks like PKCS #12"),
            (b"\xff\xfe-\0-\0", "holds text in UTF-16, and no certificate in PEM; save it"),
            (
                one.replace(" CERT", " NEW CERT").replace("CATE-", "CATE REQUEST-").as_bytes(),
                "holds a request",
            ),
            (format!("{one}{NONE}{one}").as_bytes(), "certificate 2 in /"),
            (b"-----BEGIN PRIVATE KEY-----\nAAEC\n-----END PRIVATE KEY-----\n", "holds a private key"),
            (one.replace("CERT", "TRUSTED CERT").as_bytes(), "OpenSSL's own form"),
            (b"s3cret", "holds something else"),
            (b"-----BEGIN CERTIFICATE-----\nAAEC\n", "is cut off or damaged (an END line is missing"),
            (one.replace('\n', "").as_bytes(), "is cut off or damaged ("),
            (made.signing_key.serialize_pem().replace('\n', "").as_bytes(), "is cut off or damaged ("),
        ] {
            let error = read(wrong).expect_err("an error");
            assert!(
                error.contains(said)
                    && error.contains("/ca.pem")
                    && !error.contains("s3cret")
                    && !error.contains('['),
                "{error}"
            );
        }
    }
}
