//! An agent that starts on a host without a network.

use std::io::ErrorKind;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use nixfleet_agent::facts::Facts;

use crate::dashboard::{Connection, INTERVAL, Seen};
use crate::host::Machine;
use crate::run;

/// The longest delay in the first minute.
const LONGEST: Duration = Duration::from_secs(2);

/// Timers have a resolution of a millisecond, and so has the time in the status. What passes on the clock of this
/// machine in between counts as well.
const ROUNDED: Duration = Duration::from_millis(100);

/// Refuses an attempt within the host. Returns the time to the next one, which must be the announced one.
async fn refused(machine: &mut Machine, attempt: crate::host::Attempt) -> (Duration, crate::host::Attempt) {
    let begun = Instant::now();
    attempt.refuse(ErrorKind::NetworkUnreachable);
    let report = machine.report().await;
    let at: Timestamp = report.connection.retry_at.expect("a time of the next attempt").parse().unwrap();
    let announced = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
    let next = machine.attempt().await;
    let took = begun.elapsed();
    assert!(took + ROUNDED >= announced && took <= announced + ROUNDED, "{took:?}, not {announced:?}");
    (took, next)
}

#[test]
fn an_agent_that_was_never_registered_tries_every_two_seconds_for_a_minute_and_then_as_usual() {
    run(async {
        let mut machine = Machine::new(3, INTERVAL, Facts::default(), None);
        let begun = Instant::now();
        let mut attempt = machine.attempt().await;
        let mut attempts = 1;
        // The last delay begins before the minute is over.
        while begun.elapsed() < Duration::from_secs(60) {
            let (took, next) = refused(&mut machine, attempt).await;
            assert!(took <= LONGEST + ROUNDED, "{took:?} after {attempts} attempts");
            (attempts, attempt) = (attempts + 1, next);
        }
        assert!((30..=65).contains(&attempts), "{attempts} in a minute");
        let mut longest = Duration::ZERO;
        for _ in 0..5 {
            let (took, next) = refused(&mut machine, attempt).await;
            (longest, attempt) = (longest.max(took), next);
        }
        assert!(longest > 2 * LONGEST, "{longest:?}");
        // Whoever was registered has the usual delays.
        let mut rng = fastrand::Rng::with_seed(3);
        let mut seen = Seen::default();
        let connection = Connection::open(attempt, &machine, &mut rng, &mut seen).await;
        drop(connection);
        let mut attempt = machine.attempt().await;
        let mut longest = Duration::ZERO;
        for _ in 0..12 {
            let (took, next) = refused(&mut machine, attempt).await;
            (longest, attempt) = (longest.max(took), next);
        }
        assert!(longest > 2 * LONGEST, "{longest:?}");
    });
}
