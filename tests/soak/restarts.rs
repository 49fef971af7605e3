//! When an agent connects that its dashboard has restarted.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::dashboard::INTERVAL;
use crate::host::Machine;
use crate::run;

/// The agent announces a time of the clock, in whole milliseconds, and the timer has a resolution of one.
const ROUNDED: Duration = Duration::from_millis(2);

/// What may pass on the clock of this machine between the announcement and a look at it.
const SLOW: Duration = Duration::from_secs(1);

/// How long after its start an agent with this number tries to connect, and how long it said that it would
/// wait.
async fn attempt(doublings: u32) -> (Duration, Option<Duration>) {
    let begun = Instant::now();
    let mut machine = Machine::restarted(1, INTERVAL, doublings);
    let announced = machine.report().await.connection.retry_at.map(|at| {
        let ahead = at.parse::<Timestamp>().unwrap().duration_since(Timestamp::now());
        Duration::try_from(ahead).unwrap_or_default()
    });
    assert_eq!(begun.elapsed(), Duration::ZERO, "a look takes no virtual time");
    machine.attempt().await;
    (begun.elapsed(), announced)
}

#[test]
fn the_first_attempt_after_restarts_in_a_row_comes_when_it_was_announced() {
    run(async {
        for doublings in 2..=7 {
            let (took, announced) = attempt(doublings).await;
            let announced = announced.expect("a time of the next attempt");
            assert!(took + ROUNDED >= announced && took <= announced + SLOW, "{took:?}, not {announced:?}");
            // The seed draws at least a quarter of the longest delay.
            assert!(announced > Duration::from_millis(250) * (1 << (doublings - 1)).min(60), "{announced:?}");
        }
    });
}

#[test]
fn the_first_attempt_after_a_single_restart_is_at_once() {
    run(async {
        for doublings in [0, 1] {
            assert_eq!(attempt(doublings).await, (Duration::ZERO, None), "{doublings}");
        }
    });
}
