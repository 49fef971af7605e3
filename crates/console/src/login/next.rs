//! Where somebody goes after the login.

use axum::http::Uri;

/// The page of the login.
pub(super) const LOGIN: &str = "/login";

/// The page that is meant if no other is.
const HOME: &str = "/";

/// Longest path, in bytes. Those of the page are short.
const MAX_PATH: usize = 512;

/// The address of the login, from which it goes on to what was asked for.
pub(super) fn login_for(asked: &Uri) -> String {
    let path = asked.path_and_query().map_or(HOME, |path| path.as_str());
    if path == HOME || !is_local(path) {
        return LOGIN.to_owned();
    }
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", path).finish();
    format!("{LOGIN}?{query}")
}

/// Where to go from this address of the login: a path of this server, never another site.
pub(super) fn after(login: &Uri) -> String {
    let query = login.query().unwrap_or_default().as_bytes();
    let next =
        form_urlencoded::parse(query).find(|(name, _)| name == "next").map(|(_, next)| next.into_owned());
    next.filter(|next| is_local(next)).unwrap_or_else(|| HOME.to_owned())
}

/// Whether this is a path of this server. Browsers take `//name` and `/\name` for other servers, and leave out tabs and
/// line ends before they look.
fn is_local(path: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    path.len() <= MAX_PATH
        && path.starts_with('/')
        && !path.starts_with("//")
        && path.bytes().all(is_plain)
        // It would lead to itself.
        && path.split('?').next() != Some(LOGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_leads_to_another_site() {
        for (query, path) in [
            ("", "/"),
            ("?other=/a", "/"),
            ("?next=/a", "/a"),
            ("?next=%2Fa%3Fb%3Dc%26d", "/a?b=c&d"),
            ("?next=//evil.example", "/"),
            ("?next=%2F%2Fevil.example", "/"),
            ("?next=/%5Cevil.example", "/"),
            ("?next=/%09/evil.example", "/"),
            ("?next=/%0A/evil.example", "/"),
            ("?next=/a%0D%0ASet-Cookie:b", "/"),
            ("?next=https://evil.example", "/"),
            ("?next=javascript:alert(1)", "/"),
            ("?next=evil.example", "/"),
            ("?next=/login%3Fnext=/a", "/"),
            ("?next=/%C3%A4", "/"),
        ] {
            let uri = format!("{LOGIN}{query}").parse().unwrap();
            assert_eq!(after(&uri), path, "{query}");
        }
        let long = format!("{LOGIN}?next=/{}", "a".repeat(MAX_PATH)).parse().unwrap();
        assert_eq!(after(&long), "/");
    }

    #[test]
    fn what_was_asked_for_is_found_again() {
        for path in ["/", "/a", "/a?b=c&d=%20", "/a?next=/b"] {
            let login = login_for(&path.parse().unwrap());
            assert_eq!(after(&login.parse().unwrap()), path, "{login}");
        }
        assert_eq!(login_for(&"//evil.example".parse().unwrap()), LOGIN);
    }
}
