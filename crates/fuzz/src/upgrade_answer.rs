//! The answer to a request for a WebSocket.

use nixfleet_agent::dial::fuzzing::{Judged, upgrade_answer as judge};

/// The key of the request and what belongs to it, as RFC 6455 has them as an example.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The host of the request, which has TLS.
const HOST: &str = "wss://dash.example";

/// Longest message in characters: a sentence with an address in it.
const MAX_MESSAGE: usize = 1000;

/// Longest texts of an answer in characters.
const MAX_HEADER: usize = 80;
const MAX_PAGE: usize = 120;

/// Most headers and bytes of a head that must be understood.
const MAX_HEADERS: usize = 100;
const MAX_HEAD: usize = 16 * 1024;

/// An answer. However it is cut, it means the same; a plain one is a WebSocket exactly if its headers say so; a redirect is
/// followed to the same host with TLS alone; messages are bounded and printable.
pub fn upgrade_answer(data: &[u8]) {
    let url = format!("{HOST}/ws");
    let (whole, message) = judge(&[data], KEY, &url);
    let middle = data.split_at(data.len() / 2);
    for pieces in [data.chunks(1).collect(), data.chunks(5).collect(), vec![middle.0, middle.1]] {
        let (cut, _) = judge(&pieces, KEY, &url);
        assert_eq!(cut, whole, "in {} pieces", pieces.len());
    }
    is_printable(&message, MAX_MESSAGE);
    let plain = plain(data);
    match &whole {
        Judged::Socket(rest) => {
            assert!(data.ends_with(rest) && plain != Some(false), "no WebSocket");
            let head = &data[..data.len() - rest.len()];
            assert!(
                head.windows(ACCEPT.len()).any(|word| word == ACCEPT.as_bytes()),
                "nobody read the request"
            );
        }
        Judged::Answer(answer, follow) => {
            assert!(plain.is_none(), "101 is a WebSocket or a failure");
            assert!(!answer.status.is_informational(), "another answer follows");
            for text in [&answer.server, &answer.via, &answer.content_type].into_iter().flatten() {
                is_printable(text, MAX_HEADER);
            }
            answer.page.iter().for_each(|page| is_printable(page, MAX_PAGE));
            if let Some(follow) = follow {
                let behind = follow.strip_prefix(HOST).expect("the same host, with TLS");
                let behind = behind.strip_prefix('.').unwrap_or(behind);
                assert!(behind.starts_with([':', '/', '?']), "{follow}");
                let authority = behind.split('/').next().unwrap_or_default();
                assert!(authority.bytes().all(|byte| byte == b':' || byte.is_ascii_digit()), "{follow}");
            }
        }
        Judged::More | Judged::Failed(_) => assert!(plain != Some(true), "{message}"),
    }
}

#[track_caller]
fn is_printable(text: &str, limit: usize) {
    assert!(text.chars().count() <= limit, "{text}");
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

/// Whether a plain answer 101, with simple headers alone, is a WebSocket; none for any other text.
fn plain(data: &[u8]) -> Option<bool> {
    let end = data.windows(4).position(|end| end == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&data[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let reason = lines.next()?.strip_prefix("HTTP/1.1 101 ")?;
    let is_plain = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if !is_plain(reason) || reason.starts_with(' ') || end + 4 > MAX_HEAD {
        return None;
    }
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_name || !is_plain(value) {
            return None;
        }
        headers.push((name.to_ascii_lowercase(), value.trim_matches(' ')));
    }
    if headers.len() > MAX_HEADERS {
        return None;
    }
    let all =
        |wanted: &str| headers.iter().filter(|(name, _)| name == wanted).map(|(_, value)| *value).collect();
    let has = |name: &str, word: &str| {
        let values: Vec<&str> = all(name);
        values.join(",").split(',').any(|given| given.trim_matches(' ').eq_ignore_ascii_case(word))
    };
    let accepts: Vec<&str> = all("sec-websocket-accept");
    let mut extra: Vec<&str> = all("sec-websocket-extensions");
    extra.extend::<Vec<&str>>(all("sec-websocket-protocol"));
    Some(
        has("upgrade", "websocket")
            && has("connection", "upgrade")
            && !accepts.is_empty()
            && accepts.iter().all(|value| *value == ACCEPT)
            && extra.iter().all(|value| value.is_empty()),
    )
}
