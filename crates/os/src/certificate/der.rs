//! The encoding of certificates, DER (X.690): a tag, a length and a content.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// One element.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
}

/// The elements that these bytes are made of, up to the first that is none or is cut off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Elements<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let (element, rest) = any(self.0)?;
        self.0 = rest;
        Some(element)
    }
}

/// The first element, and the bytes after it.
pub(super) fn any(der: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        // Three bytes are enough for 16 MiB; certificates have a few KiB.
        let digits = usize::from(first & 0x7f);
        let (bytes, content) = rest.split_at_checked(digits).filter(|_| (1..=3).contains(&digits))?;
        length = bytes.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
        rest = content;
    }
    let (content, rest) = rest.split_at_checked(length)?;
    Some((Element { tag, content }, rest))
}

/// The content of the first element, if it has this tag, and the bytes after it.
pub(super) fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    any(der).filter(|(found, _)| found.tag == tag).map(|(found, rest)| (found.content, rest))
}

/// The time in one of the two forms of RFC 5280, 4.1.2.5, and the bytes after it.
pub(super) fn time(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (text, century, rest) = match element(der, UTC_TIME) {
        Some((text, rest)) => {
            // Two-digit years up to 49 are in this century.
            let century = if *text.first()? < b'5' { "20" } else { "19" };
            (text, century, rest)
        }
        None => element(der, GENERALIZED_TIME).map(|(text, rest)| (text, "", rest))?,
    };
    let text = format!("{century}{}", std::str::from_utf8(text).ok()?);
    let digits = text.strip_suffix('Z').filter(|digits| digits.len() == 14)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let year = digits.get(0..4)?.parse().ok()?;
    let part = |range: std::ops::Range<usize>| digits.get(range)?.parse::<i8>().ok();
    let time =
        DateTime::new(year, part(4..6)?, part(6..8)?, part(8..10)?, part(10..12)?, part(12..14)?, 0).ok()?;
    // The last second of the year 9999 means "no end", and is a day later than the latest time stamp there is.
    let at = Offset::UTC.to_timestamp(time).unwrap_or(Timestamp::MAX);
    Some((at, rest))
}
