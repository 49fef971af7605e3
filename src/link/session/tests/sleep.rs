//! Hosts that sleep.

use std::time::Duration;

use tokio::time::Instant;

use super::rig::Rig;
use crate::link::ended::Ended;
use crate::link::session::sleep::AWAKE_TIMEOUT;
use crate::link::session::{PING_INTERVAL, SILENCE};

const INTERVAL: Duration = Duration::from_secs(3600);

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_long_sleep_ends_the_connection_at_once_whoever_announces_it() {
    for (announced, slept) in [(true, SILENCE), (true, 8 * INTERVAL), (false, 8 * INTERVAL)] {
        let mut rig = Rig::live(INTERVAL, &[]).await;
        let begun = Instant::now();
        if announced {
            rig.clocks.sleep(slept);
        } else {
            rig.clocks.sleep_unannounced(slept);
        }
        let ended = rig.ended().await;
        assert!(matches!(ended, Ended::Slept(time) if time == slept), "{ended:?}");
        // Without an announcement, the next ping wakes the agent.
        let within = if announced { Duration::ZERO } else { PING_INTERVAL };
        assert!(begun.elapsed() <= within, "{:?} after a sleep of {slept:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn silence_before_a_sleep_counts_with_it() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    rig.yield_now().await;
    let held = rig.hold();
    // No time for an answer: nothing is read meanwhile.
    tokio::time::sleep(SILENCE - 10 * SECOND).await;
    rig.clocks.sleep(11 * SECOND);
    let ended = rig.ended().await;
    assert!(matches!(ended, Ended::Slept(_)), "{ended:?}");
    assert!(rig.elapsed() < SILENCE, "{:?}", rig.elapsed());
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_survived_a_short_sleep_goes_on_with_one_heartbeat() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    rig.pong().await;
    let begun = Instant::now();
    rig.clocks.sleep(20 * SECOND);
    rig.pong_to_next_ping().await;
    let beat = rig.heartbeat_at().await;
    assert!(beat - begun < SECOND, "{:?}", beat - begun);
    // The next one is that of the schedule.
    let next = rig.heartbeat_at().await;
    assert!(next - begun > INTERVAL - 2 * SECOND, "{:?}", next - begun);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_did_not_survive_a_short_sleep_is_given_up_soon() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    rig.pong().await;
    let begun = Instant::now();
    rig.clocks.sleep(20 * SECOND);
    let ended = rig.swallow().await;
    assert!(matches!(ended, Ended::LostInSleep(time) if time == 20 * SECOND), "{ended:?}");
    assert_eq!(begun.elapsed(), AWAKE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn what_came_before_the_sleep_does_not_show_that_the_connection_lives() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    rig.pong().await;
    // Still in the kernel when the host wakes up.
    rig.texts(&[r#"{"type":"from_the_future","payload":{}}"#]).await;
    rig.clocks.sleep(20 * SECOND);
    let ended = rig.swallow().await;
    assert!(matches!(ended, Ended::LostInSleep(_)), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn several_sleeps_in_a_row_count_together() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    rig.pong().await;
    rig.clocks.sleep(20 * SECOND);
    rig.yield_now().await;
    rig.clocks.sleep(20 * SECOND);
    rig.yield_now().await;
    rig.clocks.sleep(20 * SECOND);
    let ended = rig.swallow().await;
    assert!(matches!(ended, Ended::Slept(time) if time == 60 * SECOND), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_registration_goes_on_after_a_short_sleep() {
    let mut rig = Rig::start(30 * SECOND).await;
    rig.clocks.sleep(20 * SECOND);
    rig.accept_registration(&[]).await;
    for _ in 0..4 {
        rig.heartbeat().await;
    }
    assert!(rig.elapsed() > 2 * AWAKE_TIMEOUT, "{:?}", rig.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_step_of_the_wall_clock_changes_nothing() {
    let mut rig = Rig::live(30 * SECOND, &[]).await;
    let begun = Instant::now();
    for n in 1..10 {
        rig.clocks.step();
        rig.clocks.step();
        rig.heartbeat().await;
        assert_eq!(begun.elapsed(), 30 * SECOND * n);
    }
}
