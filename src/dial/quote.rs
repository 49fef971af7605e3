//! What others say, for a message.

use std::borrow::Cow;

use nixfleet_os::text::one_line;

/// The text on one line and cut to `limit` characters, without a semicolon: behind the first one of a message is its
/// advice. It holds no secret of a request that was sent back.
pub(super) fn quote(text: &str, limit: usize) -> String {
    one_line(&without_secrets(text), limit).replace(';', ",")
}

/// Shown in place of what is left out.
const HIDDEN: char = '…';

/// The text without the parts of a request that hold secrets: some servers send back what they got, and some pages
/// name the address. Left out are the queries of addresses, and everything behind the name of a header with a login.
pub(super) fn without_secrets(text: &str) -> Cow<'_, str> {
    /// The end of the name (`Authorization`, `Proxy-Authorization`), as HTTP, JSON and forms write it.
    const NAMES: [&str; 3] = ["authorization:", "authorization\"", "authorization="];
    // Changes no length: only ASCII letters change.
    let small = text.to_ascii_lowercase();
    let header = NAMES.iter().filter_map(|name| Some(small.find(name)? + name.len())).min();
    let before = header.and_then(|end| text.get(..end)).unwrap_or(text);
    let query = |(at, _): &(usize, &str)| {
        let next = before.get(at + 1..).and_then(|rest| rest.chars().next());
        next.is_some_and(|next| !next.is_whitespace() && !"\"'<)?!.,".contains(next))
    };
    if header.is_none() && !before.match_indices('?').any(|found| query(&found)) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::new();
    let mut rest = 0;
    for (at, _) in before.match_indices('?').filter(query) {
        if at < rest {
            continue;
        }
        shown.push_str(before.get(rest..=at).unwrap_or_default());
        shown.push(HIDDEN);
        let tail = before.get(at..).unwrap_or_default();
        rest = at
            + tail
                .find(|letter: char| letter.is_whitespace() || "\"'<>".contains(letter))
                .unwrap_or(tail.len());
    }
    shown.push_str(before.get(rest..).unwrap_or_default());
    if header.is_some() {
        shown.push(HIDDEN);
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_was_sent_back_is_quoted_without_its_secrets() {
        for (text, wanted) in [
            ("401 Authorization Required", "401 Authorization Required"),
            ("Are you lost? Sign in", "Are you lost? Sign in"),
            ("Really?!", "Really?!"),
            ("GET /ws?token=s3cret HTTP/1.1", "GET /ws?… HTTP/1.1"),
            ("/ws?s3cret and /b?s3cret?s3cret", "/ws?… and /b?…"),
            ("no \"/ws?a=s3cret\" here", "no \"/ws?…\" here"),
            ("GET /ws\r\nAuthorization: Bearer s3cret", "GET /ws Authorization:…"),
            ("{\"PROXY-AUTHORIZATION\": \"Basic s3cret\"}", "{\"PROXY-AUTHORIZATION\"…"),
            ("authorization=s3cret", "authorization=…"),
            ("ü?s3cret; ä", "ü?… ä"),
        ] {
            assert_eq!(quote(text, 100), wanted, "{text}");
        }
    }
}
