//! What a follower hands over: its items, from its thread to the session, and orders for the thread.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use nixfleet_os::sync::{Mutex, MutexGuard, PoisonError};
use nixfleet_os::threads::Condition;
use nixfleet_os::{Threads, planted};

use super::activity::Activity;
use super::bell::Bell;
use super::{Followed, Start};

/// Batches that may wait for the session: enough to keep it busy, with little memory. A model has few lines.
pub(super) const CHANNEL: usize = if cfg!(feature = "models") { 2 } else { 4 };

/// How long to wait before the next attempt to start a thread. There is one when others have ended.
const START_RETRY: Duration = Duration::from_secs(1);

/// Output and end of a job. Dropping it ends the thread within half a second, unless the thread hangs in a disk.
#[derive(Debug)]
pub struct Items {
    receiver: mpsc::Receiver<Followed>,
    /// The thread; none in tests of other modules.
    link: Option<Arc<Link>>,
    /// The thread could not be started yet; the next attempt is at this time.
    unstarted: Option<(Start, Instant)>,
}

impl From<mpsc::Receiver<Followed>> for Items {
    /// Items that no thread sends.
    fn from(receiver: mpsc::Receiver<Followed>) -> Self {
        Self { receiver, link: None, unstarted: None }
    }
}

impl Items {
    /// Items of a thread that [`Self::start`] starts.
    pub(super) fn new(receiver: mpsc::Receiver<Followed>, start: Start) -> Self {
        let link = Some(Arc::clone(&start.link));
        Self { receiver, link, unstarted: Some((start, Instant::now())) }
    }

    /// Starts the thread, unless it was started.
    ///
    /// # Errors
    /// When there is no thread to be had. [`Self::recv`] tries again.
    pub(super) fn start(&mut self) -> io::Result<()> {
        if let Some((start, retry_at)) = &mut self.unstarted {
            *retry_at = Instant::now() + START_RETRY;
            start.thread()?;
            // The thread has the only sender now, so that its end is noticed.
            self.unstarted = None;
        }
        Ok(())
    }

    /// Waits for the next item. None when the thread is gone.
    ///
    /// Cancel-safe: an item is taken out of the channel and returned in one step.
    pub async fn recv(&mut self) -> Option<Followed> {
        while let Some((_, retry_at)) = &self.unstarted {
            sleep_until(*retry_at).await;
            // The first failure was logged.
            drop(self.start());
        }
        let item = self.receiver.recv().await;
        if let Some(link) = self.link.as_ref().filter(|_| !planted!("room-without-a-word")) {
            link.wake(|order| order.room = true);
        }
        item
    }

    /// What the command does, as it was seen last. None if nothing is known.
    pub fn activity(&self) -> Option<Activity> {
        self.link.as_ref()?.activity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Number of items that wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.receiver.len()
    }

    /// Forgets the items that wait, and lets the thread begin again behind log entry `after`. A thread that hangs in
    /// a disk does so when it returns. False if the thread has ended: then another follower is needed.
    pub fn rewind(&mut self, after: u64) -> bool {
        let Some(link) = &self.link else { return false };
        let (sender, receiver) = mpsc::channel(CHANNEL);
        if let Some((start, _)) = &mut self.unstarted {
            (start.after, start.items) = (after, sender);
        } else {
            let mut order = link.order();
            if order.done {
                return false;
            }
            order.rewind = Some(Rewind { after, items: sender });
        }
        if planted!("ring-before-the-rewind") {
            link.wake(|_| {});
            self.receiver = receiver;
            return true;
        }
        self.receiver = receiver;
        link.wake(|_| {});
        true
    }
}

impl Drop for Items {
    fn drop(&mut self) {
        if let Some(link) = &self.link {
            if planted!("ring-before-the-close") {
                link.wake(|order| order.closed = true);
                return self.receiver.close();
            }
            // Before the thread is woken: it looks whether the receiver is gone.
            self.receiver.close();
            link.wake(|order| order.closed = true);
        }
    }
}

