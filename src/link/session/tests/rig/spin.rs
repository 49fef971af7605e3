//! A bound for a session that is never at rest. Virtual time stands still while a task is ready, so no time limit
//! would end the test.

use std::future::poll_fn;
use std::pin::pin;

use tokio::time::Instant;

/// Polls of a session at one instant: ten times what ten thousand commands in one burst need.
const MOST: u32 = 300_000;

/// Runs a session, and panics if it is polled for ever while no time passes.
pub(super) async fn guarded<F: Future>(session: F) -> F::Output {
    let mut session = pin!(session);
    let (mut at, mut polls) = (Instant::now(), 0);
    poll_fn(move |context| {
        if at != Instant::now() {
            (at, polls) = (Instant::now(), 0);
        }
        polls += 1;
        assert!(polls < MOST, "the session spins: it was polled {polls} times while no time passed");
        session.as_mut().poll(context)
    })
    .await
}
