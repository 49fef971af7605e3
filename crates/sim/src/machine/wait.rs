//! How a coroutine waits, and what it waits for.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

/// What a coroutine waits for.
pub(crate) enum Wait {
    /// The others that can run have run.
    Turn,
    /// This time.
    Until(Instant),
    /// The bell has rung since it was heard last, or this time has come.
    Bell(Arc<Bell>, u64, Option<Instant>),
    /// Somebody wakes the future that it polls.
    Wake,
}

thread_local! {
    /// Of the coroutine that runs.
    static WAKER: RefCell<Option<Waker>> = const { RefCell::new(None) };
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Waits, if a coroutine calls it.
pub(crate) fn suspend(wait: Wait) {
    if INSIDE.get() {
        #[expect(deprecated, reason = "the function of the scope cannot be called from deep below")]
        generator::yield_with(wait);
    }
}

/// Runs `resume` as a coroutine that `waker` wakes.
pub(crate) fn inside<T>(waker: &Waker, resume: impl FnOnce() -> T) -> T {
    WAKER.set(Some(waker.clone()));
    INSIDE.set(true);
    let result = resume();
    INSIDE.set(false);
    result
}

/// Runs a future to its end on the coroutine that calls this.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        let waker = WAKER.with_borrow(Clone::clone).unwrap_or_else(|| Waker::noop().clone());
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        suspend(Wait::Wake);
    }
}

/// Wakes everybody who waits for it.
#[derive(Default)]
pub(crate) struct Bell {
    rung: AtomicU64,
    waiting: Mutex<Vec<Waker>>,
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bell")
    }
}

impl Bell {
    /// How often it has rung.
    pub(crate) fn heard(&self) -> u64 {
        self.rung.load(Ordering::Relaxed)
    }

    pub(crate) fn ring(&self) {
        self.rung.fetch_add(1, Ordering::Relaxed);
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn listen(&self, waker: &Waker) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.iter().any(|other| other.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }
}
