//! A thread for looks that may never end, and another one when that happens.
//!
//! Looks take turns in a worker. One that takes too long keeps its thread, which nobody waits for and
//! nobody joins, and the worker goes on with a new one. When the lost look comes back after all, its thread
//! ends and it may take its turn again; what it found is too old to be told.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{self, SyncSender},
    thread,
    time::{Duration, Instant},
};

/// Most threads of a worker that hang at once. Beyond that the worker stands still until one comes back: its
/// values are unknown then, and memory is not.
pub(super) const MAX_LOST: usize = 4;

/// Reads of small files, statvfs, a program started: 128 KiB is ample.
const STACK: usize = 128 * 1024;

/// A look: what it needs to remember is in it, so it goes to the thread and comes back.
pub(super) type Probe<T> = Box<dyn FnMut() -> T + Send>;

/// A look that came to an end.
pub(super) struct Done<T> {
    pub(super) task: usize,
    run: u64,
    pub(super) probe: Probe<T>,
    /// None if it panicked.
    pub(super) found: Option<T>,
}

struct Order<T> {
    task: usize,
    run: u64,
    probe: Probe<T>,
}

/// The look that has its turn.
struct Running {
    task: usize,
    run: u64,
    until: Instant,
}

/// A queue of looks and the thread that takes them.
pub(super) struct Worker<T, E> {
    name: &'static str,
    worker: Option<mpsc::Sender<Order<T>>>,
    waiting: VecDeque<(usize, Duration, Probe<T>)>,
    running: Option<Running>,
    lost: usize,
    runs: u64,
    events: SyncSender<E>,
    wrap: fn(Done<T>) -> E,
}

impl<T: Send + 'static, E: Send + 'static> Worker<T, E> {
    pub(super) fn new(name: &'static str, events: SyncSender<E>, wrap: fn(Done<T>) -> E) -> Self {
        Self { name, worker: None, waiting: VecDeque::new(), running: None, lost: 0, runs: 0, events, wrap }
    }

    /// Has a look take its turn; from then on it may take so long.
    pub(super) fn push(&mut self, task: usize, limit: Duration, probe: Probe<T>, now: Instant) {
        self.waiting.push_back((task, limit, probe));
        self.start(now);
    }

    /// Takes note of an end. False: it had been given up, and what it found does not count.
    pub(super) fn ended(&mut self, done: &Done<T>, now: Instant) -> bool {
        let in_time = self.running.as_ref().is_some_and(|running| running.run == done.run);
        if in_time {
            self.running = None;
        } else {
            self.lost = self.lost.saturating_sub(1);
        }
        self.start(now);
        in_time
    }

    /// When the look that has its turn has had it for too long.
    pub(super) fn until(&self) -> Option<Instant> {
        self.running.as_ref().map(|running| running.until)
    }

    /// Gives up the look that has its turn if it has had it for too long.
    pub(super) fn give_up(&mut self, now: Instant) -> Option<usize> {
        let running = self.running.take_if(|running| running.until <= now)?;
        self.worker = None;
        self.lost += 1;
        self.start(now);
        Some(running.task)
    }

    /// Begins what waits, if nothing is in its way: for a thread that could not be had before.
    pub(super) fn retry(&mut self, now: Instant) {
        self.start(now);
    }

    fn start(&mut self, now: Instant) {
        if self.running.is_some() || self.lost >= MAX_LOST {
            return;
        }
        let Some((task, limit, probe)) = self.waiting.pop_front() else { return };
        self.runs += 1;
        let run = self.runs;
        let Some(worker) = self.worker() else {
            return self.waiting.push_front((task, limit, probe));
        };
        match worker.send(Order { task, run, probe }) {
            Ok(()) => self.running = Some(Running { task, run, until: now + limit }),
            // No thread ends before its sender does, so this is not reached; nothing is lost by it.
            Err(mpsc::SendError(order)) => {
                self.worker = None;
                self.waiting.push_front((task, limit, order.probe));
            }
        }
    }

    fn worker(&mut self) -> Option<&mpsc::Sender<Order<T>>> {
        if self.worker.is_none() {
            let (orders, taken) = mpsc::channel();
            let (events, wrap) = (self.events.clone(), self.wrap);
            let run = move || work_off(&taken, &events, wrap);
            match thread::Builder::new().name(self.name.to_owned()).stack_size(STACK).spawn(run) {
                Ok(_never_joined) => self.worker = Some(orders),
                Err(error) => tracing::warn!(%error, "No thread to look at the host; trying again."),
            }
        }
        self.worker.as_ref()
    }
}

/// The thread: until nobody has orders for it any more.
fn work_off<T, E>(orders: &mpsc::Receiver<Order<T>>, events: &SyncSender<E>, wrap: fn(Done<T>) -> E) {
    for Order { task, run, mut probe } in orders {
        // A mistake in one look must not stop the others.
        let found = catch_unwind(AssertUnwindSafe(&mut probe)).ok();
        if events.send(wrap(Done { task, run, probe, found })).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
