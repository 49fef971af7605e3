//! What a heartbeat says. It looks at snapshots that others keep fresh, and never samples.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::command::Current;
use crate::facts::Facts;
use crate::prewarm::Notice;
use crate::protocol::{DeviceVitals, Heartbeat};
use crate::vitals::stasysmo::Reading;

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
    /// Asks for fresh facts; does not wait for them.
    pub refresh: Box<dyn Fn() + Send>,
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

    /// Makes beat number `seq`; `rtt` is how long an earlier one took to be acknowledged.
    pub fn beat(
        &self,
        current: Option<Current<'_>>,
        seq: u64,
        rtt: Option<Duration>,
        now: SystemTime,
    ) -> Heartbeat {
        let facts = self.facts();
        Heartbeat {
            generation: facts.generation.clone(),
            nixpkgs_version: facts.nixpkgs_version.clone(),
            pending_command: current.map(|current| current.command.to_owned()),
            command_pid: current.and_then(|current| current.pid),
            // Its age counts at the time of the beat, not at that of the reading.
            metrics: self.metrics.borrow().as_ref().and_then(|reading| reading.fresh(now)),
            source_commit: facts.source_commit.clone(),
            store_path: facts.store_path.clone(),
            binary_hash: facts.binary_hash.clone(),
            lock_hash: facts.lock_hash.clone(),
            update_status: None,
            system: None,
            seq: Some(seq),
            sent_at: Some(crate::job::timestamp()),
            vitals: (self.vitals)(now),
            ack_rtt_ms: rtt.map(|rtt| (rtt.as_secs_f64() * 1e6).round() / 1e3),
        }
    }
}
