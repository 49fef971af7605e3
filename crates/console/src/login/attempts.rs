//! How often somebody may try: some times at once, and then one more after each while.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// Most names or addresses that are remembered. Above, the one is forgotten that has to wait least.
const MAX_KEYS: usize = 10_000;

/// How many attempts there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    /// At once.
    pub(super) burst: u32,
    /// After this time there is one more.
    pub(super) pause: Duration,
}

/// The attempts of everybody.
#[derive(Debug)]
pub(super) struct Attempts<K> {
    limit: Limit,
    /// When somebody has all attempts again.
    full_at: HashMap<K, Instant>,
}

impl<K: Hash + Eq + Clone> Attempts<K> {
    pub(super) fn new(limit: Limit) -> Self {
        Self { limit, full_at: HashMap::new() }
    }

    /// Takes an attempt.
    ///
    /// # Errors
    /// There is none, and the next one after this time.
    pub(super) fn take(&mut self, key: &K, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.get(key).copied().unwrap_or(now).max(now);
        let after = full_at + self.limit.pause;
        let most = now + self.limit.pause * self.limit.burst;
        if after > most {
            return Err(after - most);
        }
        if !self.full_at.contains_key(key) {
            self.make_room(now);
        }
        self.full_at.insert(key.clone(), after);
        Ok(())
    }

    /// Gives one back that was not needed.
    pub(super) fn give_back(&mut self, key: &K) {
        if let Some(full_at) = self.full_at.get_mut(key) {
            *full_at = full_at.checked_sub(self.limit.pause).unwrap_or(*full_at);
        }
    }

    fn make_room(&mut self, now: Instant) {
        if self.full_at.len() < MAX_KEYS {
            return;
        }
        self.full_at.retain(|_, full_at| *full_at > now);
        if self.full_at.len() >= MAX_KEYS
            && let Some(first) = self.full_at.iter().min_by_key(|(_, full_at)| **full_at)
        {
            let key = first.0.clone();
            self.full_at.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { burst: 3, pause: Duration::from_secs(10) };

    #[test]
    fn some_attempts_at_once_and_then_one_after_each_pause() {
        let (mut attempts, start) = (Attempts::new(LIMIT), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for _ in 0..3 {
            assert_eq!(attempts.take(&"a", start), Ok(()));
        }
        assert_eq!(attempts.take(&"a", start), Err(LIMIT.pause));
        assert_eq!(attempts.take(&"a", at(4)), Err(Duration::from_secs(6)), "asking costs nothing");
        assert_eq!(attempts.take(&"b", at(4)), Ok(()), "others are not concerned");
        assert_eq!(attempts.take(&"a", at(10)), Ok(()));
        assert_eq!(attempts.take(&"a", at(10)), Err(LIMIT.pause));
        attempts.give_back(&"a");
        assert_eq!(attempts.take(&"a", at(10)), Ok(()), "it was given back");
        for _ in 0..3 {
            assert_eq!(attempts.take(&"a", at(1_000)), Ok(()));
        }
        assert!(attempts.take(&"a", at(1_000)).is_err(), "they do not add up");
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_waits_least() {
        let (mut attempts, now) = (Attempts::new(LIMIT), Instant::now());
        for _ in 0..3 {
            assert_eq!(attempts.take(&0, now), Ok(()));
        }
        for key in 1..MAX_KEYS + 50 {
            assert_eq!(attempts.take(&key, now), Ok(()));
        }
        assert_eq!(attempts.full_at.len(), MAX_KEYS);
        assert!(attempts.take(&0, now).is_err());
        let later = now + LIMIT.pause * 3;
        assert_eq!(attempts.take(&usize::MAX, later), Ok(()));
        assert_eq!(attempts.full_at.len(), 1, "who has all attempts need not be remembered");
    }
}