/// Where a thread has to begin again, and for whom.
#[derive(Debug)]
pub(super) struct Rewind {
    pub(super) after: u64,
    pub(super) items: mpsc::Sender<Followed>,
}

/// The connection between a thread and its [`Items`].
#[derive(Debug)]
pub(super) struct Link {
    order: Mutex<Order>,
    changed: Condition,
    pub(super) bell: Bell,
    /// What the command does. The thread writes it, and holds the lock for the copy only.
    activity: Mutex<Option<Activity>>,
}

#[derive(Debug, Default)]
struct Order {
    /// An item was taken since the thread last waited for room.
    room: bool,
    /// The thread waits for room at the bell.
    at_bell: bool,
    /// Nobody receives any more.
    closed: bool,
    rewind: Option<Rewind>,
    /// The thread has ended.
    done: bool,
}

impl Link {
    pub(super) fn new(threads: &Threads) -> Arc<Self> {
        Arc::new(Self {
            order: Mutex::default(),
            changed: threads.condition(),
            bell: Bell::default(),
            activity: Mutex::default(),
        })
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, change: impl FnOnce(&mut Order)) {
        let mut order = self.order();
        change(&mut order);
        let urgent = order.closed || order.rewind.is_some() || order.at_bell;
        drop(order);
        self.changed.notify_all();
        if urgent && !planted!("silent-bell") {
            self.bell.ring();
        }
    }

    /// An item was taken.
    #[cfg(test)]
    pub(super) fn take_one(&self) {
        self.wake(|order| order.room = true);
    }

    /// What the command does now.
    pub(super) fn tell_activity(&self, activity: Option<Activity>) {
        *self.activity.lock().unwrap_or_else(PoisonError::into_inner) = activity;
    }

    /// Whether nobody receives any more, not even after a rewind.
    pub(super) fn is_closed(&self) -> bool {
        self.order().closed
    }

    /// Waits until an item is taken, nobody receives any more, or the thread has to begin again. At most `limit`.
    pub(super) fn wait(&self, limit: Duration) {
        let idle = |order: &mut Order| !order.room && !order.closed && order.rewind.is_none();
        self.changed.wait_while(&self.order, Some(limit), idle).room = false;
    }

    /// As [`Self::wait`], but `wait` waits, until the bell rings or something else ends it.
    pub(super) fn wait_at_bell(&self, wait: impl FnOnce(&Bell)) {
        let mut order = self.order();
        let idle = !order.room && !order.closed && order.rewind.is_none();
        order.at_bell = idle;
        drop(order);
        if idle {
            wait(&self.bell);
        }
        let mut order = self.order();
        (order.room, order.at_bell) = (false, false);
    }

    /// The thread has nothing more to do: returns where it has to begin again, or else it must end.
    pub(super) fn done(&self) -> Option<Rewind> {
        let mut order = self.order();
        let rewind = order.rewind.take();
        if planted!("done-in-two-steps") {
            drop(order);
            order = self.order();
        }
        order.done = rewind.is_none();
        rewind
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn orders_ring_the_bell_and_room_does_not() {
        let link = Link::new(&Threads::default());
        let (_items, receiver) = mpsc::channel(CHANNEL);
        let mut items = Items { receiver, link: Some(Arc::clone(&link)), unstarted: None };
        assert!(!link.bell.is_ringing());
        link.wake(|order| order.room = true);
        assert!(!link.bell.is_ringing(), "the thread waits for room at the condition");
        link.wait_at_bell(|_| panic!("there is room"));
        link.wait_at_bell(|bell| {
            link.wake(|order| order.room = true);
            assert!(bell.is_ringing(), "and here it waits for room");
            bell.silence();
        });
        link.wake(|_| {});
        assert!(!link.bell.is_ringing());
        assert!(items.rewind(7));
        assert!(link.bell.is_ringing());
        assert_eq!(link.done().map(|rewind| rewind.after), Some(7));
        link.bell.silence();
        assert!(!link.bell.is_ringing() && !link.is_closed());
        drop(items);
        assert!(link.bell.is_ringing() && link.is_closed());
    }
}
