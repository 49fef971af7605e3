//! Locks, conditions, channels, atomic numbers and threads for what threads hand over to each other: those of the
//! standard library. With the feature `models` they are those of a model checker, which decides at each of their
//! operations which thread goes on. They work in the tests named `models` only then, and the module `model` runs those.

#[cfg(not(feature = "models"))]
pub use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError, atomic, mpsc},
    thread,
};

/// Lets another thread go on in a model, around a system call that hands over. Elsewhere it does nothing.
#[inline]
pub fn step() {
    #[cfg(feature = "models")]
    thread::sleep(std::time::Duration::ZERO);
}

#[cfg(feature = "models")]
pub use shuttle::{
    future::block_on,
    sync::{Condvar, Mutex, MutexGuard, PoisonError, atomic, mpsc},
    thread,
};
