use tokio::time::timeout;

use super::told::Clocks;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

async fn next(changes: &mut ClockChanges) -> Option<ClockChange> {
    timeout(Duration::from_millis(20), changes.next()).await.ok()
}

#[test]
fn a_sleep_is_a_sleep_whoever_announces_it_and_everything_else_is_a_step() {
    use ClockChange::{Slept, Stepped};

    let moment = Duration::from_millis(1);
    for (known, asleep, announced, wanted, then) in [
        (SECOND, SECOND, false, None, SECOND),
        (SECOND, SECOND, true, Some(Stepped), SECOND),
        (SECOND, 2 * SECOND, false, Some(Slept(SECOND)), 2 * SECOND),
        (SECOND, 9 * SECOND, true, Some(Slept(8 * SECOND)), 9 * SECOND),
        // Short ones are counted until they are a long one.
        (SECOND, 2 * SECOND - moment, false, None, SECOND),
        (SECOND, 2 * SECOND - moment, true, Some(Stepped), SECOND),
        // The two clocks were read at different moments.
        (SECOND, SECOND - moment, false, None, SECOND),
    ] {
        let mut now = known;
        assert_eq!(change(&mut now, asleep, announced), wanted, "{known:?} {asleep:?} {announced}");
        assert_eq!(now, then, "{known:?} {asleep:?} {announced}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_told_once_also_if_nobody_waited_when_it_came() {
    let clocks = Clocks::default();
    clocks.sleep_unannounced(3600 * SECOND);
    let mut changes = clocks.changes();
    assert_eq!(next(&mut changes).await, None, "it slept before");
    clocks.step();
    clocks.step();
    assert_eq!(next(&mut changes).await, Some(ClockChange::Stepped), "nobody waited");
    assert_eq!(next(&mut changes).await, None, "once");
    clocks.sleep(20 * SECOND);
    assert_eq!(next(&mut changes).await, Some(ClockChange::Slept(20 * SECOND)));
    assert_eq!(next(&mut changes).await, None, "once, and it is no step");
    clocks.sleep_unannounced(20 * SECOND);
    assert_eq!(next(&mut changes).await, Some(ClockChange::Slept(20 * SECOND)), "compared");
    let waiting = tokio::spawn(async move { changes.next().await });
    tokio::task::yield_now().await;
    clocks.step();
    assert_eq!(waiting.await.unwrap(), ClockChange::Stepped, "somebody waits");
    assert_eq!(next(&mut ClockChanges::default()).await, None);
}

#[tokio::test]
async fn this_host_neither_sleeps_nor_sets_its_clock_during_a_test() {
    assert_eq!(next(&mut ClockChanges::of_this_host()).await, None);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_kernel_wakes_who_waits_for_its_timer() {
    use rustix::time::{ClockId, clock_gettime};

    // No test may set the clock of its machine. A timer that expires is read in the same way as one that is cancelled.
    let mut soon = clock_gettime(ClockId::Realtime);
    soon.tv_sec += 1;
    let host = Host { booted: since_boot(), awake: Instant::now(), timer: Timer::at(soon) };
    let mut changes = ClockChanges::of(Box::new(host));
    let change = timeout(Duration::from_secs(10), changes.next()).await;
    assert_eq!(change, Ok(ClockChange::Stepped));
    assert_eq!(next(&mut changes).await, None, "it was read");
}

#[cfg(target_os = "linux")]
#[tokio::test]
#[ignore = "sets the clock of its machine: docs/reliability.md says how to run it in a virtual one"]
async fn the_kernel_announces_each_step_of_the_wall_clock() {
    use rustix::time::{ClockId, clock_gettime, clock_settime};

    let mut changes = ClockChanges::of_this_host();
    assert_eq!(next(&mut changes).await, None);
    for hours in [1, -2, 1] {
        let mut time = clock_gettime(ClockId::Realtime);
        time.tv_sec += hours * 3600;
        clock_settime(ClockId::Realtime, time).unwrap();
        let change = timeout(Duration::from_secs(10), changes.next()).await;
        assert_eq!(change, Ok(ClockChange::Stepped), "{hours} hours");
        assert_eq!(next(&mut changes).await, None, "once");
    }
}
