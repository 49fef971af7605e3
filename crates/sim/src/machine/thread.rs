//! Threads of simulated processes: coroutines, of which one runs at a time.
//!
//! The code of the agent that blocks runs unchanged. Where it would wait, the seam of `nixfleet-os` suspends its
//! coroutine, and virtual time goes on. A process that is killed never gets back what it waits for: its coroutines
//! are unwound, and what they still do on the way has no effect.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use generator::{Generator, Gn};
use nixfleet_os::threads::{Gate, Tasks};
use tokio::time::{Sleep, sleep_until};

use super::process::Process;
use super::wait::{Bell, Wait, inside};

/// Stack of a coroutine in machine words: 1 MiB. Pages that are not touched cost nothing.
const STACK: usize = 128 * 1024;

/// Starts a coroutine of a process.
pub(crate) fn spawn(process: &Arc<Process>, name: &str, run: Box<dyn FnOnce() + Send>) {
    process.thread_begins();
    let coroutine = Gn::<()>::new_opt(STACK, move || {
        run();
        // Nobody reads it: the coroutine is done.
        Wait::Turn
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
        if self.process.world.spins() {
            return None;
        }
        match inside(context.waker(), || catch_unwind(AssertUnwindSafe(|| coroutine.resume()))) {
            Ok(wait) => wait.filter(|_| !coroutine.is_done()),
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
fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned())
}

/// The threads as a process sees them.
#[derive(Debug)]
pub(super) struct ProcessTasks(pub(super) Arc<Process>);

impl Tasks for ProcessTasks {
    fn spawn(&self, name: &str, run: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        if self.0.is_dead() || self.0.world.no_thread() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        spawn(&self.0, name, run);
        Ok(())
    }

    fn gate(&self) -> Arc<dyn Gate> {
        Arc::new(ProcessGate(Arc::clone(&self.0), Arc::default()))
    }

    fn instant(&self) -> std::time::Instant {
        self.0.instant()
    }
}

#[derive(Debug)]
struct ProcessGate(Arc<Process>, Arc<Bell>);

impl Gate for ProcessGate {
    fn wait(&self, limit: Option<Duration>) {
        // A dead process waits for nobody. One that waits without a limit is on its way out by an unwinding.
        self.0.wait(&self.1, limit);
    }

    fn open(&self) {
        self.1.ring();
    }
}
