//! How many connections there are: in all, and of one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The bits of an IPv6 address that are the same for all addresses that one machine can give itself (RFC 4291, section
/// 2.5.1).
const SUBNET: u128 = u128::MAX << 64;

/// The places for connections.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    /// None if an address may have all of them: behind a balancer, all agents come from one.
    most_of_address: Option<usize>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Only counted if there is a limit.
    of: HashMap<IpAddr, usize>,
}

/// The place of one connection, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    /// So many in all, and so many of one address.
    pub(crate) fn new(most: usize, most_of_address: Option<usize>) -> Arc<Self> {
        Arc::new(Self { most, most_of_address, taken: Mutex::default() })
    }

    /// A place for a connection from this address. None if there is none left.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let mut taken = self.lock();
        if taken.all >= self.most {
            return None;
        }
        if let Some(most) = self.most_of_address {
            let own = taken.of.get(&address).copied().unwrap_or_default();
            if own >= most {
                return None;
            }
            taken.of.insert(address, own + 1);
        }
        taken.all += 1;
        drop(taken);
        Some(Place { places: Arc::clone(self), address })
    }

    /// No panic can happen under the lock.
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        if let Some(own) = taken.of.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                taken.of.remove(&self.address);
            }
        }
    }
}

/// What counts as one address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & SUBNET).into(),
        four @ IpAddr::V4(_) => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_own_limit_and_all_together_another_one() {
        let places = Places::new(3, Some(2));
        let first = places.take(address("10.0.0.1")).unwrap();
        let _second = places.take(address("::ffff:10.0.0.1")).unwrap();
        assert!(places.take(address("10.0.0.1")).is_none());
        let other = places.take(address("10.0.0.2")).unwrap();
        assert!(places.take(address("10.0.0.3")).is_none(), "there are three");
        drop((first, other));
        assert!(places.take(address("10.0.0.1")).is_some());
        assert_eq!(places.lock().of.len(), 1, "addresses without connections are forgotten");
    }

    #[test]
    fn one_machine_with_many_addresses_is_one() {
        let places = Places::new(9, Some(1));
        let _first = places.take(address("2001:db8::1")).unwrap();
        assert!(places.take(address("2001:db8::2")).is_none());
        assert!(places.take(address("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn without_a_limit_of_its_own_an_address_may_have_all() {
        let places = Places::new(2, None);
        let taken: Vec<_> = (0..3).map(|_| places.take(address("10.0.0.1"))).collect();
        assert_eq!(taken.iter().flatten().count(), 2);
    }
}
