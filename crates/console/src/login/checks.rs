//! Checks of passwords, a few at a time.

use std::sync::Arc;
use std::thread;

use tokio::sync::{Semaphore, oneshot};

use super::password::is_right;

/// Checks at a time: each takes a core and 19 MiB.
const AT_ONCE: usize = 2;

/// Checks that run or wait. At 50 ms each, the last one waits for less than a second.
const PLACES: usize = 32;

/// Who checks.
#[derive(Debug)]
pub(super) struct Checks {
    places: Arc<Semaphore>,
    at_once: Arc<Semaphore>,
}

impl Checks {
    pub(super) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)), at_once: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Whether this is the password that is kept so. None if too many others ask.
    pub(super) async fn is_right(&self, kept: String, password: Vec<u8>) -> Option<bool> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let turn = Arc::clone(&self.at_once).acquire_owned().await.ok()?;
        let (said, heard) = oneshot::channel();
        // It goes on if whoever asks has left, and only then makes room for others.
        let check = move || {
            let right = is_right(&kept, &password);
            drop((turn, place));
            // An error means that whoever asked has left.
            let _unheard = said.send(right);
        };
        thread::Builder::new().name("password".to_owned()).spawn(check).ok()?;
        heard.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::password::kept;

    #[tokio::test]
    async fn who_comes_when_all_places_are_taken_is_sent_away() {
        let checks = Checks::new();
        let kept = kept("a long password").unwrap();
        let password = b"a long password".to_vec();
        assert_eq!(checks.is_right(kept.clone(), password.clone()).await, Some(true));
        assert_eq!(checks.is_right(kept.clone(), b"another".to_vec()).await, Some(false));
        let all = Arc::clone(&checks.places).try_acquire_many_owned(PLACES.try_into().unwrap()).unwrap();
        assert_eq!(checks.is_right(kept.clone(), password.clone()).await, None);
        drop(all);
        assert_eq!(checks.is_right(kept, password).await, Some(true));
    }
}
