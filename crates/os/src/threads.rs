//! Threads and waiting for each other, as a handle: those of the process, or those of a simulated one.

use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, io};

use crate::planted;
use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError, thread};

/// What a simulated process has in place of threads.
pub trait Tasks: fmt::Debug + Send + Sync {
    /// Starts one.
    ///
    /// # Errors
    /// When there is none to be had.
    fn spawn(&self, name: &str, run: Box<dyn FnOnce() + Send>) -> io::Result<()>;
    /// Makes a place to wait at.
    fn gate(&self) -> Arc<dyn Gate>;
    /// A time that never goes back.
    fn instant(&self) -> Instant;
}

/// A place to wait at.
pub trait Gate: fmt::Debug + Send + Sync {
    /// Waits for the next [`Gate::open`], at most `limit`. It may return earlier.
    fn wait(&self, limit: Option<Duration>);
    /// Wakes all that wait.
    fn open(&self);
}

/// The threads of a process. A clone belongs to the same process.
#[derive(Debug, Clone, Default)]
pub struct Threads(Option<Arc<dyn Tasks>>);

impl Threads {
    /// The threads of a simulated process.
    pub fn simulated(tasks: Arc<dyn Tasks>) -> Self {
        Self(Some(tasks))
    }

    /// Whether these are the threads of a simulated process, which must not wait in another way than by this handle
    /// or by its clock.
    pub fn are_simulated(&self) -> bool {
        self.0.is_some()
    }

    /// Starts a thread with a stack of this many bytes.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn spawn(&self, name: &str, stack: usize, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        match &self.0 {
            None => thread::Builder::new().name(name.to_owned()).stack_size(stack).spawn(run).map(drop),
            Some(tasks) => tasks.spawn(name, Box::new(run)),
        }
    }

    /// Makes a condition.
    pub fn condition(&self) -> Condition {
        Condition(match &self.0 {
            None => Kind::Real(Condvar::new()),
            Some(tasks) => Kind::Simulated(tasks.gate(), Arc::clone(tasks)),
        })
    }
}

/// A condition that threads wait for.
#[derive(Debug)]
pub struct Condition(Kind);

#[derive(Debug)]
enum Kind {
    Real(Condvar),
    Simulated(Arc<dyn Gate>, Arc<dyn Tasks>),
}

impl Condition {
    /// Wakes all that wait.
    pub fn notify_all(&self) {
        match &self.0 {
            Kind::Real(condvar) => condvar.notify_all(),
            Kind::Simulated(gate, _) => gate.open(),
        }
    }

    /// Locks `value` and waits while `holds` is true of it, at most `limit`.
    pub fn wait_while<'a, T>(
        &self,
        value: &'a Mutex<T>,
        limit: Option<Duration>,
        mut holds: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        let mut guard = value.lock().unwrap_or_else(PoisonError::into_inner);
        match (&self.0, limit) {
            #[cfg(feature = "models")]
            (Kind::Real(_), Some(_)) if crate::model::waits_may_time_out() => {
                while holds(&mut guard) && !crate::model::coin() {
                    drop(guard);
                    thread::yield_now();
                    guard = value.lock().unwrap_or_else(PoisonError::into_inner);
                }
                guard
            }
            (Kind::Real(condvar), _) if planted!("wait-once") => {
                if !holds(&mut guard) {
                    return guard;
                }
                condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
            }
            (Kind::Real(condvar), None) => {
                condvar.wait_while(guard, holds).unwrap_or_else(PoisonError::into_inner)
            }
            (Kind::Real(condvar), Some(limit)) => {
                let waited = condvar.wait_timeout_while(guard, limit, holds);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            (Kind::Simulated(gate, tasks), limit) => {
                let (begun, mut guard) = (tasks.instant(), guard);
                while holds(&mut guard) {
                    let left = limit.map(|limit| limit.saturating_sub(tasks.instant() - begun));
                    if left.is_some_and(|left| left.is_zero()) {
                        break;
                    }
                    drop(guard);
                    gate.wait(left);
                    guard = value.lock().unwrap_or_else(PoisonError::into_inner);
                }
                guard
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_ends_a_wait_and_a_limit_does_too() {
        let threads = Threads::default();
        let shared = Arc::new((Mutex::new(0), threads.condition()));
        let other = Arc::clone(&shared);
        let run = move || {
            *other.0.lock().unwrap() += 1;
            other.1.notify_all();
        };
        threads.spawn("adder", 64 * 1024, run).unwrap();
        let (count, changed) = (&shared.0, &shared.1);
        assert_eq!(*changed.wait_while(count, None, |count| *count == 0), 1);
        assert_eq!(*changed.wait_while(count, Some(Duration::from_millis(5)), |count| *count == 1), 1);
    }
}
