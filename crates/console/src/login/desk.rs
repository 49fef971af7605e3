//! Where people show who they are: what the login by password decides with.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use jiff::Timestamp;
use tokio::time::Instant;

use super::attempts::{Attempts, Limit};
use super::checks::Checks;
use super::key::{Key, Purpose};
use super::password::MAX_PASSWORD;
use super::people::{PeopleFile, is_name};
use super::session::{Cookie, Session};
use crate::networks::{Networks, crowd, site};

/// Failed attempts of one address: a person who has forgotten a password needs some.
const OF_ADDRESS: Limit = Limit { burst: 10, pause: Duration::from_secs(30) };

/// Failed attempts of one site of IPv6, which has many networks: those of some people. Without this limit, one stranger
/// could keep all places for checks taken, and everybody out.
const OF_SITE: Limit = Limit { burst: 60, pause: Duration::from_secs(5) };

/// Failed attempts for one name, wherever they come from: a few thousand a day, which find no password of twelve
/// characters. There are more of them than for an address, so that one stranger cannot keep somebody out.
const OF_NAME: Limit = Limit { burst: 30, pause: Duration::from_secs(30) };

/// What the login knows and counts.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) key: Key,
    pub(super) cookie: Cookie,
    pub(super) people: PeopleFile,
    pub(super) proxies: Networks,
    checks: Checks,
    addresses: Mutex<Attempts<IpAddr>>,
    sites: Mutex<Attempts<IpAddr>>,
    names: Mutex<Attempts<String>>,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The name or the password is wrong.
    Wrong,
    /// There were too many attempts. The next one after this time.
    Often(Duration),
    /// Too many others log in.
    Busy,
}

/// Now, in Unix seconds.
pub(super) fn now() -> i64 {
    Timestamp::now().as_second()
}

impl Desk {
    pub(super) fn new(key: Key, cookie: Cookie, people: PeopleFile, proxies: Networks) -> Self {
        Self {
            key,
            cookie,
            people,
            proxies,
            checks: Checks::new(),
            addresses: Mutex::new(Attempts::new(OF_ADDRESS)),
            sites: Mutex::new(Attempts::new(OF_SITE)),
            names: Mutex::new(Attempts::new(OF_NAME)),
        }
    }

    /// The session that a request shows, if it lasts.
    pub(super) fn session(&self, headers: &HeaderMap) -> Option<Session> {
        let (people, now) = (self.people.current(), now());
        self.cookie.values(headers).find_map(|sealed| Session::open(sealed, &self.key, &people, now))
    }

    /// Lets somebody in who knows the password.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) async fn let_in(
        &self,
        from: IpAddr,
        name: &str,
        password: String,
    ) -> Result<Session, Refusal> {
        self.take(from, name)?;
        // Nobody can have them, so they are no secret.
        if !is_name(name) || password.len() > MAX_PASSWORD {
            return Err(Refusal::Wrong);
        }
        let people = self.people.current();
        let own = people.kept(name);
        // An unknown name takes as long as a wrong password, so that nobody learns which names there are.
        let Some(kept) = own.or_else(|| people.kept_of_another(self.number(name))) else {
            return Err(Refusal::Wrong);
        };
        match self.checks.is_right(kept.to_owned(), password.into_bytes()).await {
            Some(true) if own.is_some() => {
                self.give_back(from, name);
                Ok(Session::new(&self.key, name, kept, now()))
            }
            Some(_) => Err(Refusal::Wrong),
            None => {
                self.give_back(from, name);
                Err(Refusal::Busy)
            }
        }
    }

    /// The number of a name, which nobody can guess who has no key.
    fn number(&self, name: &str) -> u64 {
        let tag = self.key.sign(Purpose::Stranger, name.as_bytes());
        tag.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }

    /// Takes an attempt before it is made, so that many at a time are no way around.
    fn take(&self, from: IpAddr, name: &str) -> Result<(), Refusal> {
        let now = Instant::now();
        held(&self.addresses).take(&crowd(from), now).map_err(Refusal::Often)?;
        self.take_of_site(from, name, now).inspect_err(|_| held(&self.addresses).give_back(&crowd(from)))
    }

    fn take_of_site(&self, from: IpAddr, name: &str, now: Instant) -> Result<(), Refusal> {
        let Some(site) = site(from) else { return self.take_of_name(name, now) };
        held(&self.sites).take(&site, now).map_err(Refusal::Often)?;
        self.take_of_name(name, now).inspect_err(|_| held(&self.sites).give_back(&site))
    }

    fn take_of_name(&self, name: &str, now: Instant) -> Result<(), Refusal> {
        if !is_name(name) {
            return Ok(());
        }
        held(&self.names).take(&name.to_owned(), now).map_err(Refusal::Often)
    }

    fn give_back(&self, from: IpAddr, name: &str) {
        held(&self.addresses).give_back(&crowd(from));
        if let Some(site) = site(from) {
            held(&self.sites).give_back(&site);
        }
        held(&self.names).give_back(&name.to_owned());
    }
}

