//! Threads of simulated processes: coroutines, of which one runs at a time.
//!
//! The code of the agent that blocks runs unchanged. Where it would wait, the seam of `nixfleet-os` suspends its
//! coroutine, and virtual time goes on. A process that is killed never gets back what it waits for: its coroutines
//! are unwound, and what they still do on the way has no effect.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use generator::{Generator, Gn};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::process::Process;

/// Stack of a coroutine in machine words: 1 MiB. Pages that are not touched cost nothing.
const STACK: usize = 128 * 1024;

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

/// Starts a coroutine of a process.
pub(crate) fn spawn(process: &Arc<Process>, name: &str, run: Box<dyn FnOnce() + Send>) {
    process.thread_begins();
    let coroutine = Gn::<()>::new_opt(STACK, move || {
        run();
        generator::done()
    });
    let thread = Thread {
        process: Arc::clone(process),
        name: name.to_owned(),
        coroutine: Some(coroutine),
        wait: Wait::Turn,
        timer: None,
    };
    drop(tokio::spawn(thread));
}

struct Thread {
    process: Arc<Process>,
    name: String,
    coroutine: Option<Generator<'static, (), Wait>>,
    wait: Wait,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Thread {
    /// Whether what it waits for has come.
    fn is_ready(&mut self, context: &mut Context<'_>) -> bool {
        let until = match &self.wait {
            Wait::Turn | Wait::Wake => return true,
            Wait::Until(at) => Some(*at),
            Wait::Bell(bell, heard, until) => {
                if bell.heard() != *heard {
                    return true;
                }
                bell.listen(context.waker());
                *until
            }
        };
        let Some(until) = until else { return false };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        timer.as_mut().poll(context).is_ready()
    }

    fn resume(&mut self, context: &Context<'_>) -> Option<Wait> {
        let coroutine = self.coroutine.as_mut()?;
        WAKER.set(Some(context.waker().clone()));
        INSIDE.set(true);
        let resumed = catch_unwind(AssertUnwindSafe(|| coroutine.resume()));
        INSIDE.set(false);
        match resumed {
            Ok(wait) => wait,
            Err(panic) => {
                self.process.panicked(&self.name, &text_of(&*panic));
                None
            }
        }
    }
}

impl Future for Thread {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.process.wake_at_death(context.waker());
        if this.process.is_dead() || !this.is_ready(context) {
            return if this.process.is_dead() { Poll::Ready(()) } else { Poll::Pending };
        }
        this.timer = None;
        let Some(wait) = this.resume(context) else { return Poll::Ready(()) };
        let at_once = match &wait {
            Wait::Wake => false,
            Wait::Turn => true,
            Wait::Until(_) | Wait::Bell(..) => {
                this.wait = wait;
                if this.is_ready(context) {
                    context.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
        };
        this.wait = wait;
        if at_once {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // Whatever its code does while it unwinds must have no effect.
        self.process.thread_ends();
        self.coroutine = None;
    }
}

/// The message of a panic.
pub(crate) fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned())
}
