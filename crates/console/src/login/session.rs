//! A session is a text that the browser keeps in a cookie, with a signature. The dashboard keeps nothing, so each replica
//! that has the key knows all sessions.
//!
//! The text has a fingerprint of its person's line in the login file. Another password, or none, ends it.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use super::key::{Key, Purpose};
use super::people::People;

/// A session ends after this time without use, in seconds: nobody has to log in twice on one day.
const IDLE: i64 = 12 * 60 * 60;

/// A session ends after this time in any case, in seconds: who has copied a cookie does not have it for ever.
const LIFE: i64 = 7 * 24 * 60 * 60;

/// A session is renewed by use, but not more often than this, in seconds: few answers need a cookie.
const RENEWAL: i64 = 10 * 60;

/// How far the clock of another replica may be ahead, in seconds.
const SKEW: i64 = 5 * 60;

/// The longest cookie, in bytes. A name has 64.
const MAX_COOKIE: usize = 1024;

/// Bytes of a fingerprint. Nobody can choose two lines that have the same one.
const LINE_BYTES: usize = 16;

/// Between the text and its signature.
const MARK: char = '.';

/// Somebody who has logged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    /// Who.
    pub(super) name: String,
    /// When, in Unix seconds.
    since: i64,
    /// When it was used last or somewhat before, in Unix seconds.
    used: i64,
    /// Fingerprint of the line in the login file.
    line: String,
}

impl Session {
    /// A new one.
    pub(super) fn new(key: &Key, name: &str, kept: &str, now: i64) -> Self {
        Self { name: name.to_owned(), since: now, used: now, line: fingerprint(key, name, kept) }
    }

    /// The text for the browser.
    pub(super) fn seal(&self, key: &Key) -> String {
        // It has texts and numbers only, so this cannot fail.
        let text = serde_json::to_vec(self).unwrap_or_default();
        let tag = key.sign(Purpose::Session, &text);
        format!("{}{MARK}{}", BASE64URL_NOPAD.encode(&text), BASE64URL_NOPAD.encode(&tag))
    }

    /// Reads the text of a browser. None if it is no session that lasts.
    pub(super) fn open(sealed: &str, key: &Key, people: &People, now: i64) -> Option<Self> {
        if sealed.len() > MAX_COOKIE {
            return None;
        }
        let (text, tag) = sealed.split_once(MARK)?;
        let text = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        let tag = BASE64URL_NOPAD.decode(tag.as_bytes()).ok()?;
        if !key.has_signed(Purpose::Session, &text, &tag) {
            return None;
        }
        let session: Self = serde_json::from_slice(&text).ok()?;
        let is_past = |at: i64| at <= now.saturating_add(SKEW);
        let lasts = is_past(session.since) && is_past(session.used) && now < session.ends_at();
        (lasts && session.is_of(key, people)).then_some(session)
    }

    /// Whether its person is still there, with the same password.
    pub(super) fn is_of(&self, key: &Key, people: &People) -> bool {
        people.kept(&self.name).is_some_and(|kept| fingerprint(key, &self.name, kept) == self.line)
    }

    /// When it ends if it is not used, in Unix seconds.
    fn ends_at(&self) -> i64 {
        self.used.saturating_add(IDLE).min(self.since.saturating_add(LIFE))
    }

    /// How long it lasts if it is not used.
    pub(super) fn left(&self, now: i64) -> Duration {
        Duration::from_secs(self.ends_at().saturating_sub(now).try_into().unwrap_or(0))
    }

    /// The session after its use. None if the one that is there will do.
    pub(super) fn renewed(&self, now: i64) -> Option<Self> {
        (now.saturating_sub(self.used) >= RENEWAL).then(|| Self { used: now, ..self.clone() })
    }
}

/// What tells one line of the login file from another. Without the key it says nothing about the password.
fn fingerprint(key: &Key, name: &str, kept: &str) -> String {
    let tag = key.sign(Purpose::Line, format!("{name} {kept}").as_bytes());
    BASE64URL_NOPAD.encode(tag.get(..LINE_BYTES).unwrap_or(&tag))
}

/// How the cookie is called and kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cookie {
    /// Whether people use HTTPS.
    pub(super) is_secure: bool,
}