/// No panic can happen under these locks.
fn held<T>(attempts: &Mutex<T>) -> MutexGuard<'_, T> {
    attempts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::password::kept;
    use crate::login::people::tests::write;

    const PASSWORD: &str = "a long password";

    fn desk() -> Desk {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logins");
        write(&path, &format!("anna {}", kept(PASSWORD).unwrap()));
        let people = PeopleFile::open(path).unwrap();
        Desk::new(Key::random().unwrap(), Cookie { is_secure: true }, people, Networks::default())
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_known_name_lets_in() {
        let desk = desk();
        let session = desk.let_in(address(1), "anna", PASSWORD.to_owned()).await.unwrap();
        assert!(session.is_of(&desk.key, &desk.people.current()));
        for (name, password) in [
            ("anna", "another password"),
            ("ben", PASSWORD),
            ("Anna", PASSWORD),
            ("", PASSWORD),
            ("anna", ""),
        ] {
            let refused = desk.let_in(address(1), name, password.to_owned()).await;
            assert_eq!(refused, Err(Refusal::Wrong), "{name} {password}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_attempts_from_one_address_have_to_wait_and_good_ones_cost_nothing() {
        let desk = desk();
        for _ in 0..=OF_ADDRESS.burst {
            assert!(desk.let_in(address(1), "anna", PASSWORD.to_owned()).await.is_ok());
        }
        for _ in 0..OF_ADDRESS.burst {
            assert_eq!(desk.let_in(address(1), "b/n", String::new()).await, Err(Refusal::Wrong));
        }
        for name in ["b/n", "anna"] {
            let refused = desk.let_in(address(1), name, PASSWORD.to_owned()).await;
            assert_eq!(refused, Err(Refusal::Often(OF_ADDRESS.pause)), "{name}");
        }
        assert!(desk.let_in(address(2), "anna", PASSWORD.to_owned()).await.is_ok(), "others are let in");
        tokio::time::advance(OF_ADDRESS.pause).await;
        assert!(desk.let_in(address(1), "anna", PASSWORD.to_owned()).await.is_ok());
    }

    #[test]
    fn too_many_attempts_for_one_name_have_to_wait_wherever_they_come_from() {
        let desk = desk();
        for count in 0..OF_NAME.burst {
            assert_eq!(desk.take(address((count % 200).try_into().unwrap()), "anna"), Ok(()));
        }
        let refused = desk.take(address(201), "anna");
        assert!(matches!(refused, Err(Refusal::Often(_))), "{refused:?}");
        assert_eq!(desk.take(address(201), "ben"), Ok(()), "another name is not concerned");
        for _ in 1..OF_ADDRESS.burst {
            assert_eq!(desk.take(address(201), ""), Ok(()), "what was refused cost the address nothing");
        }
    }

    #[test]
    fn many_networks_of_one_site_are_one_stranger() {
        let desk = desk();
        let of = |network: u32| IpAddr::from([0x2001, 0xdb8, 0, u16::try_from(network).unwrap(), 0, 0, 0, 1]);
        for count in 0..OF_SITE.burst {
            assert_eq!(desk.take(of(count), &format!("name-{count}")), Ok(()));
        }
        assert!(matches!(desk.take(of(999), "anna"), Err(Refusal::Often(_))));
        let other = IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, 1]);
        assert_eq!(desk.take(other, "anna"), Ok(()), "another site is not concerned");
        desk.give_back(of(0), "name-0");
        assert_eq!(desk.take(of(999), "anna"), Ok(()), "a right password does not count");
    }

    #[test]
    fn each_unknown_name_has_a_number_of_its_own() {
        let desk = desk();
        assert_eq!(desk.number("ben"), desk.number("ben"));
        assert_ne!(desk.number("ben"), desk.number("carl"));
    }
}
