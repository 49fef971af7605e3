//! Calls that may block, each on a thread of its own. The runtime's own threads for this panic when the host
//! has no thread left, which would end the agent.

use std::io;

use nixfleet_os::planted;
use nixfleet_os::sync::atomic::{AtomicUsize, Ordering};
use nixfleet_os::sync::thread;
use tokio::sync::oneshot;

/// Most threads at the same time. If a resolver or a disk hangs for ever, each attempt to connect leaves a thread
/// behind; with so many of them, further attempts fail until one ends. One thread would be enough if nothing ever
/// hung. A few more allow for a hang that is over soon. A model needs more calls than places.
const THREADS: usize = if cfg!(feature = "models") { 2 } else { 4 };

/// Threads that run now, in the whole process: an attempt that is given up leaves its thread behind.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Runs `call` on a thread of its own.
///
/// # Errors
/// When the host has no thread left, when [`THREADS`] of them hang, or when `call` panicked.
pub(super) async fn run<T: Send + 'static>(
    name: &str,
    call: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    run_counted(&RUNNING, name, call).await
}

async fn run_counted<T: Send + 'static>(
    running: &'static AtomicUsize,
    name: &str,
    call: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let place = Place::take(running)?;
    let (sender, answer) = oneshot::channel();
    // With the default stack: modules of the resolver belong to the host, and may need much.
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        // They are dropped in reverse order when the call panics: the place is free before the caller knows.
        let (sender, place) = (sender, place);
        let value = call();
        // Before the answer is sent, so that the next call finds the place.
        if planted!("place-behind-the-answer") {
            drop(sender.send(value));
            return drop(place);
        }
        drop(place);
        let _nobody_may_wait = sender.send(value);
    })?;
    answer.await.map_err(|_| io::Error::other(format!("the thread `{name}` panicked")))
}

/// A thread's place among those that may run; free again when dropped, also after a panic.
struct Place(&'static AtomicUsize);

impl Place {
    fn take(running: &'static AtomicUsize) -> io::Result<Self> {
        if planted!("count-and-then-take") {
            let count = running.load(Ordering::Acquire);
            if count >= THREADS {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            running.store(count + 1, Ordering::Release);
            return Ok(Self(running));
        }
        let place = Self(running);
        if running.fetch_add(1, Ordering::AcqRel) >= THREADS {
            return Err(io::Error::other(format!("{THREADS} threads of earlier attempts still hang")));
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(all(test, feature = "models"))]
mod models;
#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn an_answer_comes_back_and_a_panic_is_an_error() {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        assert_eq!(run_counted(&COUNT, "sum", || 2 + 2).await.unwrap(), 4);
        let err = run_counted(&COUNT, "bad", || assert_eq!(2 + 2, 5)).await.unwrap_err();
        assert!(err.to_string().contains("`bad` panicked"), "{err}");
        assert_eq!(COUNT.load(Ordering::Acquire), 0);
    }

    #[tokio::test]
    async fn threads_that_hang_do_not_pile_up() {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let mut held = Vec::new();
        for _ in 0..THREADS {
            let (sender, receiver) = mpsc::channel::<()>();
            let hangs = run_counted(&COUNT, "hangs", move || receiver.recv().is_ok());
            assert!(timeout(Duration::from_millis(1), hangs).await.is_err(), "given up");
            held.push(sender);
        }
        for _ in 0..3 {
            let err = run_counted(&COUNT, "one more", || ()).await.unwrap_err();
            assert!(err.to_string().contains("still hang"), "{err}");
        }
        held.clear();
        let ended = async {
            while COUNT.load(Ordering::Acquire) > 0 {
                tokio::task::yield_now().await
            }
        };
        timeout(Duration::from_secs(10), ended).await.unwrap();
        run_counted(&COUNT, "again", || ()).await.unwrap();
    }
}
