//! Addresses of servers, which may hold secrets.
//!
//! A login (`https://NAME:PASSWORD@HOST`) and a query (`?token=..`) are parts of an address that nobody but the
//! server may see. An [`Address`] shows neither, whether it is printed for people or for debugging. Only
//! [`Address::expose`] gives the whole text.

use std::fmt;

/// An address. `Display` and `Debug` show it as [`public`] does.
#[derive(Clone, PartialEq, Eq)]
pub struct Address<T>(T);

impl<T: AsRef<str>> Address<T> {
    /// Makes an address of a text or of a parsed URL.
    pub fn new(address: T) -> Self {
        Self(address)
    }

    /// The whole address, for the connection itself.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: AsRef<str>> fmt::Display for Address<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&public(self.0.as_ref()))
    }
}

impl<T: AsRef<str>> fmt::Debug for Address<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({:?})", public(self.0.as_ref()))
    }
}

/// The address without login, query and fragment. The text need not be a valid URL: errors show wrong addresses,
/// and a password with an odd character makes an address wrong. In doubt, more is left out.
pub fn public(address: &str) -> String {
    const ENDS_AUTHORITY: [char; 4] = ['/', '?', '#', '\\'];
    let Some((scheme, rest)) = address.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
        return public_without_scheme(address);
    };
    let authority = rest.split(ENDS_AUTHORITY).next().unwrap_or(rest);
    // A password may contain a character that ends the authority: then its first part stands where a port would.
    let login = match authority.rfind('@') {
        None if !has_valid_port(authority) => rest.rfind('@'),
        at => at,
    };
    let place = login.and_then(|at| rest.get(at + 1..)).unwrap_or(rest);
    format!("{scheme}://{}", before_query(place))
}

/// An address such as `USER@HOST:PATH` or `/PATH`. The name of a user is shown, a password is not.
fn public_without_scheme(address: &str) -> String {
    let is_name = |user: &str| {
        user.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    let shown = match address.rsplit_once('@') {
        Some((user, _)) if is_name(user) => address,
        Some((_, place)) => place,
        None => address,
    };
    before_query(shown).to_owned()
}

fn is_scheme(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// Whether the text behind the host is a port, or nothing. The host may be an IPv6 address in brackets.
fn has_valid_port(authority: &str) -> bool {
    let behind = authority.rsplit_once(']').map_or(authority, |(_, behind)| behind);
    behind.rsplit_once(':').is_none_or(|(_, port)| port.bytes().all(|digit| digit.is_ascii_digit()))
}

fn before_query(text: &str) -> &str {
    text.split(['?', '#']).next().unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_query_and_fragment_are_not_shown_and_the_rest_is() {
        for (address, shown) in [
            ("wss://fleet.example.org/ws", "wss://fleet.example.org/ws"),
            ("wss://fleet.example.org:8443/ws?token=s3cret", "wss://fleet.example.org:8443/ws"),
            ("wss://fleet.example.org?token=s3cret", "wss://fleet.example.org"),
            ("wss://me:s3cret@fleet.example.org/ws", "wss://fleet.example.org/ws"),
            ("https://s3cret@git.example.org/a@b.git", "https://git.example.org/a@b.git"),
            ("https://git.example.org/a@b.git#s3cret", "https://git.example.org/a@b.git"),
            ("https://me:s3@cret@git.example.org/a.git", "https://git.example.org/a.git"),
            ("https://me:s3/cret@git.example.org/a.git", "https://git.example.org/a.git"),
            ("https://me:s3?cret@git.example.org/a.git", "https://git.example.org/a.git"),
            ("https://me:s3#cret@git.example.org/a.git", "https://git.example.org/a.git"),
            ("https://me:s3\\cret@git.example.org/a.git", "https://git.example.org/a.git"),
            ("ssh://git:s3cret@git.example.org:22/a.git", "ssh://git.example.org:22/a.git"),
            ("http://[2001:db8::1]:8000/ws?s3cret", "http://[2001:db8::1]:8000/ws"),
            ("http://[2001:db8::1]/a@b", "http://[2001:db8::1]/a@b"),
            ("https:me:s3cret@host/x", "host/x"),
            ("https:/me:s3cret@host/x", "host/x"),
            ("me:s3cret@host:a.git", "host:a.git"),
            ("wss//host?token=s3cret", "wss//host"),
            ("git@git.example.org:fleet.git", "git@git.example.org:fleet.git"),
            ("/srv/fleet.git", "/srv/fleet.git"),
            ("ä://me:s3cret@host/x", "host/x"),
            ("", ""),
        ] {
            assert_eq!(public(address), shown, "{address}");
            let address = Address::new(address);
            assert_eq!(address.to_string(), shown);
            assert_eq!(format!("{address:?}"), format!("Address({shown:?})"));
        }
    }
}
