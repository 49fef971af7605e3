//! The answers of proxies: to CONNECT, and in the exchange of SOCKS5.

use nixfleet_agent::dial::fuzzing::{http_proxy, socks_proxy};

/// The login that a proxy may ask for, and that no message has.
const LOGIN: (&str, &str) = ("a-user-of-the-proxy", "s3cret");

/// Most heads of HTTP, of which all but the last one announce another.
const MAX_HEADS: usize = 8;

/// Longest message in characters: a sentence with two addresses in it.
const MAX_MESSAGE: usize = 1000;

/// The first byte chooses the kind of the proxy, and whether there is a login; the others are its answer. The way is
/// open exactly if the proxy says so, and then not a byte of the target is taken; messages are one printable sentence
/// with an advice, and without the login.
pub fn proxy_answer(data: &[u8]) {
    let Some((kind, answer)) = data.split_first() else { return };
    let login = (kind & 2 != 0).then_some(LOGIN);
    let (result, wanted, is_plain) = match kind & 1 {
        0 => {
            let (wanted, is_plain) = http(answer);
            (http_proxy(answer, login), wanted, is_plain)
        }
        _ => (socks_proxy(answer, login), socks(answer, login.is_some()), true),
    };
    match &result {
        Ok(rest) => assert_eq!(wanted, Some(rest.as_slice()), "what is behind the answer"),
        Err(message) => {
            assert!(wanted.is_none() || !is_plain, "{message}");
            assert!(
                message.chars().count() <= MAX_MESSAGE && !message.chars().any(char::is_control),
                "{message:?}"
            );
            assert_eq!(message.matches("; ").count(), 1, "what happened, and what to do: {message}");
            assert!(!message.contains(LOGIN.0) && !message.contains(LOGIN.1), "{message}");
        }
    }
}

/// What is behind an answer that opens the way, by its status alone; and whether every reader of HTTP understands its
/// heads, so that the way must be open.
fn http(mut answer: &[u8]) -> (Option<&[u8]>, bool) {
    let mut is_plain = true;
    for _ in 0..MAX_HEADS {
        let ends = [&b"\n\r\n"[..], b"\n\n"].map(|end| {
            let at = answer.windows(end.len()).position(|found| found == end)?;
            Some(at + end.len())
        });
        let Some(end) = ends.into_iter().flatten().min() else { return (None, false) };
        let (head, rest) = answer.split_at(end);
        is_plain &= plain(head);
        match head.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(1..5)) {
            Some(b" 101") => return (None, is_plain),
            Some([b' ', b'1', ..]) => answer = rest,
            Some([b' ', b'2', ..]) => return (Some(rest), is_plain),
            _ => return (None, is_plain),
        }
    }
    (None, false)
}

/// Whether a head is a few simple lines.
fn plain(head: &[u8]) -> bool {
    let Some(head) = head.strip_suffix(b"\r\n\r\n") else { return false };
    let Ok(head) = std::str::from_utf8(head) else { return false };
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let is_text = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let is_status = matches!(status.get(..9), Some("HTTP/1.1 " | "HTTP/1.0 "))
        && status.get(9..12).is_some_and(|code| code.bytes().all(|byte| byte.is_ascii_digit()))
        && status.get(12..14).is_some_and(|reason| reason.starts_with(' ') && reason != "  ")
        && is_text(status);
    let is_header = |line: &str| {
        line.split_once(": ").is_some_and(|(name, value)| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric()) && is_text(value)
        })
    };
    is_status && head.len() < 1000 && lines.clone().count() < 20 && lines.all(is_header)
}

/// What is behind the exchange of SOCKS5 that opens the way: RFC 1928, 3 and 6; RFC 1929, 2.
fn socks(answer: &[u8], has_login: bool) -> Option<&[u8]> {
    let rest = match answer {
        [5, 0, rest @ ..] => rest,
        [5, 2, _, 0, rest @ ..] if has_login => rest,
        _ => return None,
    };
    let [5, 0, _, kind, rest @ ..] = rest else { return None };
    match kind {
        1 => rest.get(4 + 2..),
        4 => rest.get(16 + 2..),
        3 => rest.get(1 + usize::from(*rest.first()?) + 2..),
        _ => None,
    }
}
