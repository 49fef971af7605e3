//! When a certificate is valid (RFC 5280, 4.1.2.5). No other field is read, and nothing is verified.

use jiff::Timestamp;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// Tag of the version, which old certificates do not have.
const EXPLICIT_0: u8 = 0xa0;

/// The time in which a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Its beginning.
    pub not_before: Timestamp,
    /// Its end.
    pub not_after: Timestamp,
}

impl Validity {
    /// That of a certificate in DER; none if the bytes are not a certificate.
    pub fn of(der: &[u8]) -> Option<Self> {
        let (certificate, _) = element(der, SEQUENCE)?;
        let (body, _) = element(certificate, SEQUENCE)?;
        let body = element(body, EXPLICIT_0).map_or(body, |(_, rest)| rest);
        let (_serial, body) = element(body, INTEGER)?;
        let (_algorithm, body) = element(body, SEQUENCE)?;
        let (_issuer, body) = element(body, SEQUENCE)?;
        let (validity, _) = element(body, SEQUENCE)?;
        let (not_before, end) = time(validity)?;
        let (not_after, _) = time(end)?;
        Some(Self { not_before, not_after })
    }
}

/// The content of the first element, if it has this tag, and the bytes after it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        // Three bytes are enough for 16 MiB; certificates have a few KiB.
        let digits = usize::from(first & 0x7f);
        let (bytes, content) = rest.split_at_checked(digits).filter(|_| (1..=3).contains(&digits))?;
        length = bytes.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
        rest = content;
    }
    if found == tag { rest.split_at_checked(length) } else { None }
}

fn time(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (text, century, rest) = match element(der, UTC_TIME) {
        Some((text, rest)) => {
            // Two-digit years up to 49 are in this century.
            let century = if *text.first()? < b'5' { "20" } else { "19" };
            (text, century, rest)
        }
        None => element(der, GENERALIZED_TIME).map(|(text, rest)| (text, "", rest))?,
    };
    let text = format!("{century}{}", std::str::from_utf8(text).ok()?);
    let digits = text.strip_suffix('Z').filter(|digits| digits.len() == 14 && digits.is_ascii())?;
    let part = |range| digits.get(range);
    let (year, month, day) = (part(0..4)?, part(4..6)?, part(6..8)?);
    let clock = format!("{}:{}:{}", part(8..10)?, part(10..12)?, part(12..14)?);
    Some((format!("{year}-{month}-{day}T{clock}Z").parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(year: i32) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(1976, 1, 2);
        params.not_after = rcgen::date_time_ymd(year, 3, 4);
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn both_ends_are_read_in_both_forms_of_times() {
        for year in [1999, 2026, 2049, 2050, 4096] {
            let wanted = Validity {
                not_before: "1976-01-02T00:00:00Z".parse().unwrap(),
                not_after: format!("{year}-03-04T00:00:00Z").parse().unwrap(),
            };
            assert_eq!(Validity::of(&certificate(year)), Some(wanted));
        }
    }

    #[test]
    fn what_is_cut_off_or_no_certificate_has_no_validity() {
        let whole = certificate(2026);
        for length in 0..whole.len() {
            assert_eq!(Validity::of(&whole[..length]), None, "{length}");
        }
        for junk in [&b"\x30\x84\xff\xff\xff\xff"[..], b"\x30\x80", b"text", b"\x30\x00"] {
            assert_eq!(Validity::of(junk), None);
        }
    }
}
