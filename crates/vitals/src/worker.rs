//! A worker: a queue of probes, and a thread that runs them one by one.
//!
//! A probe may hang for ever. One that exceeds its time limit keeps its thread, which is never joined, and
//! the worker continues with a new thread. If the stuck probe returns later, its thread ends and the probe
//! can be run again. Its result is too old to be used.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use nixfleet_os::planted;
use nixfleet_os::sync::mpsc::{self, SyncSender};
use nixfleet_os::sync::thread;

/// Most threads of a worker that may be stuck at once. Then the worker pauses until one returns: its values
/// are unknown, but the memory of threads stays bounded. A model needs more probes than threads.
pub(super) const MAX_STUCK: usize = if cfg!(feature = "models") { 2 } else { 4 };

/// Stack of a thread, in bytes. Probes read small files, call statvfs and start programs.
const STACK: usize = 128 * 1024;

/// One measurement of one source. It owns what it remembers from earlier ones, so it moves to the thread and
/// back.
pub(super) type Probe<T> = Box<dyn FnMut() -> T + Send>;

/// A probe that has ended.
pub(super) struct Done<T> {
    pub(super) task: usize,
    run: u64,
    pub(super) probe: Probe<T>,
    /// None if it panicked.
    pub(super) found: Option<T>,
}

/// A probe on its way to the thread.
struct Request<T> {
    task: usize,
    run: u64,
    probe: Probe<T>,
}

/// The probe that runs.
struct Running {
    task: usize,
    run: u64,
    deadline: Instant,
}

/// A queue of probes and the thread that runs them.
pub(super) struct Worker<T, E> {
    name: &'static str,
    requests: Option<mpsc::Sender<Request<T>>>,
    queue: VecDeque<(usize, Duration, Probe<T>)>,
    running: Option<Running>,
    stuck: usize,
    last_run: u64,
    events: SyncSender<E>,
    wrap: fn(Done<T>) -> E,
}

impl<T: Send + 'static, E: Send + 'static> Worker<T, E> {
    pub(super) fn new(name: &'static str, events: SyncSender<E>, wrap: fn(Done<T>) -> E) -> Self {
        Self {
            name,
            requests: None,
            queue: VecDeque::new(),
            running: None,
            stuck: 0,
            last_run: 0,
            events,
            wrap,
        }
    }

    /// Puts a probe into the queue. Its time limit begins when it starts to run.
    pub(super) fn push(&mut self, task: usize, limit: Duration, probe: Probe<T>, now: Instant) {
        self.queue.push_back((task, limit, probe));
        self.start(now);
    }

    /// Notes that a probe has ended. Returns false if it had exceeded its time limit; its result must not be
    /// used then.
    pub(super) fn finish(&mut self, done: &Done<T>, now: Instant) -> bool {
        let is_it = |running: &Running| running.run == done.run || planted!("late-is-in-time");
        let in_time = self.running.as_ref().is_some_and(is_it);
        if in_time {
            self.running = None;
        } else {
            self.stuck = self.stuck.saturating_sub(1);
        }
        self.start(now);
        in_time
    }

    /// When the running probe exceeds its time limit.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.running.as_ref().map(|running| running.deadline)
    }

    /// Abandons the running probe if it has exceeded its time limit, and returns its task.
    pub(super) fn expire(&mut self, now: Instant) -> Option<usize> {
        let running = self.running.take_if(|running| running.deadline <= now)?;
        if !planted!("keep-the-stuck-thread") {
            self.requests = None;
        }
        self.stuck += usize::from(!planted!("forget-the-stuck"));
        self.start(now);
        Some(running.task)
    }

    /// Starts the next probe if possible. Needed after a thread could not be started.
    pub(super) fn retry(&mut self, now: Instant) {
        self.start(now);
    }

    fn start(&mut self, now: Instant) {
        if self.running.is_some() || self.stuck >= MAX_STUCK {
            return;
        }
        let Some((task, limit, probe)) = self.queue.pop_front() else { return };
        self.last_run += 1;
        let run = self.last_run;
        let Some(thread) = self.thread() else {
            return self.queue.push_front((task, limit, probe));
        };
        match thread.send(Request { task, run, probe }) {
            Ok(()) => self.running = Some(Running { task, run, deadline: now + limit }),
            // A thread ends only after its sender, so this is not reached. The probe is kept in any case.
            Err(mpsc::SendError(order)) => {
                self.requests = None;
                self.queue.push_front((task, limit, order.probe));
            }
        }
    }

    fn thread(&mut self) -> Option<&mpsc::Sender<Request<T>>> {
        if self.requests.is_none() {
            let (requests, received) = mpsc::channel();
            let (events, wrap) = (self.events.clone(), self.wrap);
            let run = move || run_probes(&received, &events, wrap);
            match thread::Builder::new().name(self.name.to_owned()).stack_size(STACK).spawn(run) {
                Ok(_never_joined) => self.requests = Some(requests),
                Err(error) => tracing::warn!(%error, "No thread to look at the host; trying again."),
            }
        }
        self.requests.as_ref()
    }
}

/// The thread. It ends when the sender of requests is dropped.
fn run_probes<T, E>(requests: &mpsc::Receiver<Request<T>>, events: &SyncSender<E>, wrap: fn(Done<T>) -> E) {
    for Request { task, run, mut probe } in requests {
        // A panic in one probe must not stop the others.
        let found = catch_unwind(AssertUnwindSafe(&mut probe)).ok();
        if events.send(wrap(Done { task, run, probe, found })).is_err() {
            return;
        }
    }
}

#[cfg(all(test, feature = "models"))]
mod models;
#[cfg(test)]
mod tests;
