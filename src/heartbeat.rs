//! What a heartbeat says. It looks at snapshots that others keep fresh, and never samples.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{oneshot, watch};

use super::facts::{Facts, update};
use super::jobs::admission::Current;
use crate::wire::vitals::rounded;
use nixfleet_os::timestamp;
use nixfleet_protocol::{DeviceVitals, Heartbeat, HostSystem, Metrics};
use nixfleet_vitals::prewarm::Notice;
use nixfleet_vitals::stasysmo::{self, Reading};

/// Digits of a round trip in milliseconds behind the point: 10 µs, less than what a busy loop adds to it.
const RTT_DIGITS: i32 = 2;

/// The newest snapshots of the machine.
pub struct Snapshots {
    /// What is deployed and which agent runs.
    pub facts: watch::Receiver<Arc<Facts>>,
    /// StaSysMo's readings.
    pub metrics: watch::Receiver<Option<Reading>>,
    /// How the device is, as its meters know at that time; none if it is not measured.
    pub vitals: Box<dyn Fn(SystemTime) -> Option<Box<DeviceVitals>> + Send>,
    /// The newest pre-warm signal.
    pub prewarm: watch::Receiver<Option<Notice>>,
    /// Asks for a look at the machine. Does not wait; the receiver does, for whoever wants to.
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

    /// Makes beat number `seq`; `rtt` is how long an earlier one took to be acknowledged. The next one is
    /// made an `interval` later.
    pub fn beat(
        &self,
        current: Option<Current<'_>>,
        seq: u64,
        rtt: Option<Duration>,
        interval: Duration,
        now: SystemTime,
    ) -> Heartbeat {
        let facts = self.facts();
        let vitals = (self.vitals)(now);
        let mut update_status = facts.update_status.clone();
        if let Some(current) = current {
            let running = age(current.accepted_at, now);
            update::mark_working(&mut update_status, current.command, running, interval, current.accepted_at);
        }
        let reboot_required = vitals.as_ref().and_then(|vitals| vitals.reboot_required);
        Heartbeat {
            generation: facts.generation.clone(),
            nixpkgs_version: facts.nixpkgs_version.clone(),
            pending_command: current.map(|current| current.command.to_owned()),
            command_pid: current.and_then(|current| current.pid),
            // Its age counts at the time of the beat, not at that of the reading.
            metrics: self.metrics.borrow().as_ref().and_then(|reading| reading.fresh(now)).map(readings),
            source_commit: facts.source_commit.clone(),
            store_path: facts.store_path.clone(),
            binary_hash: facts.binary_hash.clone(),
            lock_hash: facts.lock_hash.clone(),
            update_status: Some(Box::new(update_status)),
            system: Some(Box::new(HostSystem { reboot_required, ..facts.system.clone() })),
            seq: Some(seq),
            sent_at: Some(timestamp()),
            vitals,
            ack_rtt_ms: rtt.map(|rtt| rounded(rtt.as_secs_f64() * 1e3, RTT_DIGITS)),
        }
    }
}

fn readings(values: stasysmo::Values) -> Metrics {
    let stasysmo::Values { cpu, ram, swap, load } = values;
    Metrics { cpu, ram, swap, load }
}

/// Time since `at`, RFC 3339; none if that is to come, as after the clock was set.
fn age(at: &str, now: SystemTime) -> Duration {
    let at = at.parse::<jiff::Timestamp>().map(SystemTime::from);
    at.ok().and_then(|at| now.duration_since(at).ok()).unwrap_or_default()
}
