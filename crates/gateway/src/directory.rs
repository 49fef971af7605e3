//! The sessions of this gateway, by host. This table is the only owner of who is here.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nixfleet_sessions::{Link, REPLACED};

use crate::clients::Shown;
use crate::identity::Identity;

/// Evictions that are remembered although their host is not here. One can come a moment before its connection enters.
const EARLY: usize = 256;

/// One session.
#[derive(Debug, Clone)]
struct Entry {
    /// Number of the host's connection.
    connection: u64,
    link: Arc<Link>,
    /// What it has shown, which may be revoked.
    identity: Identity,
}

/// The sessions of registered hosts.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<String, Entry>,
    /// The newest evictions of hosts that were not here: each a host, and the number of the connection.
    early: VecDeque<(String, u64)>,
}

impl Directory {
    /// A host has registered. An older connection of it on this gateway is told so and ends.
    pub(crate) fn enter(&self, host: &str, connection: u64, link: &Arc<Link>, identity: Identity) {
        let entry = Entry { connection, link: Arc::clone(link), identity };
        let mut table = self.lock();
        // Two claims may be heard of in the order in which they were not made.
        let newer = table.sessions.get(host).is_some_and(|other| other.connection > connection);
        if newer || table.early.iter().any(|(early, number)| early == host && *number >= connection) {
            return replace(&entry);
        }
        if let Some(old) = table.sessions.insert(host.to_owned(), entry) {
            replace(&old);
        }
    }

    /// A session has ended.
    pub(crate) fn leave(&self, host: &str, connection: u64) {
        let sessions = &mut self.lock().sessions;
        if sessions.get(host).is_some_and(|entry| entry.connection == connection) {
            sessions.remove(host);
        }
    }

    /// Another connection of the host, with a higher number, is somewhere else. Returns whether one ends here.
    pub(crate) fn evict(&self, host: &str, connection: u64) -> bool {
        let mut table = self.lock();
        match table.sessions.get(host) {
            Some(entry) if entry.connection > connection => false,
            Some(entry) => {
                replace(entry);
                true
            }
            None => {
                if table.early.len() == EARLY {
                    table.early.pop_front();
                }
                table.early.push_back((host.to_owned(), connection));
                false
            }
        }
    }

    /// Closes the sessions that `refuse` says something about, with code 1008 and these words.
    pub(crate) fn close(&self, refuse: impl Fn(&str, &Identity) -> Option<String>) -> usize {
        let mut closed = 0;
        for (host, entry) in self.lock().sessions.iter() {
            if let Some(reason) = refuse(host, &entry.identity) {
                entry.link.close(1008, reason);
                closed += 1;
            }
        }
        closed
    }

    /// The client certificates of those that are here, as far as they are wanted.
    pub(crate) fn certificates(&self, is_wanted: impl Fn(&Shown) -> bool) -> Vec<Arc<Shown>> {
        let table = self.lock();
        let shown = table.sessions.values().filter_map(|entry| match &entry.identity {
            Identity::Certificate(shown) if is_wanted(shown) => Some(Arc::clone(shown)),
            _ => None,
        });
        shown.collect()
    }

    /// The connections that are here.
    pub(crate) fn connections(&self) -> Vec<(String, u64)> {
        self.lock().sessions.iter().map(|(host, entry)| (host.clone(), entry.connection)).collect()
    }

    /// Closes all connections because this gateway ends, with code 1001 and this reason. Returns how many there are.
    pub(crate) fn go_away(&self, reason: &str) -> usize {
        let sessions = &self.lock().sessions;
        sessions.values().for_each(|entry| entry.link.close(1001, reason.to_owned()));
        sessions.len()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().sessions.len()
    }

    /// No panic can happen under the lock.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a connection because a newer one of its host has come.
fn replace(entry: &Entry) {
    entry.link.close(1008, REPLACED.to_owned());
}

#[cfg(test)]
mod tests {
    use nixfleet_sessions::Outgoing;

    use super::*;

    fn token(of: u8) -> Identity {
        Identity::Token { host: None, digest: [of; 32] }
    }

    fn is_replaced(link: &Link) -> bool {
        matches!(link.next(), Some(Outgoing::Close { code: 1008, .. }))
    }

    #[test]
    fn the_connection_with_the_highest_number_stays() {
        let directory = Directory::default();
        let links: Vec<_> = (0..4).map(Link::new).collect();
        directory.enter("a", 5, &links[0], token(0));
        directory.enter("a", 7, &links[1], token(0));
        assert!(is_replaced(&links[0]));
        directory.enter("a", 6, &links[2], token(0));
        assert!(is_replaced(&links[2]), "it was claimed before the one that is here");
        directory.leave("a", 6);
        assert!(!directory.evict("a", 6), "a newer one is here");
        assert!(links[1].next().is_none());
        assert!(directory.evict("a", 7));
        assert!(is_replaced(&links[1]));
        directory.leave("a", 7);
        assert_eq!(directory.len(), 0);
    }

    #[test]
    fn an_eviction_that_comes_before_its_connection_is_not_lost() {
        let directory = Directory::default();
        assert!(!directory.evict("a", 5));
        let (early, late) = (Link::new(1), Link::new(2));
        directory.enter("a", 5, &early, token(0));
        assert!(is_replaced(&early));
        assert_eq!(directory.len(), 0);
        directory.enter("a", 6, &late, token(0));
        assert!(late.next().is_none());
        for number in 0..2 * EARLY {
            directory.evict(&number.to_string(), 1);
        }
        assert_eq!(directory.lock().early.len(), EARLY);
    }

    #[test]
    fn revoked_tokens_lose_their_connections_and_others_do_not() {
        let directory = Directory::default();
        let (one, other) = (Link::new(1), Link::new(2));
        directory.enter("a", 1, &one, token(1));
        directory.enter("b", 1, &other, token(2));
        let is_first = |identity: &Identity| matches!(identity, Identity::Token { digest: [1, ..], .. });
        let revoked = |_: &str, identity: &Identity| is_first(identity).then(|| "revoked".to_owned());
        assert_eq!(directory.close(revoked), 1);
        assert!(matches!(one.next(), Some(Outgoing::Close { code: 1008, .. })));
        assert!(other.next().is_none());
    }
}
