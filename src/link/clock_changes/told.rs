//! A host whose clocks a test changes.

use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{ClockChanges, Source};

#[derive(Debug, Default)]
struct State {
    asleep: Duration,
    announced: bool,
    waiting: Option<Waker>,
}

/// The test's side.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clocks(Arc<Mutex<State>>);

impl Clocks {
    /// The agent's side.
    pub(crate) fn changes(&self) -> ClockChanges {
        ClockChanges::of(Box::new(self.clone()))
    }

    /// The host sleeps, and the kernel announces it.
    pub(crate) fn sleep(&self, time: Duration) {
        self.sleep_unannounced(time);
        self.step();
    }

    /// The host sleeps, and only its clocks tell.
    pub(crate) fn sleep_unannounced(&self, time: Duration) {
        self.state().asleep += time;
    }

    /// The wall clock is set.
    pub(crate) fn step(&self) {
        let mut state = self.state();
        state.announced = true;
        state.waiting.take().into_iter().for_each(Waker::wake);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl Source for Clocks {
    fn asleep(&self) -> Duration {
        self.state().asleep
    }

    fn poll_announced(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if std::mem::take(&mut state.announced) {
            return Poll::Ready(());
        }
        state.waiting = Some(context.waker().clone());
        Poll::Pending
    }
}
