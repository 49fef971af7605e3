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

/// What a query and a fragment begin with.
const QUERY: [char; 2] = ['?', '#'];

/// Shown in place of what may hold a secret anywhere.
const HIDDEN: &str = "…";

/// The address without login, query and fragment. The text need not be a valid URL: errors show wrong addresses,
/// and a password with an odd character makes an address wrong. In doubt, more is left out.
pub fn public(address: &str) -> String {
    const ENDS_AUTHORITY: [char; 4] = ['/', '?', '#', '\\'];
    let Some((scheme, rest)) = address.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
        return without_scheme(address).to_owned();
    };
    let authority = rest.split(ENDS_AUTHORITY).next().unwrap_or(rest);
    // A password may contain a character that ends the authority. Then its first part stands where a port would, and may
    // be a number.
    let has_login = authority.contains('@') || (authority.contains(':') && !authority.starts_with('['));
    let place = if has_login { behind_login(rest) } else { rest };
    format!("{scheme}://{}", before_query(place))
}

/// An address such as `USER@HOST:PATH` or `/PATH`. The name of a user is shown, a password is not.
fn without_scheme(address: &str) -> &str {
    let is_name = |user: &str| {
        user.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    let has_name_alone = address.rsplit_once('@').is_some_and(|(user, _)| is_name(user));
    before_query(if has_name_alone { address } else { behind_login(address) })
}

/// What is behind the last sign of a login. A sign behind a query may be a part of that: then nothing is certain.
fn behind_login(text: &str) -> &str {
    match text.rsplit_once('@') {
        Some((login, _)) if login.contains(QUERY) => HIDDEN,
        Some((_, place)) => place,
        None => text,
    }
}

fn is_scheme(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

fn before_query(text: &str) -> &str {
    text.split(QUERY).next().unwrap_or(text)
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
            ("https://s3cret@git.example.org/a@b.git", "https://b.git"),
            ("https://git.example.org/a@b.git#s3cret", "https://git.example.org/a@b.git"),
            ("https://me:s3@cret@git.example.org/a.git", "https://git.example.org/a.git"),
            ("https://me:s3/cret@git.example.org/a.git", "https://git.example.org/a.git"),
            ("https://me:s3?cret@git.example.org/a.git", "https://…"),
            ("https://me:s3#cret@git.example.org/a.git", "https://…"),
            // A number in front may be a port, or the beginning of a password.
            ("https://me:12/cret@git.example.org/a.git", "https://git.example.org/a.git"),
            ("https://me:/cret@git.example.org/a.git", "https://git.example.org/a.git"),
            ("https://me:12?cret@git.example.org/a.git", "https://…"),
            ("https://me:s3@c/ret@git.example.org/a.git", "https://git.example.org/a.git"),
            ("wss://fleet.example.org:x/ws?token=a@s3cret", "wss://…"),
            ("wss://fleet.example.org/ws?token=a@s3cret", "wss://fleet.example.org/ws"),
            ("fleet.example.org/ws?token=a@s3cret", "…"),
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
