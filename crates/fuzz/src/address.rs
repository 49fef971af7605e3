//! Addresses of servers without their secrets.

use nixfleet_os::address::{Address, public};

/// Shown in place of what may hold a secret.
const MARK: &str = "…";

/// Parts of an address, separated by 0xff: scheme, user, password, host, port, path, query, fragment. Those that are
/// secret are in capitals, and nothing else is. No capital is shown, whatever signs are in any of the parts; what is
/// no secret is shown if the address is a plain one.
pub fn address(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    free_text(&text);
    let mut parts = data.split(|byte| *byte == 0xff).map(String::from_utf8_lossy);
    let mut part = || parts.next().unwrap_or_default();
    let (scheme, user, password) = (plain(&part()), part(), secret(&part()));
    let (host, port, path) = (part(), part(), part());
    let (host, port, path) = (plain(&host), digits(&port), without(&plain(&path), &['?', '#']));
    let (query, fragment) = (secret(&part()), secret(&part()));
    let host = without(&host, &['/', '?', '#', '\\', '@', ':', '[', ']']);
    // The host of a login is found by its sign, and by nothing else.
    let scheme = without(&scheme, &['/', '?', '#', '\\', '@', ':']);
    // Without a colon behind it, a name with a slash is a host, and one in brackets always is.
    let user = without(&secret(&user), &['/', '?', '#', '\\', ':', '@', '[', ']']);

    let mut behind = String::new();
    for (sign, part) in [(':', &port), ('?', &query), ('#', &fragment)] {
        if !part.is_empty() {
            behind += &format!("{sign}{part}");
        }
        if sign == ':' {
            behind += &format!("/{path}");
        }
    }
    for address in [
        format!("{scheme}://{user}:{password}@{host}{behind}"),
        format!("{scheme}://{user}@{host}{behind}"),
        format!("{scheme}:{user}:{password}@{host}{behind}"),
        // With slashes at its beginning, the name would be a scheme.
        format!("{user}:{}@{host}{behind}", password.trim_start_matches('/')),
    ] {
        let shown = public(&address);
        assert!(!shown.chars().any(is_secret), "{shown:?} of {address:?}");
    }
    // Without a login, a query may contain the sign of one.
    let bare = format!("{scheme}://{host}{behind}");
    let shown = public(&bare);
    assert!(!shown.chars().any(is_secret), "{shown:?} of {bare:?}");
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    let is_certain = port.is_empty() || !behind.contains('@');
    if [&scheme, &host, &path].iter().all(|part| is_plain(part)) && is_certain {
        let port = if port.is_empty() { String::new() } else { format!(":{port}") };
        let whole = format!("{scheme}://{host}{port}/{path}");
        assert_eq!(shown, whole);
        if !format!("{password}{behind}").contains(['@', '?', '#']) {
            assert_eq!(public(&format!("{scheme}://{user}:{password}@{host}{behind}")), whole);
        }
    }
}

/// Whatever the text is: what is shown was in it, is the same when it is shown again, and is what both forms print.
fn free_text(text: &str) {
    let shown = public(text);
    for part in shown.split(MARK) {
        let part = part.strip_suffix("://").unwrap_or(part);
        let behind = part.split_once("://").map_or(part, |(_, behind)| behind);
        assert!(text.contains(behind), "{part:?} is invented");
    }
    assert!(!shown.contains('#') && !shown.contains('?'), "{shown:?}");
    assert_eq!(public(&shown), shown);
    let address = Address::new(text);
    assert_eq!(address.to_string(), shown);
    assert_eq!(format!("{address:?}"), format!("Address({shown:?})"));
    assert_eq!(*address.expose(), text);
}

/// Letters of what nobody may see.
fn is_secret(letter: char) -> bool {
    letter.is_ascii_uppercase()
}

fn plain(text: &str) -> String {
    text.to_ascii_lowercase()
}

fn secret(text: &str) -> String {
    text.to_ascii_uppercase()
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

fn without(text: &str, signs: &[char]) -> String {
    text.replace(signs, "")
}
