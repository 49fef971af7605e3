//! The head of the answer, from bytes that come in any pieces.

use httparse::{EMPTY_HEADER, ParserConfig, Response, Status};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::failure::UpgradeError;
use super::{MAX_HEAD, MAX_HEADERS, MAX_INTERIM};
use crate::dial::quote::quote;

/// Bytes of something else than HTTP that a message quotes.
const QUOTED: usize = 40;

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    /// HTTP/1.0, which has no upgrades.
    pub(super) is_http_1_0: bool,
    pub(super) headers: HeaderMap,
}

impl Head {
    /// Whether another answer follows: each 1xx but 101 (RFC 9110, 15.2).
    fn is_interim(&self) -> bool {
        self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS
    }
}

/// Collects an answer until its head is whole. The same bytes give the same result in whatever pieces they come.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    bytes: Vec<u8>,
    interim: usize,
}

impl HeadReader {
    /// Takes more bytes. Returns the head of the final answer if it is whole.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Option<Head>, UpgradeError> {
        self.bytes.extend_from_slice(bytes);
        loop {
            let considered = self.bytes.get(..MAX_HEAD).unwrap_or(&self.bytes);
            let Some((head, length)) = parse(considered)? else {
                let is_full = considered.len() == MAX_HEAD;
                return if is_full { Err(UpgradeError::LargeHead) } else { Ok(None) };
            };
            self.bytes.drain(..length);
            if !head.is_interim() {
                return Ok(Some(head));
            }
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(UpgradeError::OnlyInterim);
            }
        }
    }

    /// Whether nothing has come so far.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.interim == 0
    }

    /// The bytes behind the head.
    pub(super) fn rest(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads a head and its length; none if it is not whole yet. What does no harm is accepted: folded lines, blanks
/// around names, a line that is no header. There is one request on the connection, so nobody can be misled about where
/// an answer ends.
fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, UpgradeError> {
    let mut lines = [EMPTY_HEADER; MAX_HEADERS];
    let mut response = Response::new(&mut lines);
    let mut rules = ParserConfig::default();
    rules
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .allow_multiple_spaces_in_response_status_delimiters(true)
        .ignore_invalid_headers_in_responses(true);
    let length = match rules.parse_response(&mut response, bytes) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(UpgradeError::ManyHeaders),
        Err(err) => return Err(no_http(bytes, &err.to_string())),
    };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status =
        status.ok_or_else(|| UpgradeError::Malformed("its status is no number from 100".to_owned()))?;
    let is_http_1_0 = response.version == Some(0);
    let mut headers = HeaderMap::new();
    for line in response.headers.iter() {
        // Line ends in a value are those of a folded line.
        let value: Vec<u8> =
            line.value.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect();
        let name = HeaderName::from_bytes(line.name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.trim_ascii())) {
            headers.append(name, value);
        }
    }
    Ok(Some((Head { status, is_http_1_0, headers }, length)))
}

/// What these bytes are, which are no HTTP.
fn no_http(mut bytes: &[u8], err: &str) -> UpgradeError {
    // Empty lines before an answer are skipped.
    while let Some(rest) = bytes.strip_prefix(b"\n").or_else(|| bytes.strip_prefix(b"\r\n")) {
        bytes = rest;
    }
    match bytes {
        // An alert, or a handshake: records of TLS. No protocol of text begins so.
        [0x15 | 0x16, ..] => UpgradeError::SpeaksTls,
        _ if bytes.starts_with(b"HTTP/") => UpgradeError::Malformed(err.to_owned()),
        _ => UpgradeError::NoHttp(quoted(bytes)),
    }
}

/// The beginning of what is perhaps text.
fn quoted(bytes: &[u8]) -> String {
    /// Enough to recognize a protocol.
    const SHOWN: usize = 8;
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\r' | b'\n' | b'\t');
    let start = bytes.get(..QUOTED).unwrap_or(bytes);
    if start.iter().all(is_text) {
        return format!("{:?}", quote(&String::from_utf8_lossy(start), QUOTED));
    }
    let digits: Vec<String> = start.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
    format!("the bytes {}", digits.join(" "))
}
