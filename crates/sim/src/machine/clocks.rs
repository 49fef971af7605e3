//! The clocks of the simulated machine, as an agent on it sees them change.
//!
//! A kernel announces each step of the wall clock, and the end of a sleep is one. A timer that was armed later than the
//! step knows nothing of it. The monotonic clock stands still while the machine sleeps, and so does that of tokio here.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use nixfleet_agent::link::clock_changes::{ClockChanges, Source};

use super::World;

/// What one process knows of changes.
struct Announcements {
    world: Arc<World>,
    /// How many steps it was told of.
    heard: u64,
}

/// The changes of this machine's clocks from now on.
pub(crate) fn changes(world: &Arc<World>) -> ClockChanges {
    let heard = world.steps.heard();
    ClockChanges::of(Box::new(Announcements { world: Arc::clone(world), heard }))
}

impl fmt::Debug for Announcements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Announcements")
    }
}

impl Source for Announcements {
    fn asleep(&self) -> Duration {
        self.world.state().asleep
    }

    fn poll_announced(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let steps = self.world.steps.heard();
        if std::mem::replace(&mut self.heard, steps) < steps {
            return Poll::Ready(());
        }
        self.world.steps.listen(context.waker());
        Poll::Pending
    }
}
