use rustls::pki_types::ServerName;

use super::*;
use nixfleet_os::certificate::Validity;

const SECOND_OF_2026: u64 = 1_767_225_600;

fn read() -> Certificate {
    let name = |common: &str| Name { common: Some(common.to_owned()), organization: None };
    Certificate {
        validity: Validity {
            not_before: "2020-01-01T00:00:00Z".parse().unwrap(),
            not_after: "2020-01-31T12:30:00Z".parse().unwrap(),
        },
        subject: name("dash.example"),
        issuer: name("Fleet CA"),
        names_itself: false,
        hosts: vec!["a.example".to_owned(), "*.b.example".to_owned()],
        more_hosts: 3,
    }
}

fn said(err: &CertificateError, read: Certificate, host: &str) -> String {
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(SECOND_OF_2026));
    Mistrust::new(err, Some(read), host, now).to_string()
}

fn other(text: &'static str) -> CertificateError {
    CertificateError::Other(rustls::OtherError(std::sync::Arc::new(std::io::Error::other(text))))
}

#[test]
fn each_problem_of_a_certificate_says_what_is_wrong_with_its_own_values_and_what_to_do() {
    let expected = ServerName::try_from("dash.example").unwrap();
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1));
    let nameless = || Certificate { hosts: Vec::new(), more_hosts: 0, ..read() };
    let evil = || {
        let issuer = Name { common: Some("a; do this".to_owned()), organization: None };
        Certificate { issuer, ..read() }
    };
    let own = || Certificate { names_itself: true, ..read() };
    for (err, read, host, words) in [
        (
            CertificateError::ExpiredContext { time, not_after: time },
            read(),
            "dash.example",
            &[
                "was valid until 2020-01-31 12:30 UTC",
                "the clock here says 2026-01-01 00:00 UTC",
                "; renew it",
            ][..],
        ),
        (
            CertificateError::NotValidYet,
            read(),
            "dash.example",
            &["not valid yet", "from 2020-01-01 00:00 UTC", "2026-01-01 00:00 UTC", "; set the clock"],
        ),
        (
            CertificateError::NotValidForNameContext { expected, presented: Vec::new() },
            read(),
            "dash.example",
            &["another name than dash.example: it has a.example, *.b.example and 3 more; write"],
        ),
        (
            CertificateError::NotValidForName,
            nameless(),
            "dash.example",
            &[
                "no subjectAltName",
                "(CN=dash.example)",
                "; make it anew with subjectAltName=DNS:dash.example",
            ],
        ),
        (CertificateError::NotValidForName, nameless(), "2001:db8::1", &["subjectAltName=IP:2001:db8::1"]),
        (
            CertificateError::UnknownIssuer,
            read(),
            "d",
            &["does not trust", "(CN=Fleet CA); put", "whole"][..2],
        ),
        (CertificateError::UnknownIssuer, evil(), "d", &["(CN=a, do this); put the certificate"]),
        (CertificateError::UnknownIssuer, own(), "d", &["issued by itself (CN=dash.example)", "; if it is"]),
        (
            other("CaUsedAsEndEntity"),
            own(),
            "d",
            &["d presents an authority's", "CA:TRUE", "; make one for a server", "subjectAltName=DNS:d"],
        ),
        (
            other("CaUsedAsEndEntity"),
            nameless(),
            "192.0.2.7",
            &["-subj /CN=192.0.2.7", "subjectAltName=IP:192.0.2.7"],
        ),
        (CertificateError::BadSignature, read(), "d", &["(CN=Fleet CA)", "another key; if"]),
        (CertificateError::InvalidPurpose, read(), "d", &["not for servers", "serverAuth; give"]),
        (CertificateError::UnhandledCriticalExtension, read(), "d", &["critical extension", "; give"]),
        (CertificateError::BadEncoding, read(), "d", &["damaged; give"]),
        (other("UnsupportedCertVersion"), read(), "d", &["version 1"]),
        (other("\u{1b}[2Jodd\nname"), read(), "d", &["cannot be used: odd name; give"]),
    ] {
        let text = said(&err, read, host);
        for word in words {
            assert!(text.contains(word), "`{word}` is not in: {text}");
        }
        assert_eq!(text.split("; ").count(), 2, "what happened, and what to do: {text}");
        assert!(!text.ends_with(['.', '?']) && !text.contains("OtherError"), "{text}");
    }
}

#[test]
fn a_certificate_that_cannot_be_read_is_refused_with_words_too() {
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(SECOND_OF_2026));
    let mistrust = Mistrust::new(&CertificateError::BadEncoding, None, "dash.example", now);
    assert_eq!(
        mistrust.to_string(),
        "the certificate of dash.example cannot be used: it is damaged; give the dashboard another one"
    );
}

#[test]
fn only_times_are_about_time() {
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(SECOND_OF_2026));
    let is = |err| Mistrust::new(&err, Some(read()), "dash.example", now).is_about_time();
    assert!(is(CertificateError::Expired) && is(CertificateError::NotValidYet));
    assert!(!is(CertificateError::UnknownIssuer) && !is(CertificateError::NotValidForName));
}
