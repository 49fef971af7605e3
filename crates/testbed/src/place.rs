//! Where a server is.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// The ports for clients, for other servers of its cluster, and for questions about itself. Each server has an address
/// of its own, so they are the same for all. They are not those of NATS, because a server of this machine may listen
/// there on all addresses.
pub(crate) const CLIENTS: u16 = 14222;
const ROUTES: u16 = 16222;
pub(crate) const MONITOR: u16 = 18222;

/// An address of this machine that nobody else has while this lives. A free port of an address that others use would be
/// taken by any of their connections before the server listens, or while it is down.
#[derive(Debug)]
pub struct Place {
    address: Ipv4Addr,
    _taken: TcpListener,
}

impl Place {
    /// Takes one.
    ///
    /// # Panics
    /// If this machine has none.
    #[must_use]
    pub fn take() -> Self {
        /// More than could be in use: 24 bits of the address are drawn.
        const ATTEMPTS: usize = 100;
        for attempt in 0..ATTEMPTS {
            let [a, b, c, ..] = RandomState::new().hash_one(attempt).to_be_bytes();
            let address = Ipv4Addr::new(127, a, b, c);
            // Not one of those that are everybody's, such as 127.0.0.1 and what stands for a network.
            if a != 0
                && a != 255
                && let Ok(taken) = TcpListener::bind((address, CLIENTS - 1))
            {
                return Self { address, _taken: taken };
            }
        }
        panic!("no address of 127.0.0.0/8 can be used")
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        (self.address, port).into()
    }

    /// Where other servers of its cluster reach it.
    pub(crate) fn routes(&self) -> SocketAddr {
        self.at(ROUTES)
    }
}