impl Cookie {
    /// With the prefix, browsers take it from this very server only, and by HTTPS only.
    fn name(self) -> &'static str {
        if self.is_secure { "__Host-nixfleet-session" } else { "nixfleet-session" }
    }

    /// The texts under this name, usually one.
    pub(super) fn values(self, headers: &HeaderMap) -> impl Iterator<Item = &str> {
        let all =
            headers.get_all(header::COOKIE).iter().flat_map(|value| value.as_bytes().split(|&b| b == b';'));
        // Each by itself: other servers of the domain may have set one that is no text.
        let texts = all.filter_map(|pair| str::from_utf8(pair).ok());
        let pairs = texts.filter_map(|pair| pair.trim().split_once('='));
        pairs.filter(move |(name, _)| *name == self.name()).map(|(_, value)| value)
    }

    /// The header that has a browser keep a session.
    pub(super) fn keep(self, session: &Session, key: &Key, now: i64) -> Option<HeaderValue> {
        self.set(&session.seal(key), session.left(now))
    }

    /// The header that has a browser forget it.
    pub(super) fn forget(self) -> Option<HeaderValue> {
        self.set("", Duration::ZERO)
    }

    /// `Lax`, because with `Strict` a link in a mail or a chat would lead to the login each time. Nothing changes by a
    /// link: all that does is a POST, which other sites cannot send with it.
    fn set(self, value: &str, left: Duration) -> Option<HeaderValue> {
        let secure = if self.is_secure { "; Secure" } else { "" };
        let (name, left) = (self.name(), left.as_secs());
        let text = format!("{name}={value}; Path=/; Max-Age={left}; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::try_from(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::people::tests::KEPT;

    const NOW: i64 = 1_790_000_000;

    fn people() -> People {
        People::parse(&format!("anna {}\nben {}", KEPT[0], KEPT[1])).unwrap()
    }

    #[test]
    fn a_session_lasts_while_it_is_used_and_no_longer_than_a_week() {
        let (key, people) = (Key::random().unwrap(), people());
        let mut session = Session::new(&key, "anna", KEPT[0], NOW);
        let sealed = session.seal(&key);
        let lasts = |sealed: &str, now| Session::open(sealed, &key, &people, now).is_some();
        for (now, good) in [
            (NOW, true),
            (NOW - SKEW, true),
            (NOW - SKEW - 1, false),
            (NOW + IDLE - 1, true),
            (NOW + IDLE, false),
        ] {
            assert_eq!(lasts(&sealed, now), good, "{}", now - NOW);
        }
        assert_eq!(session.renewed(NOW + RENEWAL - 1), None);
        for hour in 1..LIFE / 3600 {
            let now = NOW + hour * 3600;
            session = session.renewed(now).unwrap();
            assert!(lasts(&session.seal(&key), now), "hour {hour}");
        }
        assert_eq!(session.left(NOW + LIFE - 3600).as_secs(), 3600, "the end comes in any case");
        let last = session.renewed(NOW + LIFE - 1).unwrap();
        assert!(lasts(&last.seal(&key), NOW + LIFE - 1) && !lasts(&last.seal(&key), NOW + LIFE));
    }

    #[test]
    fn what_is_not_signed_with_this_key_is_no_session() {
        let (key, other, people) = (Key::random().unwrap(), Key::random().unwrap(), people());
        let session = Session::new(&key, "anna", KEPT[0], NOW);
        let sealed = session.seal(&key);
        assert_eq!(Session::open(&sealed, &key, &people, NOW), Some(session.clone()));
        let (text, tag) = sealed.split_once(MARK).unwrap();
        let ben = Session { name: "ben".to_owned(), ..session.clone() }.seal(&key);
        let longer = Session { used: NOW + 60, ..session.clone() }.seal(&key);
        let forged = [
            session.seal(&other),
            format!("{}{MARK}{tag}", ben.split_once(MARK).unwrap().0),
            format!("{}{MARK}{tag}", longer.split_once(MARK).unwrap().0),
            format!("{text}{MARK}"),
            format!("{text}{MARK}{}", &tag[1..]),
            text.to_owned(),
            format!("{MARK}{tag}"),
            String::new(),
            format!("{sealed}{}", "A".repeat(MAX_COOKIE)),
            // The key signs other texts as well.
            format!(
                "{text}{MARK}{}",
                BASE64URL_NOPAD
                    .encode(&key.sign(Purpose::Line, &BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()))
            ),
        ];
        for forged in forged {
            assert_eq!(Session::open(&forged, &key, &people, NOW), None, "{forged}");
        }
    }

    #[test]
    fn another_password_and_no_line_end_the_session() {
        let key = Key::random().unwrap();
        let sealed = Session::new(&key, "anna", KEPT[0], NOW).seal(&key);
        for (file, good) in [
            (format!("ben {}\nanna {} # the same\n", KEPT[1], KEPT[0]), true),
            (format!("anna {}", KEPT[1]), false),
            (format!("ben {}", KEPT[0]), false),
            (String::new(), false),
        ] {
            let people = People::parse(&file).unwrap();
            assert_eq!(Session::open(&sealed, &key, &people, NOW).is_some(), good, "{file}");
        }
    }

    #[test]
    fn the_cookie_is_found_among_others_and_is_as_safe_as_the_address() {
        let mut headers = HeaderMap::new();
        for text in [
            b"a=b; nixfleet-session=one".as_slice(),
            b"__Host-nixfleet-session=two;odd=\xff; nixfleet-session=three ; c",
        ] {
            headers.append(header::COOKIE, HeaderValue::from_bytes(text).unwrap());
        }
        let values = |is_secure| Cookie { is_secure }.values(&headers).collect::<Vec<_>>();
        assert_eq!((values(false), values(true)), (vec!["one", "three"], vec!["two"]));
        let key = Key::random().unwrap();
        let session = Session::new(&key, "anna", KEPT[0], NOW);
        let secure = Cookie { is_secure: true }.keep(&session, &key, NOW).unwrap();
        let secure = secure.to_str().unwrap();
        assert!(secure.starts_with("__Host-nixfleet-session=ey"), "{secure}");
        assert!(secure.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax; Secure"), "{secure}");
        let forget = Cookie { is_secure: false }.forget().unwrap();
        assert_eq!(forget, "nixfleet-session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
    }
}
