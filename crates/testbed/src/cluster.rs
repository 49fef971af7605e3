//! Several servers that are one.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::place::Place;
use crate::server::{Nats, START_LIMIT, Setup};

/// Servers with JetStream that keep copies of each other's streams.
#[derive(Debug)]
pub struct Cluster {
    servers: Vec<Nats>,
}

impl Cluster {
    /// Starts so many of them. None if there is no program for it, which is said on standard error.
    ///
    /// # Panics
    /// If they do not answer in time.
    #[must_use]
    pub fn start(size: usize) -> Option<Self> {
        let places: Vec<_> = (0..size).map(|_| Place::take()).collect();
        let mut all = String::new();
        for place in &places {
            write!(all, "\"nats://{}\", ", place.routes()).expect("a string takes everything");
        }
        let mut servers = Vec::new();
        for (number, place) in places.into_iter().enumerate() {
            let listen = place.routes();
            let config = format!("cluster: {{ name: fleet, listen: \"{listen}\", routes: [{all}] }}");
            servers.push(Nats::prepare(place, &Setup { config, name: Some(format!("n{number}")) })?);
        }
        for server in &mut servers {
            server.start_again();
        }
        servers.iter().for_each(Nats::wait);
        let cluster = Self { servers };
        cluster.wait_leader();
        Some(cluster)
    }

    /// Ends the server of this number at once.
    ///
    /// # Panics
    /// If there is none.
    pub fn kill(&mut self, number: usize) {
        self.servers[number].kill();
    }

    /// Starts the server of this number again, and waits until it takes clients.
    ///
    /// # Panics
    /// If there is none, if it runs already, or if it does not answer in time.
    pub fn start_again(&mut self, number: usize) {
        self.servers[number].start_again();
        self.servers[number].wait();
    }

    /// The number of the server that leads, if most servers agree.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        let seen: Vec<_> = self.servers.iter().filter_map(Nats::leader).collect();
        let agreed =
            |name: &String| 2 * seen.iter().filter(|other| *other == name).count() > self.servers.len();
        seen.iter().find(|name| agreed(name))?.strip_prefix('n')?.parse().ok()
    }

    /// Waits until one leads.
    ///
    /// # Panics
    /// If none does in time.
    pub fn wait_leader(&self) -> usize {
        let begun = Instant::now();
        loop {
            if let Some(leader) = self.leader() {
                return leader;
            }
            assert!(begun.elapsed() < START_LIMIT, "the servers agree on no leader");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The addresses of all, for clients.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(Nats::url).collect()
    }

    /// The server of this number, from 0 on. Its name is `n` and the number.
    ///
    /// # Panics
    /// If there is none.
    pub fn server(&mut self, number: usize) -> &mut Nats {
        &mut self.servers[number]
    }
}
