//! A lane: sources that one thread reads, one after the other, each when it is due.
//!
//! A reading may hang for ever. One that exceeds its time limit keeps its thread, which is never joined, and the lane
//! continues with a new thread. If the stuck reading returns later, its thread ends and the source can be read again.
//! Its result is too old to be used.
//!
//! There is no thread that only watches another one. Whoever takes the newest values calls [`Lane::watch`], so a reading
//! that hangs is noticed when somebody asks, and a lane that is read often watches over one that may hang. Every value
//! has an age limit in any case.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nixfleet_os::planted;
use nixfleet_os::sync::{Condvar, Mutex, MutexGuard, PoisonError, thread};

use plan::Plan;

pub(crate) use plan::{Pace, Probe};

mod plan;

/// Most threads of a lane that may be stuck at once. Then the lane pauses until one returns: its values are unknown, but
/// the memory of threads stays bounded. A model needs more sources than threads.
const MAX_STUCK: usize = if cfg!(feature = "models") { 2 } else { 4 };

/// Stack of a thread, in bytes. Readings take small files, call statvfs and start programs.
const STACK: usize = 128 * 1024;

/// What becomes of readings.
pub(crate) trait Sink: Send + 'static {
    /// Names a source.
    type Kind: Copy + Send;
    /// What a reading finds.
    type Found: Send;

    /// Takes what a source has now.
    fn store(&mut self, kind: Self::Kind, found: Self::Found);

    /// Makes the values of a source unknown, because its reading hangs or panicked.
    fn forget(&mut self, kind: Self::Kind, why: Unknown);

    /// Whether there is something to read.
    fn is_available(&self, kind: Self::Kind) -> bool;
}

/// Why the values of a source become unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// The reading exceeded its time limit.
    Hangs,
    /// The reading panicked.
    Panicked,
}

/// A lane. Dropping it stops its thread without waiting for it.
pub(crate) struct Lane<S: Sink> {
    shared: Arc<Shared<S>>,
}

impl<S: Sink> fmt::Debug for Lane<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

struct Shared<S: Sink> {
    name: &'static str,
    state: Mutex<State<S>>,
    /// Notified when the thread has to look at its plan again.
    changed: Condvar,
}

struct State<S: Sink> {
    plan: Plan<S::Kind, S::Found>,
    sink: S,
    running: Option<Running>,
    /// The number of the thread whose turn it is; none if no thread could be started, or too many are stuck.
    thread: Option<u64>,
    /// The number of the newest thread.
    newest: u64,
    stuck: usize,
    stopped: bool,
    /// The newest attempt to start a thread failed, which was logged.
    without_thread: bool,
}

/// The reading that runs.
struct Running {
    task: usize,
    deadline: Instant,
}

impl<S: Sink> Lane<S> {
    /// A lane without a source, and without a thread.
    pub(crate) fn new(name: &'static str, sink: S) -> Self {
        let state = State {
            plan: Plan::default(),
            sink,
            running: None,
            thread: None,
            newest: 0,
            stuck: 0,
            stopped: false,
            without_thread: false,
        };
        Self { shared: Arc::new(Shared { name, state: Mutex::new(state), changed: Condvar::new() }) }
    }

    /// Adds a source, which is due now. One reading of it may take as long as `limit`.
    pub(crate) fn add(
        &self,
        kind: S::Kind,
        pace: Pace,
        limit: Duration,
        probe: Probe<S::Found>,
        now: Instant,
    ) {
        self.shared.lock().plan.add(kind, pace, limit, probe, now);
    }

    /// Starts the thread, or another one if the reading that runs has exceeded its time limit.
    pub(crate) fn watch(&self, now: Instant) {
        let mut state = self.shared.lock();
        state.expire(now);
        if state.thread.is_none() && state.stuck < MAX_STUCK && !state.stopped {
            self.shared.start(&mut state);
        }
    }

    /// Reads some of the sources as soon as possible.
    pub(crate) fn refresh(&self, is_wanted: impl Fn(S::Kind) -> bool, now: Instant) {
        self.shared.lock().plan.refresh(is_wanted, now);
        self.shared.changed.notify_one();
    }

