//! X.509 certificates (RFC 5280), as far as messages and checks need them: who a certificate is for, who issued it,
//! and when it is valid. Nothing here verifies a signature or decides about trust.
//!
//! Texts of a certificate come from outside: they are cleaned and cut before they leave this module.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;

use crate::text::one_line;
use der::{Element, Elements};

mod der;

/// Longest name in characters. One of a host has 253 at most; a longer one is cut.
const NAME: usize = 253;

/// Most names that are kept: a message with more of them is not read. The others are counted.
const NAMES: usize = 8;

/// Most elements of one list that are read. A certificate for a hundred hosts has as many names; the 20 or so
/// extensions that exist are less.
const LISTED: usize = 1024;

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const BMP_STRING: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// The version, which certificates of version 1 do not have.
const EXPLICIT_0: u8 = 0xa0;
/// The extensions.
const EXPLICIT_3: u8 = 0xa3;
/// The name of a host in a list of names.
const DNS_NAME: u8 = 0x82;
/// An address in a list of names.
const IP_ADDRESS: u8 = 0x87;

/// Object identifier 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// Object identifier 2.5.4.10.
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];
/// Object identifier 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// What a certificate says about itself. Whether that is true, a signature decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// When it is valid.
    pub validity: Validity,
    /// Whom it is for.
    pub subject: Name,
    /// Who issued it.
    pub issuer: Name,
    /// Issuer and subject are the same, to the byte.
    pub names_itself: bool,
    /// The hosts that it is for: names and addresses of the extension `subjectAltName`, at most eight.
    pub hosts: Vec<String>,
    /// How many more of them there are.
    pub more_hosts: usize,
}

/// The time in which a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Its first moment.
    pub not_before: Timestamp,
    /// Its last moment.
    pub not_after: Timestamp,
}

/// A subject or an issuer, as far as people recognize it by that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Name {
    /// The common name (CN).
    pub common: Option<String>,
    /// The organization (O).
    pub organization: Option<String>,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.common, &self.organization) {
            (Some(common), Some(organization)) => write!(f, "CN={common}, O={organization}"),
            (Some(common), None) => write!(f, "CN={common}"),
            (None, Some(organization)) => write!(f, "O={organization}"),
            (None, None) => f.write_str("without a name"),
        }
    }
}

impl Certificate {
    /// Reads a certificate in DER; none if the bytes are not a certificate, or are cut off.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (whole, _) = der::element(der, SEQUENCE)?;
        let (body, _) = der::element(whole, SEQUENCE)?;
        let body = der::element(body, EXPLICIT_0).map_or(body, |(_, rest)| rest);
        let (_serial, body) = der::element(body, INTEGER)?;
        let (_algorithm, body) = der::element(body, SEQUENCE)?;
        let (issuer, body) = der::element(body, SEQUENCE)?;
        let (validity, body) = der::element(body, SEQUENCE)?;
        let (subject, body) = der::element(body, SEQUENCE)?;
        let (_key, body) = der::element(body, SEQUENCE)?;
        let (not_before, end) = der::time(validity)?;
        let (not_after, _) = der::time(end)?;
        let mut read = Self {
            validity: Validity { not_before, not_after },
            subject: name(subject),
            issuer: name(issuer),
            names_itself: issuer == subject,
            hosts: Vec::new(),
            more_hosts: 0,
        };
        for (identifier, value) in extensions(body) {
            if identifier == SUBJECT_ALT_NAME {
                read.take_hosts(value);
            }
        }
        Some(read)
    }

    /// Takes the names of hosts and the addresses; a mail address or a URL is for no host.
    fn take_hosts(&mut self, value: &[u8]) {
        let Some((list, _)) = der::element(value, SEQUENCE) else { return };
        let found = Elements(list).take(LISTED).filter_map(|item| match item.tag {
            DNS_NAME => Some(text(item.content)),
            IP_ADDRESS => address(item.content).map(|ip| ip.to_string()),
            _ => None,
        });
        for host in found {
            if self.hosts.len() < NAMES {
                self.hosts.push(host);
            } else {
                self.more_hosts += 1;
            }
        }
    }
}

/// Whether the bytes have the shape of one certificate in DER and nothing behind it. Every certificate that a TLS
/// library can use has this shape; one that has it may be unusable all the same.
pub fn has_shape(der: &[u8]) -> bool {
    fn shape(der: &[u8]) -> Option<bool> {
        let (whole, behind) = der::element(der, SEQUENCE)?;
        let (body, signature) = der::element(whole, SEQUENCE)?;
        let (_algorithm, signature) = der::element(signature, SEQUENCE)?;
        let (_signature, rest) = der::element(signature, BIT_STRING)?;
        let body = der::element(body, EXPLICIT_0).map_or(body, |(_, rest)| rest);
        let (_serial, mut body) = der::element(body, INTEGER)?;
        // Algorithm, issuer, validity, subject, key.
        for _ in 0..5 {
            (_, body) = der::element(body, SEQUENCE)?;
        }
        Some(behind.is_empty() && rest.is_empty())
    }
    shape(der).unwrap_or(false)
}

/// The extensions: object identifier and value. `body` begins behind the key.
fn extensions(body: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    // Unique identifiers of issuer and subject may stand before them.
    let wrapped = Elements(body).take(3).find(|item| item.tag == EXPLICIT_3);
    let list =
        wrapped.and_then(|item| der::element(item.content, SEQUENCE)).map_or(&[][..], |(list, _)| list);
    Elements(list).take(LISTED).filter(|item| item.tag == SEQUENCE).filter_map(|item| {
        let (identifier, rest) = der::element(item.content, OBJECT_IDENTIFIER)?;
        let rest = der::element(rest, BOOLEAN).map_or(rest, |(_critical, rest)| rest);
        Some((identifier, der::element(rest, OCTET_STRING)?.0))
    })
}

/// The last common name and the last organization of a name, which are the most specific ones.
fn name(sequence: &[u8]) -> Name {
    let mut name = Name::default();
    let sets = Elements(sequence).take(LISTED).filter(|item| item.tag == SET);
    for item in sets.flat_map(|set| Elements(set.content).take(LISTED)) {
        let Some((identifier, rest)) = der::element(item.content, OBJECT_IDENTIFIER) else { continue };
        let Some((value, _)) = der::any(rest) else { continue };
        match identifier {
            COMMON_NAME => name.common = shown(value),
            ORGANIZATION => name.organization = shown(value),
            _ => {}
        }
    }
    name
}

/// The text of a value; none if nothing of it can be shown.
fn shown(value: Element<'_>) -> Option<String> {
    let found = if value.tag == BMP_STRING {
        let units: Vec<u16> = value
            .content
            .chunks_exact(2)
            .take(NAME * 2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .collect();
        one_line(&String::from_utf16_lossy(&units), NAME)
    } else {
        text(value.content)
    };
    Some(found).filter(|found| !found.is_empty())
}

fn text(bytes: &[u8]) -> String {
    // More bytes than these are cut anyway: a character has four at most.
    let considered = bytes.get(..NAME * 8).unwrap_or(bytes);
    one_line(&String::from_utf8_lossy(considered), NAME)
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(octets) {
        return Some(IpAddr::from(four));
    }
    <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)
}

#[cfg(test)]
mod tests;
