//! The race to the addresses of a name (RFC 8305, 5): one attempt after the other is started, without waiting for the
//! end of those before. The first connection wins, and the others are closed.
//!
//! ```text
//! [2001:db8::1]  |------------------------------------------  no answer
//! 192.0.2.1          |---| connection refused
//! [2001:db8::2]          |-----------------------------------  no answer
//! 192.0.2.2                  |--| connected
//!                0   250 ms
//! ```

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::unanswered::Unanswered;

/// Time from one start to the next, as RFC 8305, 5 recommends: longer than most round trips, so that the next address
/// is seldom bothered in vain.
pub(crate) const DELAY: Duration = Duration::from_millis(250);

/// Time in which an address may answer, from the start of the last one. The kernel sends its packet again after 1 s and
/// after 3 s, so two of them may be lost.
pub(crate) const CHANCE: Duration = Duration::from_secs(4);

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Start the attempt with this number.
    Start(usize),
    /// Wait until an attempt ends, or until this time.
    Wait(Instant),
    /// No attempt will succeed any more.
    Over,
}

/// Decides who starts when, and when to give up.
#[derive(Debug)]
struct Starts {
    /// Number of addresses.
    count: usize,
    /// How many have been started.
    started: usize,
    /// How many have failed.
    failed: usize,
    /// Time between two starts.
    delay: Duration,
    /// Time that the last one has.
    chance: Duration,
    /// When the next one is started; after the last one, when to give up.
    due: Instant,
}

impl Starts {
    /// All attempts together may take `within`. If that is too short for the usual delay, the delay is shorter: each
    /// address is tried.
    fn new(count: usize, within: Duration, now: Instant) -> Self {
        let chance = CHANCE.min(within / 2);
        let gaps = u32::try_from(count.saturating_sub(1)).unwrap_or(u32::MAX).max(1);
        let delay = DELAY.min((within - chance) / gaps);
        Self { count, started: 0, failed: 0, delay, chance, due: now }
    }

    fn next(&mut self, now: Instant) -> Step {
        let all = self.started == self.count;
        if all && self.failed == self.count {
            return Step::Over;
        }
        if now < self.due {
            return Step::Wait(self.due);
        }
        if all {
            return Step::Over;
        }
        self.started += 1;
        self.due = now + if self.started == self.count { self.chance } else { self.delay };
        Step::Start(self.started - 1)
    }

    /// The attempt with this number has failed. After the newest one there is nothing to wait for.
    fn failed(&mut self, number: usize, now: Instant) {
        self.failed += 1;
        if number + 1 == self.started && self.started < self.count {
            self.due = now;
        }
    }
}

/// Connects to the first of the addresses that answers, and says which one it is. All together they have `within`.
///
/// # Errors
/// What each of them said.
pub(super) async fn race<T, F: Future<Output = io::Result<T>>>(
    addresses: &[SocketAddr],
    within: Duration,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<T, Unanswered> {
    let mut starts = Starts::new(addresses.len(), within, Instant::now());
    // Dropped at the end, and with it the sockets of all that did not win.
    let mut running = FuturesUnordered::new();
    let mut said: Vec<Option<io::Error>> = addresses.iter().map(|_| None).collect();
    loop {
        let until = match starts.next(Instant::now()) {
            Step::Start(number) => {
                let attempt = connect(addresses[number]);
                running.push(async move { (number, attempt.await) });
                continue;
            }
            Step::Wait(until) => until,
            Step::Over => break,
        };
        tokio::select! {
            biased;
            Some((number, result)) = running.next() => match result {
                Ok(connection) => return Ok(connection),
                Err(err) => {
                    said[number] = Some(err);
                    starts.failed(number, Instant::now());
                }
            },
            () = sleep_until(until) => {}
        }
    }
    let mut unanswered = Unanswered::default();
    for (address, err) in addresses.iter().zip(said) {
        unanswered.push(*address, err.unwrap_or_else(Unanswered::silence));
    }
    Err(unanswered)
}

#[cfg(test)]
mod tests;
