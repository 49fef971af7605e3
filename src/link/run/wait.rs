//! The wait for the next attempt to connect, and everything that needs no connection meanwhile.

use std::future::pending;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use nixfleet_os::time::length;

use crate::link::agent::Agent;
use crate::link::backoff::Terms;
use crate::link::clock_changes::ClockChange;
use crate::link::network::Network;
use crate::observe::status::Queue;
use crate::shutdown::stop_requested;

/// What ends a wait early.
#[derive(Debug)]
pub(super) enum Interrupt {
    /// The agent has to stop.
    Stop,
    /// The wall clock was set.
    Stepped,
    /// The host slept for so long.
    Slept(Duration),
}

/// The wait for the next attempt to connect.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) delay: Duration,
    /// Part of it, for which the dashboard wants to be left alone, whatever happens to this host.
    pub(super) patience: Duration,
}

impl From<Duration> for Wait {
    fn from(delay: Duration) -> Self {
        Self { delay, patience: Duration::ZERO }
    }
}

/// What ends a wait.
#[derive(Debug)]
enum Woken {
    /// It is over.
    Due,
    /// Somebody wants what proves who this host is to be read anew.
    Asked,
    /// The network of this host has changed.
    NetworkChanged,
}

impl Agent {
    /// Waits for the next attempt, which is due after `wait.delay`, or earlier if this host changes so that it may
    /// succeed. `stepped`: the wall clock was set during the last attempt. Returns `None` if the agent has to stop.
    pub(super) async fn pause(
        &mut self,
        shutdown: &mut watch::Receiver<bool>,
        network: &Network,
        wait: Wait,
        mut stepped: bool,
    ) -> Option<()> {
        let mut now = Instant::now();
        let mut due = now + wait.delay;
        let mut patient_until = now + wait.patience;
        loop {
            let from = self.reconnect.fresh_start_from(now);
            let changed = async {
                match from {
                    Some(from) => sleep_until(from).await,
                    None => pending().await,
                }
                // A change that was announced since the last fresh start is still there.
                network.changed().await;
            };
            let asked = self.rotation.asked();
            let woken = pin!(async move {
                tokio::select! {
                    biased;
                    () = asked => Woken::Asked,
                    () = sleep_until(due) => Woken::Due,
                    () = changed => Woken::NetworkChanged,
                }
            });
            let waited = match std::mem::take(&mut stepped) {
                true => Err(Interrupt::Stepped),
                false => self.wait_for(shutdown, woken).await,
            };
            now = Instant::now();
            let change = match waited {
                Ok(Woken::Due) => return Some(()),
                // The next attempt reads everything anew.
                Ok(Woken::Asked) => {
                    due = due.min(patient_until.max(now));
                    self.history.retry_in(due - now);
                    self.rotation.answer_without_connection(rounded(due - now));
                    continue;
                }
                Ok(Woken::NetworkChanged) => None,
                Err(Interrupt::Stop) => return None,
                Err(Interrupt::Slept(time)) => {
                    patient_until = patient_until.checked_sub(time).unwrap_or(now);
                    Some(format!("This host slept for {}.", length(time)))
                }
                Err(Interrupt::Stepped) if self.reconnect.is_about_time() => {
                    Some("The clock of this host was set.".to_owned())
                }
                Err(Interrupt::Stepped) => {
                    tracing::debug!("The clock of this host was set.");
                    continue;
                }
            };
            let from = self.reconnect.fresh_start_at(now).max(patient_until);
            if from < due {
                // All hosts of a site see its network return. Each host sleeps and has a clock for itself.
                let terms = if change.is_none() { self.terms() } else { self.at_once() };
                due = due.min(from + self.reconnect.start_over(Terms { now: from, ..terms }));
                let retry_in = rounded(due - now);
                self.history.retry_in(due - now);
                match change {
                    None => self.outage.network_changed(retry_in, now),
                    Some(change) => tracing::info!(?retry_in, "{change}"),
                }
            }
        }
    }

    /// The host slept during an attempt to connect, which is given up: nobody knows what became of its packets.
    pub(super) fn begin_anew(&mut self, slept: Duration) -> Wait {
        let delay = self.start_over(Instant::now());
        self.history.retry_in(delay);
        let slept = length(slept);
        tracing::info!(retry_in = ?rounded(delay), "This host slept for {slept}. The attempt to connect begins anew.");
        Wait { delay, patience: Duration::ZERO }
    }

    /// Starts the delays over as soon as they may be. Returns how long the next attempt has to wait.
    pub(super) fn start_over(&mut self, now: Instant) -> Duration {
        let from = self.reconnect.fresh_start_at(now);
        from - now + self.reconnect.start_over(Terms { now: from, ..self.at_once() })
    }

    /// Waits for `future`, and meanwhile handles everything that needs no connection. An error says that something
    /// else came first; the future can be waited for again.
    pub(super) async fn wait_for<T>(
        &mut self,
        shutdown: &mut watch::Receiver<bool>,
        mut future: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Interrupt> {
        loop {
            let wake =
                [self.watchdog.next(), self.clone_due(), self.limiter.due()].into_iter().flatten().min();
            tokio::select! {
                biased;
                () = stop_requested(shutdown) => return Err(Interrupt::Stop),
                change = self.clock_changes.next() => match change {
                    ClockChange::Stepped => return Err(Interrupt::Stepped),
                    ClockChange::Slept(time) => {
                        self.slept(time, Instant::now());
                        return Err(Interrupt::Slept(time));
                    }
                },
                output = &mut future => return Ok(output),
                // A stop request that waits for its job to be launched must not wait for a connection too.
                Some(event) = self.executor_events.recv() => drop(self.executor_event(event)),
                Some(ask) = self.asks.recv() => self.answer(ask, Queue::default(), Instant::now()),
                () = async { match wake { Some(at) => sleep_until(at).await, None => pending().await } } => {
                    self.watchdog.feed(Instant::now());
                    self.limiter.flush(Instant::now());
                    self.clone_if_missing(Instant::now());
                }
            }
        }
    }

    /// What the next delay depends on beside what happened.
    pub(super) fn terms(&self) -> Terms {
        // During a trial the dashboard has to do with one host, and not with all of them.
        let window = if self.contact.is_open() { Duration::ZERO } else { self.peer.reconnect_window() };
        Terms { now: Instant::now(), window, draw: fastrand::f64() }
    }

    /// The same, for a change that only this host knows of: the dashboard's window does not count.
    pub(super) fn at_once(&self) -> Terms {
        Terms { window: Duration::ZERO, ..self.terms() }
    }
}

/// In whole milliseconds, for the log.
pub(super) fn rounded(delay: Duration) -> Duration {
    Duration::from_millis(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
}
