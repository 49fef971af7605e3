use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType};

use super::*;

fn made(params: &CertificateParams) -> Vec<u8> {
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

fn params(names: &[&str]) -> CertificateParams {
    let mut params =
        CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params
}

fn ending(year: i32) -> Vec<u8> {
    let mut params = params(&["localhost"]);
    params.not_before = rcgen::date_time_ymd(1975, 1, 2);
    params.not_after = rcgen::date_time_ymd(year, 3, 4);
    made(&params)
}

#[test]
fn validity_is_read_in_both_forms_of_times() {
    for year in [1999, 2026, 2049, 2050, 4096] {
        let read = Certificate::read(&ending(year)).unwrap();
        assert_eq!(read.validity.not_before, "1975-01-02T00:00:00Z".parse().unwrap());
        assert_eq!(read.validity.not_after, format!("{year}-03-04T00:00:00Z").parse().unwrap());
    }
}

#[test]
fn the_time_that_means_no_end_is_the_latest_there_is() {
    let mut certificate = ending(4096);
    let at = certificate.windows(15).position(|bytes| bytes == b"40960304000000Z").unwrap();
    certificate[at..at + 15].copy_from_slice(b"99991231235959Z");
    assert_eq!(Certificate::read(&certificate).unwrap().validity.not_after, Timestamp::MAX);
    for wrong in [b"40961304000000Z", b"40960304000060Z", b"4096030400000 Z", b"+0960304000000Z"] {
        certificate[at..at + 15].copy_from_slice(wrong);
        assert_eq!(Certificate::read(&certificate), None, "{wrong:?}");
    }
}

#[test]
fn what_is_cut_off_or_no_certificate_is_not_read() {
    let whole = ending(2026);
    assert!(has_shape(&whole));
    for length in 0..whole.len() {
        assert_eq!(Certificate::read(&whole[..length]), None, "{length}");
        assert!(!has_shape(&whole[..length]), "{length}");
    }
    for junk in [&b"\x30\x84\xff\xff\xff\xff"[..], b"\x30\x80", b"text", b"\x30\x00"] {
        assert_eq!(Certificate::read(junk), None);
        assert!(!has_shape(junk));
    }
    assert!(!has_shape(&[&whole[..], b"\0"].concat()), "something behind it");
}

#[test]
fn names_are_read_cleaned_and_bounded() {
    let mut given = params(&["a.example", "*.b.example", "192.0.2.7", "2001:db8::1"]);
    given.distinguished_name.push(DnType::OrganizationName, "Fleet");
    given.distinguished_name.push(DnType::CommonName, "old \u{1b}[31mred\u{202e}\nname");
    given.subject_alt_names.push(SanType::Rfc822Name("a@example.org".try_into().unwrap()));
    let read = Certificate::read(&made(&given)).unwrap();
    assert_eq!(read.subject.to_string(), "CN=old red name, O=Fleet");
    assert_eq!((&read.subject, read.names_itself), (&read.issuer, true));
    assert_eq!(read.hosts, ["a.example", "*.b.example", "192.0.2.7", "2001:db8::1"]);
    assert_eq!(read.more_hosts, 0);

    let none = Certificate::read(&made(&params(&[]))).unwrap();
    assert_eq!((none.subject.to_string().as_str(), none.hosts.len()), ("without a name", 0));

    let hosts: Vec<String> = (0..100).map(|n| format!("{n}.example")).collect();
    let many =
        Certificate::read(&made(&params(&hosts.iter().map(String::as_str).collect::<Vec<_>>()))).unwrap();
    assert_eq!((many.hosts.as_slice(), many.more_hosts), (&hosts[..8], 92));

    let mut long = params(&[]);
    long.distinguished_name.push(DnType::CommonName, "ä".repeat(5000));
    let read = Certificate::read(&made(&long)).unwrap();
    assert_eq!(read.subject.common.unwrap().chars().count(), NAME);
}

#[test]
fn every_form_of_text_is_read() {
    for value in [
        DnValue::Utf8String("Flotte Süd".to_owned()),
        DnValue::BmpString("Flotte Süd".try_into().unwrap()),
        DnValue::PrintableString("Flotte S".try_into().unwrap()),
        DnValue::TeletexString("Flotte S".try_into().unwrap()),
    ] {
        let mut given = params(&[]);
        given.distinguished_name.push(DnType::CommonName, value);
        let read = Certificate::read(&made(&given)).unwrap();
        assert!(read.subject.to_string().starts_with("CN=Flotte S"), "{}", read.subject);
    }
}
