//! What one host says about its commands, on its way to NATS: in order, one message at a time, each until it is
//! acknowledged.
//!
//! The agent keeps its lines until a ping that it sent behind them is answered, and results until a heartbeat behind
//! them is acknowledged. So both are answered here, once all that was read before them is acknowledged by NATS: what the
//! agent lets go of is in the stream.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use tokio::time::{Instant, sleep_until, timeout};

use crate::bus::{Publish, Published, StoreError};
use crate::figures::Figures;
use crate::room::{Room, Taken};

/// Most answers that wait. An agent sends some pings and heartbeats a minute, and gives the connection up after the
/// third heartbeat that was not answered; a newer answer proves what an older one would.
const MAX_ANSWERS: usize = 16;

/// Shortest and longest pause before a message that was not acknowledged is sent again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A message for streams.
#[derive(Debug)]
pub(super) struct Item {
    /// Where it goes, one after the other.
    pub(super) subjects: Vec<String>,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

/// What an agent is answered once all before it is stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// To a ping with this payload.
    Pong(Bytes),
    /// To a heartbeat with this `seq`.
    Ack(u64),
}

/// The pipe of one host.
pub(super) struct Pipe {
    publish: Publish,
    waiting: VecDeque<(Item, Taken)>,
    /// Counts the subjects of the first one that are done.
    subject: usize,
    under_way: Option<Published>,
    /// When to try the first one again.
    again_at: Option<Instant>,
    /// When the attempt that is under way began.
    since: Option<Instant>,
    failures: u32,
    /// How many messages were taken, and how many of them are done.
    taken: u64,
    done: u64,
    /// What waits to be answered, each with how many messages have to be done before.
    answers: VecDeque<(u64, Answer)>,
    room: Room,
    figures: Arc<Figures>,
}

impl Pipe {
    pub(super) fn new(publish: Publish, room: Room, figures: Arc<Figures>) -> Self {
        Self {
            publish,
            waiting: VecDeque::new(),
            subject: 0,
            under_way: None,
            again_at: None,
            since: None,
            failures: 0,
            taken: 0,
            done: 0,
            answers: VecDeque::new(),
            room,
            figures,
        }
    }

    /// Takes a message. False if too much waits already, of this host or of all.
    pub(super) fn push(&mut self, item: Item) -> bool {
        let Some(taken) = self.room.take(item.payload.len()) else { return false };
        self.taken += 1;
        self.waiting.push_back((item, taken));
        true
    }

    /// Takes an answer, which may be due at once.
    pub(super) fn answer(&mut self, answer: Answer) {
        if self.answers.len() == MAX_ANSWERS {
            self.answers.pop_front();
        }
        self.answers.push_back((self.taken, answer));
    }

    /// The next answer that is due.
    pub(super) fn answerable(&mut self) -> Option<Answer> {
        if self.answers.front()?.0 > self.done {
            return None;
        }
        let next = self.answers.pop_front();
        if self.answers.is_empty() {
            self.answers = VecDeque::new();
        }
        next.map(|(_, answer)| answer)
    }

    /// When to [poll](Self::poll) it although nothing woke it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.again_at
    }

    /// Moves on as far as it can without waiting.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        loop {
            if self.under_way.is_none() && !self.begin() {
                return;
            }
            let Some(under_way) = &mut self.under_way else { return };
            let Poll::Ready(published) = under_way.as_mut().poll(cx) else { return };
            self.under_way = None;
            match published {
                Ok(()) => self.acknowledged(),
                Err(StoreError::Never(why)) => {
                    tracing::warn!("dropped what NATS will never store: {why}");
                    self.figures.unstorable.add();
                    self.passed();
                }
                Err(StoreError::Later(why)) => {
                    self.failed(&why);
                    return;
                }
            }
        }
    }

    /// Begins the next attempt. False if there is nothing to do now.
    fn begin(&mut self) -> bool {
        if self.again_at.is_some_and(|at| Instant::now() < at) {
            return false;
        }
        self.again_at = None;
        let Some((item, _)) = self.waiting.front() else { return false };
        let subject = item.subjects[self.subject].clone();
        self.since = Some(Instant::now());
        self.under_way = Some((self.publish)(subject, item.headers.clone(), item.payload.clone()));
        true
    }

    fn acknowledged(&mut self) {
        self.figures.stored.add();
        if let Some(since) = self.since {
            self.figures.acknowledgements.note(since.elapsed());
        }
        self.passed();
    }

    /// The first one is done for its subject.
    fn passed(&mut self) {
        self.failures = 0;
        self.subject += 1;
        if self.waiting.front().is_some_and(|(item, _)| self.subject >= item.subjects.len()) {
            self.waiting.pop_front();
            (self.subject, self.done) = (0, self.done + 1);
        }
        if self.waiting.is_empty() {
            // Most hosts run nothing most of the time.
            self.waiting = VecDeque::new();
        }
    }

    fn failed(&mut self, why: &str) {
        self.figures.store_failures.add();
        let pause = PAUSE.0 * 2_u32.saturating_pow(self.failures.min(8));
        self.failures += 1;
        self.again_at = Some(Instant::now() + pause.min(PAUSE.1));
        if self.failures == 1 {
            tracing::warn!(%why, "NATS does not store what a host says; the agent keeps it, and it is tried again");
        }
    }

    /// Stores what waits, for at most so long. Nothing is answered any more.
    pub(super) async fn finish(mut self, limit: Duration) {
        let all = async {
            while !self.waiting.is_empty() {
                if let Some(at) = self.again_at {
                    sleep_until(at).await;
                }
                poll_fn(|cx| {
                    self.poll(cx);
                    if self.under_way.is_none() { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
            }
        };
        // Whatever is left is told again by the agent.
        drop(timeout(limit, all).await);
    }
}

#[cfg(test)]
mod tests;
