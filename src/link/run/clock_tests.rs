//! The main loop on a host that sleeps, whose clock is set or whose secrets are replaced, in virtual time.

use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::DuplexStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::Exit;
use crate::dial::failure::rows::rows;
use crate::dial::{Connect, ConnectError, Dialled};
use crate::link::clock_changes::told::Clocks;
use crate::link::rotation::told::Asker;
use crate::link::session::tests::rig::Rig;

const SECOND: Duration = Duration::from_secs(1);

/// What becomes of every attempt.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// Nobody answers, for ever.
    Hangs,
    /// The dashboard's certificate is not valid yet.
    NotValidYet,
    /// 401 of a dashboard with another time.
    OtherTime,
    /// The same as [`Self::NotValidYet`], after this time.
    NotValidYetAfter(Duration),
    Refused,
    /// 503 with `Retry-After`.
    Busy(Duration),
}

#[derive(Debug, Clone)]
struct Network {
    fate: Fate,
    attempts: Arc<Mutex<Vec<Instant>>>,
}

impl Connect for Network {
    type Stream = DuplexStream;

    async fn connect(&self) -> Result<Dialled<DuplexStream>, ConnectError> {
        self.attempts.lock().unwrap().push(Instant::now());
        let example = |name| {
            let row = rows().into_iter().find(|row| row.name == name);
            Err(row.expect("the row").example)
        };
        let not_valid_yet = || example("not_yet_valid");
        match self.fate {
            Fate::Hangs => pending().await,
            Fate::NotValidYet => not_valid_yet(),
            Fate::OtherTime => example("wrong_token_or_clock"),
            Fate::NotValidYetAfter(time) => {
                sleep(time).await;
                not_valid_yet()
            }
            Fate::Refused => {
                let refused = io::ErrorKind::ConnectionRefused.into();
                Err(ConnectError::Unreachable("dash.example:443".to_owned(), refused))
            }
            Fate::Busy(after) => Err(ConnectError::Busy(StatusCode::SERVICE_UNAVAILABLE, Some(after))),
        }
    }
}

struct Loop {
    clocks: Clocks,
    asker: Asker,
    network: Network,
    shutdown: watch::Sender<bool>,
    running: JoinHandle<Exit>,
}

impl Loop {
    /// An agent that has tried for ten minutes, so that the delays are long.
    async fn start(fate: Fate) -> Self {
        fastrand::seed(7);
        let (mut agent, clocks) = Rig::agent(30 * SECOND).await;
        let (asker, rotation) = Asker::new();
        agent.rotation = rotation;
        let network = Network { fate, attempts: Arc::default() };
        let (shutdown, stop) = watch::channel(false);
        let dial = network.clone();
        let running = tokio::spawn(async move { agent.run(&dial, stop).await });
        sleep(600 * SECOND).await;
        Self { clocks, asker, network, shutdown, running }
    }

    /// Waits until an attempt was just made, so that the next one is far.
    async fn after_an_attempt(&self) {
        loop {
            let before = self.count();
            sleep(SECOND).await;
            if self.count() == before + 1 {
                let attempts = self.count();
                sleep(5 * SECOND).await;
                if self.count() == attempts {
                    return;
                }
            }
        }
    }

    fn count(&self) -> usize {
        self.network.attempts.lock().unwrap().len()
    }

    /// How many attempts are made in this time.
    async fn attempts_in(&self, time: Duration) -> usize {
        let before = self.count();
        sleep(time).await;
        self.count() - before
    }

    async fn stop(self) {
        self.shutdown.send_replace(true);
        assert_eq!(self.running.await.unwrap(), Exit::Shutdown);
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_wakes_up_tries_within_a_second_and_starts_its_delays_over() {
    let tries = Loop::start(Fate::Refused).await;
    tries.after_an_attempt().await;
    tries.clocks.sleep(3600 * SECOND);
    assert_eq!(tries.attempts_in(SECOND).await, 1);
    let more = tries.attempts_in(14 * SECOND).await;
    assert!(more >= 3, "{more} attempts: below 2, 4 and 8 s");
    tries.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_naps_all_the_time_does_not_flood_the_dashboard() {
    let tries = Loop::start(Fate::Refused).await;
    let before = tries.count();
    for _ in 0..60 {
        tries.clocks.sleep(2 * SECOND);
        sleep(SECOND).await;
    }
    let attempts = tries.count() - before;
    assert!((8..40).contains(&attempts), "{attempts} in a minute");
    tries.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_sleep_does_not_shorten_what_a_busy_dashboard_asked_for() {
    let tries = Loop::start(Fate::Busy(500 * SECOND)).await;
    while tries.attempts_in(SECOND).await == 0 {}
    tries.clocks.sleep(100 * SECOND);
    assert_eq!(tries.attempts_in(395 * SECOND).await, 0, "it had asked for 500 s");
    assert_eq!(tries.attempts_in(7 * SECOND).await, 1, "the sleep counts");
    tries.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_during_which_the_host_slept_begins_anew() {
    let tries = Loop::start(Fate::Hangs).await;
    assert_eq!(tries.count(), 1);
    tries.clocks.sleep(20 * SECOND);
    assert_eq!(tries.attempts_in(SECOND).await, 1);
    assert_eq!(tries.attempts_in(600 * SECOND).await, 0);
    tries.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_step_of_the_clock_helps_only_a_failure_that_is_about_the_time() {
    for (fate, attempts) in [(Fate::NotValidYet, 1), (Fate::OtherTime, 1), (Fate::Refused, 0)] {
        let tries = Loop::start(fate).await;
        tries.after_an_attempt().await;
        tries.clocks.step();
        assert_eq!(tries.attempts_in(SECOND).await, attempts, "{fate:?}");
        tries.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_during_an_attempt_counts_for_the_next_one() {
    let long = 20 * SECOND;
    let tries = Loop::start(Fate::NotValidYetAfter(long)).await;
    // In an attempt: the delays before it are up to 60 s.
    while tries.attempts_in(SECOND).await == 0 {}
    tries.clocks.step();
    sleep(long - SECOND).await;
    assert_eq!(tries.attempts_in(2 * SECOND).await, 1);
    tries.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_again_and_again_makes_no_storm() {
    let tries = Loop::start(Fate::NotValidYet).await;
    let before = tries.count();
    for _ in 0..600 {
        tries.clocks.step();
        sleep(SECOND / 10).await;
    }
    let attempts = tries.count() - before;
    assert!((8..40).contains(&attempts), "{attempts} in a minute");
    tries.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_new_secrets_gets_an_attempt_at_once() {
    let tries = Loop::start(Fate::Refused).await;
    tries.after_an_attempt().await;
    tries.asker.ask();
    assert_eq!(tries.attempts_in(SECOND / 10).await, 1);
    assert_eq!(tries.attempts_in(SECOND).await, 0, "one request, one attempt");
    tries.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_new_secrets_does_not_shorten_what_a_busy_dashboard_asked_for() {
    let tries = Loop::start(Fate::Busy(500 * SECOND)).await;
    while tries.attempts_in(SECOND).await == 0 {}
    tries.asker.ask();
    assert_eq!(tries.attempts_in(495 * SECOND).await, 0, "it had asked for 500 s");
    assert_eq!(tries.attempts_in(7 * SECOND).await, 1);
    tries.stop().await;
}
