//! An answer that is no WebSocket: what it says about itself.

use std::time::Duration;

use jiff::Timestamp;
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderName, StatusCode, header};

use nixfleet_os::text::one_line;

use super::page::page;
use crate::dial::clock_skew::ClockSkew;
use crate::dial::quote::without_secrets;
use crate::dial::retry_after::{date, retry_after};

/// Longest value of a header in a message, in characters. Names and versions of servers have less.
const SHOWN: usize = 80;

/// An answer of HTTP other than 101. Its texts are cleaned and short, except for `location`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// `Location` as it came, if it is text. It may hold a secret.
    pub location: Option<String>,
    /// The delay of `Retry-After`, at most ten minutes.
    pub retry_after: Option<Duration>,
    /// By `Date`, the clock of the server is another than that of this host.
    pub skew: Option<ClockSkew>,
    /// `Server`: which program answered.
    pub server: Option<String>,
    /// `Via`: through which proxies it came.
    pub via: Option<String>,
    /// `Content-Type` without its parameters, in small letters.
    pub content_type: Option<String>,
    /// The title of a page, else the first line of a text; none if it says no more than the status.
    pub page: Option<String>,
}

impl Answer {
    /// What an answer with these headers says. `body` is its beginning; `now` is the clock of this host.
    pub(super) fn new(status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Self {
        let shown = |name| {
            text(headers, name)
                .map(|text| one_line(&without_secrets(&text), SHOWN))
                .filter(|text| !text.is_empty())
        };
        let content_type = shown(header::CONTENT_TYPE)
            .and_then(|text| Some(text.split(';').next()?.trim().to_ascii_lowercase()));
        let page = page(status, headers, content_type.as_deref(), body);
        Self {
            status,
            location: text(headers, header::LOCATION),
            retry_after: retry_after(headers, now),
            skew: date(headers).and_then(|there| ClockSkew::between(now, there)),
            server: shown(header::SERVER),
            via: shown(header::VIA),
            content_type,
            page,
        }
    }

    /// One with a status alone, for examples and tests.
    pub fn bare(status: StatusCode) -> Self {
        Self::new(status, &HeaderMap::new(), b"", Timestamp::UNIX_EPOCH)
    }

    /// Whether it is a page for people: behind the address of a WebSocket there is none.
    pub fn is_page(&self) -> bool {
        matches!(self.content_type.as_deref(), Some("text/html" | "application/xhtml+xml"))
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    Some(std::str::from_utf8(value.as_bytes()).ok()?.to_owned())
}
