//! How much may wait for NATS: of one host, and of all of them together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Most bytes that wait of one host: four times what an agent sends before its pings are answered.
const OF_HOST: usize = 1024 * 1024;

/// Most bytes that wait of all hosts.
const OF_ALL: usize = 256 * 1024 * 1024;

/// The room of one host.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    own: Arc<AtomicUsize>,
    all: Arc<AtomicUsize>,
}

/// A part of the room, which is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    room: Room,
    bytes: usize,
}

impl Room {
    /// Room for a host, beside those that have the same count of `all` bytes.
    pub(crate) fn new(all: Arc<AtomicUsize>) -> Self {
        Self { own: Arc::default(), all }
    }

    /// Takes room for a message of so many bytes. None if there is not enough left.
    pub(crate) fn take(&self, bytes: usize) -> Option<Taken> {
        // Only the task of the host adds to its own count. That of all may go over its limit by one message of each.
        if self.own.load(Relaxed) + bytes > OF_HOST || self.all.load(Relaxed) + bytes > OF_ALL {
            return None;
        }
        self.own.fetch_add(bytes, Relaxed);
        self.all.fetch_add(bytes, Relaxed);
        Some(Taken { room: self.clone(), bytes })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.own.fetch_sub(self.bytes, Relaxed);
        self.room.all.fetch_sub(self.bytes, Relaxed);
    }
}
