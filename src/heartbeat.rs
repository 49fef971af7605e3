//! Builds heartbeats from snapshots that other threads keep up to date. Nothing is sampled here.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{oneshot, watch};

use nixfleet_protocol::{DeviceVitals, Heartbeat, HostSystem, Metrics, UpdateStatus};
use nixfleet_vitals::prewarm::Notice;
use nixfleet_vitals::stasysmo::{self, Reading};

use crate::facts::{self, Facts, update};
use crate::jobs::admission::Current;
use crate::wire::vitals::rounded;

/// Decimal places of a round trip in milliseconds: 10 µs, less than a busy event loop adds to it.
const RTT_DIGITS: i32 = 2;

/// The newest snapshots of the machine.
pub struct Snapshots {
    /// The deployed system, its checkout, and the version of the agent.
    pub facts: watch::Receiver<Arc<Facts>>,
    /// The newest reading of StaSysMo, if there is one.
    pub stasysmo: watch::Receiver<Option<Reading>>,
    /// Returns the vitals of the device at a given time; none if they are turned off.
    pub vitals: Box<dyn Fn(SystemTime) -> Option<Box<DeviceVitals>> + Send>,
    /// Says when the next heartbeat is due, so that its vitals are measured shortly before it. Does not wait.
    pub expect: Box<dyn Fn(Instant) + Send>,
    /// The newest pre-warm signal.
    pub prewarm: watch::Receiver<Option<Notice>>,
    /// Requests new facts and vitals. It does not wait; the receiver resolves when the facts are new.
    pub look: Box<dyn Fn() -> oneshot::Receiver<()> + Send>,
}

impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl Snapshots {
    /// The newest facts.
    pub fn facts(&self) -> Arc<Facts> {
        Arc::clone(&self.facts.borrow())
    }

    /// Builds the heartbeat with these facts and the sequence number `seq`. `rtt` is the round trip of the newest
    /// acknowledged one, `interval` the time until the next one.
    pub fn heartbeat(
        &self,
        facts: &Facts,
        current: Option<Current<'_>>,
        seq: u64,
        rtt: Option<Duration>,
        interval: Duration,
        now: SystemTime,
    ) -> Heartbeat {
        let mut vitals = (self.vitals)(now);
        let update_status = lights(facts, current, interval, now);
        let measured = vitals.as_ref().and_then(|vitals| vitals.reboot_required);
        let reboot_required = facts::reboot_required(facts.waits_for_boot, measured);
        if let Some(vitals) = &mut vitals {
            vitals.reboot_required = reboot_required;
        }
        Heartbeat {
            generation: facts.generation.clone(),
            nixpkgs_version: facts.nixpkgs_version.clone(),
            pending_command: current.map(|current| current.command.to_owned()),
            command_pid: current.and_then(|current| current.pid),
            // A reading can be recent when it is taken and too old when it is sent.
            metrics: self.stasysmo.borrow().as_ref().and_then(|reading| reading.fresh(now)).map(readings),
            source_commit: facts.source_commit.clone(),
            store_path: facts.store_path.clone(),
            binary_hash: facts.binary_hash.clone(),
            lock_hash: facts.lock_hash.clone(),
            update_status: Some(Box::new(update_status)),
            system: Some(Box::new(HostSystem { reboot_required, ..facts.system.clone() })),
            last_good_settings: None,
            last_error: None,
            seq: Some(seq),
            sent_at: jiff::Timestamp::try_from(now).ok().map(|now| format!("{now:.3}")),
            vitals,
            ack_rtt_ms: rtt.map(|rtt| rounded(rtt.as_secs_f64() * 1e3, RTT_DIGITS)),
            command_activity: None,
        }
    }
}

/// How up to date the host is, while the command `current` runs.
pub fn lights(
    facts: &Facts,
    current: Option<Current<'_>>,
    interval: Duration,
    now: SystemTime,
) -> UpdateStatus {
    let mut status = facts.update_status.clone();
    if let Some(current) = current {
        let running = age(current.accepted_at, now);
        update::mark_working(&mut status, current.command, running, interval, current.accepted_at);
    }
    status
}

fn readings(values: stasysmo::Values) -> Metrics {
    let stasysmo::Values { cpu, ram, swap, load } = values;
    Metrics { cpu, ram, swap, load }
}

/// Time since `at`, RFC 3339. Zero if `at` is in the future, for example after the clock was set.
fn age(at: &str, now: SystemTime) -> Duration {
    let at = at.parse::<jiff::Timestamp>().map(SystemTime::from);
    at.ok().and_then(|at| now.duration_since(at).ok()).unwrap_or_default()
}
