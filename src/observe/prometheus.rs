//! The page that Prometheus reads: its text format, version 0.0.4. docs/metrics.md lists every name.
//!
//! ```text
//! agent.rs      the agent's own figures: its connection, heartbeats, queues, process
//! command.rs    the running command, and how the last ones ended
//! software.rs   what is deployed, and how up to date the host is
//! host.rs       measurements of the host
//! gpu.rs        measurements of its GPUs
//! text.rs       families and samples as text
//! ```
//!
//! The page is made from snapshots, and only when somebody asks for it. What is unknown, or too old to be true now, has
//! no sample: no number stands for something that was not measured.

use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;

use nixfleet_vitals::gpu::Snapshot;
use nixfleet_vitals::workload::Workload;
use nixfleet_vitals::{Moment, Vitals};

use super::status::Report;
use crate::facts::Facts;
use text::Text;

mod agent;
mod command;
mod gpu;
mod host;
mod software;
mod text;

#[cfg(test)]
mod tests;

/// Content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Prefix of what is known about the agent and its commands.
const AGENT: &str = "nixfleet_agent_";

/// Prefix of what is known about the host.
const HOST: &str = "nixfleet_host_";

/// What is known about the host beside the agent's report.
#[derive(Debug, Clone)]
pub struct Look {
    /// The measurements, without those that are too old.
    pub vitals: Vitals,
    /// The newest reading of the GPUs. It may be too old.
    pub gpus: Option<Snapshot>,
    /// What a local program said last about its work. It may be too old.
    pub workload: Option<Workload>,
    /// The host's software.
    pub facts: Arc<Facts>,
    /// When all of this was taken together.
    pub at: Timestamp,
    /// The same moment on the clocks of the measurements.
    pub moment: Moment,
}

impl Look {
    fn fresh_gpus(&self) -> Option<&Snapshot> {
        self.gpus.as_ref().filter(|snapshot| snapshot.fresh(SystemTime::from(self.at)).is_some())
    }

    fn fresh_workload(&self) -> Option<&Workload> {
        self.workload.as_ref().filter(|workload| workload.is_fresh(SystemTime::from(self.at)))
    }
}

/// The page for a report and a look at the host.
pub fn page(report: &Report, look: &Look) -> String {
    let mut text = Text::new(AGENT);
    agent::all(&mut text, report, &look.facts);
    command::all(&mut text, report, look.at);
    text.under(HOST);
    software::all(&mut text, report, look);
    host::all(&mut text, look);
    gpu::all(&mut text, look);
    text.under(AGENT);
    text.finish()
}
