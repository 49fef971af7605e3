use std::fs;

use nixfleet_os::error::chain as error_chain;

use super::*;

struct Pair {
    cert: String,
    key: String,
}

fn pair() -> Pair {
    let made = rcgen::generate_simple_self_signed(vec!["web-1".to_owned()]).unwrap();
    Pair { cert: made.cert.pem(), key: made.signing_key.serialize_pem() }
}

/// What reading files with these contents says.
fn said(cert: &[u8], key: &[u8]) -> Result<ClientCertificate, String> {
    let folder = tempfile::tempdir().unwrap();
    let files =
        ClientCertificateFiles { cert: folder.path().join("host.pem"), key: folder.path().join("host.key") };
    fs::write(&files.cert, cert).unwrap();
    fs::write(&files.key, key).unwrap();
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
    files.read().map_err(|err| error_chain(&err))
}

#[test]
fn a_certificate_and_its_key_are_read() {
    let (one, other) = (pair(), pair());
    let read = said(one.cert.as_bytes(), one.key.as_bytes()).unwrap();
    assert!(read.validity().is_some() && read.warning().is_none());
    let same = said(format!("\u{feff}{}", one.cert).as_bytes(), one.key.as_bytes()).unwrap();
    assert_eq!(same.digest(), read.digest());
    let both = format!("{}{}", one.key, one.cert);
    assert_eq!(said(both.as_bytes(), both.as_bytes()).unwrap().digest(), read.digest());
    let with_authority = format!("{}{}", one.cert, other.cert);
    let longer = said(with_authority.as_bytes(), one.key.as_bytes()).unwrap();
    assert_ne!(longer.digest(), read.digest());
    assert_eq!(longer.validity(), read.validity());
}

#[test]
fn each_mistake_has_its_words_and_its_fix() {
    let (one, other) = (pair(), pair());
    let (cert, key) = (one.cert.as_bytes(), one.key.as_bytes());
    let der = CertificateDer::from_pem_slice(cert).unwrap();
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";
    let encrypted = one.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let old_form =
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAEC\n";
    let flat = one.key.replace('\n', "");
    let one_line = one.key.replacen('\n', "", 1);
    let weak = "-----BEGIN RSA PRIVATE KEY-----\nAAEC\n-----END RSA PRIVATE KEY-----\n";
    for (cert, key, words) in [
        (&b""[..], key, ["host.pem (client_cert) holds nothing", "; write the certificate into it"]),
        (key, key, ["client_cert) holds a private key", "; name the file with the certificate, and keep"]),
        (&der, key, ["holds a certificate in DER", "; convert it with openssl x509 -inform DER"]),
        (b"text", key, ["client_cert) holds something else", "; name a file"]),
        (
            b"-----BEGIN CERTIFICATE-----\nAAEC\n",
            key,
            ["client_cert) is cut off or damaged", "; write it anew"],
        ),
        (
            no_certificate.as_bytes(),
            key,
            ["client_cert) holds a certificate that cannot be used", "; write it"],
        ),
        (cert, flat.as_bytes(), ["client_key) is cut off or damaged (", "; write it anew"]),
        (cert, one_line.as_bytes(), ["client_key) is cut off or damaged (", "; write it anew"]),
        (cert, b"", ["host.key (client_key) holds nothing", "; write the key into it"]),
        (cert, cert, ["client_key) holds a certificate", "; name the file with the key"]),
        (cert, b"text", ["client_key) holds something else", "; name a file"]),
        (cert, encrypted.as_bytes(), ["client_key) is encrypted", "; decrypt it with openssl pkey -in /"]),
        (cert, old_form.as_bytes(), ["client_key) is encrypted", "; decrypt it"]),
        (cert, weak.as_bytes(), ["of a kind that cannot be used", "; make an ECDSA key"]),
        (cert, other.key.as_bytes(), ["is not that of the certificate in /", "; name the two files"]),
        (NOT_PASSED, key, ["systemd passed no client_cert", "; write the file"]),
        (cert, NOT_PASSED, ["systemd passed no client_key", "; write the file"]),
    ] {
        let text = said(cert, key).expect_err(words[0]);
        assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
        assert_eq!(text.matches("; ").count(), 1, "one sentence, and what to do: {text}");
        assert!(!one.key.lines().skip(1).any(|line| line.len() > 20 && text.contains(line)), "{text}");
        assert!(!text.contains('['), "bytes in decimal: {text}");
    }
    let missing = ClientCertificateFiles { cert: "/nonexistent/a".into(), key: "/nonexistent/b".into() };
    let err = missing.read().unwrap_err();
    assert_eq!(err.setting(), "client_cert");
    assert!(error_chain(&err).starts_with("cannot read /nonexistent/a (client_cert): "), "{err}");
}

#[test]
fn a_key_that_everybody_may_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let one = pair();
    let path = folder.path().join("both.pem");
    fs::write(&path, format!("{}{}", one.key, one.cert)).unwrap();
    let files = ClientCertificateFiles { cert: path.clone(), key: path.clone() };
    for (mode, told) in [(0o600, false), (0o640, false), (0o644, true)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let warning = files.read().unwrap().warning();
        assert_eq!(warning.is_some_and(|text| text.contains("both.pem")), told, "{mode:o}");
    }
}

#[test]
fn the_end_is_told_two_weeks_before_and_in_the_last_third_of_a_short_life() {
    let remark = |from: &str, to: &str, now: &str| {
        let validity = Validity { not_before: from.parse().unwrap(), not_after: to.parse().unwrap() };
        Remark::of(Path::new("/c.pem"), validity, now.parse().unwrap())
            .map(|remark| (remark.kind.is_error(), remark.text))
    };
    let year = |now| remark("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", now);
    let day = |now| remark("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", now);
    for (found, wanted) in [
        (
            year("2025-12-31T23:59:59Z"),
            Some((true, "is valid from 2026-01-01T00:00:00Z on, and the clock here says")),
        ),
        (year("2026-01-01T00:00:00Z"), None),
        (year("2026-12-18T00:00:00Z"), None),
        (
            year("2026-12-18T00:00:01Z"),
            Some((false, "expires in 13 days, at 2027-01-01T00:00:00Z; put a new one")),
        ),
        (year("2026-12-31T00:00:00Z"), Some((false, "expires in 24 hours"))),
        (year("2026-12-31T23:00:01Z"), Some((false, "expires in 59 minutes"))),
        (year("2027-01-01T00:00:00Z"), Some((true, "has expired at 2027-01-01T00:00:00Z; put a new one"))),
        (day("2026-01-01T15:59:59Z"), None),
        (day("2026-01-01T16:00:01Z"), Some((false, "expires in 7 hours"))),
    ] {
        match (found, wanted) {
            (Some((is_error, text)), Some((wanted, words))) => {
                assert!(is_error == wanted && text.contains(words), "{words}: {text}");
            }
            (found, wanted) => assert!(found.is_none() && wanted.is_none(), "{found:?} {wanted:?}"),
        }
    }
}
