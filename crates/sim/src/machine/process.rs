//! A process of the simulated machine, and its handles for the seam of `nixfleet-os`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use jiff::Timestamp;
use nixfleet_os::clock::Time;
use tokio::time::Instant;

use super::World;
use super::wait::{Bell, Wait, suspend};
use crate::faults::Kind;

/// A process.
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) kind: Kind,
    pub(crate) world: Arc<World>,
    dead: AtomicBool,
    /// Wake its threads when it dies.
    wakers: Mutex<Vec<Waker>>,
    threads: AtomicUsize,
    /// Rings for signals, output and ends.
    pub(crate) bell: Arc<Bell>,
    signals: Mutex<BTreeSet<i32>>,
    /// Of a dead process: time runs, so that nothing on its way out waits for ever.
    gone: AtomicU64,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.pid)
    }
}

impl Process {
    pub(crate) fn new(world: &Arc<World>, kind: Kind) -> Arc<Self> {
        Arc::new(Self {
            pid: world.next_pid(),
            kind,
            world: Arc::clone(world),
            dead: AtomicBool::new(false),
            wakers: Mutex::default(),
            threads: AtomicUsize::new(0),
            bell: Arc::default(),
            signals: Mutex::default(),
            gone: AtomicU64::new(0),
        })
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Ends it at once, with all that the kernel does for it.
    pub(crate) fn kill(&self, why: &str) {
        if self.dead.swap(true, Ordering::Relaxed) {
            return;
        }
        self.world.note(format_args!("{self:?} dies: {why}"));
        if why.starts_with("it exits") {
            self.world.exited(self.kind);
        } else {
            self.world.died(self.kind);
        }
        self.world.files.release(self.pid);
        self.world.programs.parent_died(self.pid);
        let wakers = std::mem::take(&mut *self.wakers.lock().unwrap_or_else(PoisonError::into_inner));
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn wake_at_death(&self, waker: &Waker) {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        if !wakers.iter().any(|other| other.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }

    pub(crate) fn thread_begins(&self) {
        let threads = self.threads.fetch_add(1, Ordering::Relaxed) + 1;
        self.world.threads_seen(threads);
    }

    pub(crate) fn thread_ends(&self) {
        self.threads.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads.load(Ordering::Relaxed)
    }

    pub(crate) fn panicked(&self, thread: &str, text: &str) {
        self.world.finding(format!("the thread `{thread}` of the {} panicked: {text}", self.kind.name()));
        self.kill("panic");
    }

    pub(crate) fn signal(&self, signal: i32) {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner).insert(signal);
        self.bell.ring();
    }

    pub(crate) fn take_signal(&self, signal: i32) -> bool {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner).remove(&signal)
    }

    pub(crate) fn has_signals(&self) -> bool {
        !self.signals.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(super) fn instant(&self) -> std::time::Instant {
        if self.is_dead() {
            let steps = self.gone.fetch_add(1, Ordering::Relaxed);
            return self.world.begun.into_std() + Duration::from_secs(3600 * (steps + 1));
        }
        Instant::now().into_std()
    }

    pub(crate) fn sleep(&self, duration: Duration) {
        if !self.is_dead() {
            suspend(Wait::Until(Instant::now() + duration));
        }
    }

    pub(crate) fn wait(&self, bell: &Arc<Bell>, limit: Option<Duration>) {
        if !self.is_dead() {
            let until = limit.map(|limit| Instant::now() + limit);
            suspend(Wait::Bell(Arc::clone(bell), bell.heard(), until));
        }
    }
}

/// The clock as a process sees it.
#[derive(Debug)]
pub(super) struct ProcessTime(pub(super) Arc<Process>);

impl Time for ProcessTime {
    fn now(&self) -> Timestamp {
        self.0.world.wall_clock()
    }

    fn instant(&self) -> std::time::Instant {
        self.0.instant()
    }

    fn sleep(&self, duration: Duration) {
        self.0.sleep(duration);
    }

    fn random(&self) -> [u8; 10] {
        self.0.world.random_id()
    }
}