    /// Values will be taken at that moment: sources whose pace says so are read shortly before it.
    pub(crate) fn expect(&self, at: Instant, now: Instant) {
        if self.shared.lock().plan.expect(at, now) {
            self.shared.changed.notify_one();
        }
    }
}

impl<S: Sink> Drop for Lane<S> {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_one();
    }
}

impl<S: Sink> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, State<S>> {
        // Readings run without the lock. A panic while it was held left a state that is as good as before.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(self: &Arc<Self>, state: &mut State<S>) {
        let number = state.newest + 1;
        let shared = Arc::clone(self);
        let run = move || shared.run(number);
        match thread::Builder::new().name(self.name.to_owned()).stack_size(STACK).spawn(run) {
            Ok(_never_joined) => {
                (state.newest, state.thread, state.without_thread) = (number, Some(number), false);
            }
            Err(error) => {
                if !std::mem::replace(&mut state.without_thread, true) {
                    tracing::warn!(%error, "No thread to look at the host; trying again.");
                }
            }
        }
    }

    /// The thread.
    fn run(&self, number: u64) {
        let mut state = self.lock();
        while !state.stopped && state.thread == Some(number) {
            let now = Instant::now();
            match state.begin(now) {
                Some((task, mut probe)) => {
                    drop(state);
                    // A panic in one reading must not stop the others.
                    let found = catch_unwind(AssertUnwindSafe(&mut probe)).ok();
                    state = self.lock();
                    state.end(number, task, probe, found, Instant::now());
                    if state.thread != Some(number) {
                        // This source can be read again, by the other thread.
                        self.changed.notify_one();
                    }
                }
                None => state = self.sleep(state, now),
            }
        }
    }

    fn sleep<'a>(&self, mut state: MutexGuard<'a, State<S>>, now: Instant) -> MutexGuard<'a, State<S>> {
        let State { plan, sink, .. } = &mut *state;
        match plan.sleep(|kind| sink.is_available(kind)) {
            Some(until) => {
                let time = until.saturating_duration_since(now);
                self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
        }
    }
}

impl<S: Sink> State<S> {
    /// Takes the source that is to be read next, if one is due.
    fn begin(&mut self, now: Instant) -> Option<(usize, Probe<S::Found>)> {
        let sink = &self.sink;
        let (task, limit, probe) = self.plan.begin(now, |kind| sink.is_available(kind))?;
        self.running = Some(Running { task, deadline: now + limit });
        Some((task, probe))
    }

    /// A reading has ended. What it found counts only if its thread was not given up.
    fn end(
        &mut self,
        thread: u64,
        task: usize,
        probe: Probe<S::Found>,
        found: Option<S::Found>,
        now: Instant,
    ) {
        let in_time = self.thread == Some(thread) || planted!("late-is-in-time");
        let kind = self.plan.end(task, probe);
        match found {
            Some(found) if in_time => self.sink.store(kind, found),
            // It works again, and its value is too old.
            Some(_) => self.plan.refresh_task(task, now),
            None => self.sink.forget(kind, Unknown::Panicked),
        }
        if self.thread == Some(thread) {
            self.running = None;
        } else {
            self.stuck = self.stuck.saturating_sub(1);
            // Nobody else goes on if too many hung.
            self.thread.get_or_insert(thread);
        }
    }

    /// Gives the running reading up if it has exceeded its time limit.
    fn expire(&mut self, now: Instant) {
        let Some(Running { task, .. }) = self.running.take_if(|running| running.deadline <= now) else {
            return;
        };
        if !planted!("keep-the-stuck-thread") {
            self.thread = None;
        }
        self.stuck += usize::from(!planted!("forget-the-stuck"));
        let kind = self.plan.kind(task);
        self.sink.forget(kind, Unknown::Hangs);
    }
}

#[cfg(all(test, feature = "models"))]
mod models;
#[cfg(test)]
mod tests;
