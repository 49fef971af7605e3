//! What the body of an answer says, in one line: the title of a page, or the first line of a text.

use tokio_tungstenite::tungstenite::http::{HeaderMap, StatusCode, header};

use nixfleet_os::text::one_line;

use crate::dial::quote::without_secrets;

/// Bytes of a body that are read. Titles are at the beginning of a page.
pub(super) const MAX_BODY: usize = 4 * 1024;

/// Longest title in a message, in characters.
const SHOWN: usize = 120;

/// The title or the first line of a body that is text; none if it says no more than the status.
pub(super) fn page(
    status: StatusCode,
    headers: &HeaderMap,
    content_type: Option<&str>,
    body: &[u8],
) -> Option<String> {
    let is_text = content_type.is_none_or(|kind| {
        kind.starts_with("text/") || kind.ends_with("json") || kind.ends_with("xml") || kind.ends_with("html")
    });
    if !is_text || headers.contains_key(header::CONTENT_ENCODING) {
        return None;
    }
    let body = if is_chunked(headers) { without_chunks(body) } else { body.to_vec() };
    let text = String::from_utf8_lossy(&body);
    let said = match title(&text) {
        Some(title) => entities(title),
        None => {
            text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('<'))?.to_owned()
        }
    };
    let said = one_line(&without_secrets(&said), SHOWN);
    let is_status = said.eq_ignore_ascii_case(&status.to_string())
        || status.canonical_reason().is_some_and(|reason| said.eq_ignore_ascii_case(reason));
    (!said.is_empty() && !is_status).then_some(said)
}

/// Whether the body cannot say more: it is whole, its title is, or it is long enough.
pub(super) fn is_enough(headers: &HeaderMap, status: StatusCode, body: &[u8]) -> bool {
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let is_whole = if is_chunked(headers) {
        is_last_chunk(body)
    } else {
        length.is_some_and(|length| body.len() >= length)
    };
    let has_none = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    has_none || is_whole || body.len() >= MAX_BODY || title(&String::from_utf8_lossy(body)).is_some()
}

fn is_chunked(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::TRANSFER_ENCODING).iter();
    values.any(|value| value.to_str().is_ok_and(|value| value.to_ascii_lowercase().contains("chunked")))
}

fn is_last_chunk(body: &[u8]) -> bool {
    body.starts_with(b"0\r\n") || body.windows(5).any(|end| end == b"\r\n0\r\n")
}

/// A body in chunks without their sizes, as far as it is valid.
fn without_chunks(mut body: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    while let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(body) {
        let behind = body.get(start..).unwrap_or_default();
        let size = usize::try_from(size).unwrap_or(usize::MAX).min(behind.len());
        let (chunk, rest) = behind.split_at(size);
        text.extend_from_slice(chunk);
        if chunk.is_empty() {
            break;
        }
        body = rest.strip_prefix(b"\r\n").unwrap_or_default();
    }
    text
}

/// What is between `<title>` and its end.
fn title(text: &str) -> Option<&str> {
    // Letters that are not ASCII stay, so positions are the same.
    let lower = text.to_ascii_lowercase();
    let tag = lower.find("<title")?;
    let start = tag + lower.get(tag..)?.find('>')? + 1;
    let end = start + lower.get(start..)?.find("</title")?;
    text.get(start..end)
}

/// The characters that HTML cannot write otherwise.
fn entities(text: &str) -> String {
    let named =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&nbsp;", " "), ("&amp;", "&")];
    named.iter().fold(text.to_owned(), |text, (name, letter)| text.replace(name, letter))
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::http::HeaderValue;

    use super::*;

    fn headers(given: &[(&'static str, &'static str)]) -> HeaderMap {
        given.iter().fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(*name, HeaderValue::from_static(value));
            headers
        })
    }

    #[test]
    fn a_title_or_a_first_line_is_shown_and_nothing_that_repeats_the_status() {
        const HTML: Option<&str> = Some("text/html");
        let bad = StatusCode::BAD_GATEWAY;
        let long = "x".repeat(500);
        for (content_type, body, wanted) in [
            (HTML, "<html><head><TITLE lang=en>\n Sign in &amp; go\t</Title></head>", Some("Sign in & go")),
            (HTML, "<html>\n<p>x</p>\n Please log in \nmore", Some("Please log in")),
            (HTML, "<html><head><title>502 Bad Gateway</title>", None),
            (HTML, "<title>\u{1b}[31mred\u{202e}</title>", Some("red")),
            (HTML, "<title>never ended", None),
            (HTML, "<title></title>", None),
            (None, "no such path\n", Some("no such path")),
            (Some("text/plain"), "\r\n\r\nBad gateway", None),
            (Some("application/problem+json"), "{\"detail\":\"banned\"}", Some("{\"detail\":\"banned\"}")),
            (Some("image/png"), "PNG", None),
            (None, "", None),
        ] {
            assert_eq!(
                page(bad, &HeaderMap::new(), content_type, body.as_bytes()).as_deref(),
                wanted,
                "{body}"
            );
        }
        let shown = page(bad, &HeaderMap::new(), None, long.as_bytes()).unwrap();
        assert_eq!(shown.chars().count(), SHOWN);
        let packed = headers(&[("content-encoding", "gzip")]);
        assert_eq!(page(bad, &packed, None, b"text"), None);
        let chunked = headers(&[("transfer-encoding", "gzip, Chunked")]);
        for (body, wanted) in [
            ("7\r\n<title>\r\n5;a=b\r\nLogin\r\n8\r\n</title>\r\n0\r\n\r\n", Some("Login")),
            ("ff\r\nfirst", Some("first")),
            ("ffffffffffffffff\r\nfirst", Some("first")),
            ("x\r\nfirst", None),
            ("0\r\n\r\nfirst", None),
        ] {
            assert_eq!(page(bad, &chunked, None, body.as_bytes()).as_deref(), wanted, "{body}");
        }
    }

    #[test]
    fn no_more_is_read_than_helps() {
        let (ok, empty) = (StatusCode::OK, HeaderMap::new());
        let sized = headers(&[("content-length", "3")]);
        let chunked = headers(&[("transfer-encoding", "chunked")]);
        for (headers, status, body, wanted) in [
            (&sized, ok, "ab", false),
            (&sized, ok, "abc", true),
            (&chunked, ok, "3\r\nabc\r\n", false),
            (&chunked, ok, "3\r\nabc\r\n0\r\n\r\n", true),
            (&chunked, ok, "0\r\n\r\n", true),
            (&empty, ok, "", false),
            (&empty, StatusCode::NO_CONTENT, "", true),
            (&empty, ok, "<title>a</title>", true),
            (&empty, ok, "<title>a", false),
        ] {
            assert_eq!(is_enough(headers, status, body.as_bytes()), wanted, "{body}");
        }
        assert!(is_enough(&empty, ok, &[b'x'; MAX_BODY]) && !is_enough(&empty, ok, &[b'x'; MAX_BODY - 1]));
    }
}
