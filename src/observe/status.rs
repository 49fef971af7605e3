//! How the agent itself is doing: the answer to `nixfleet-agent status`, and the source of the page for
//! Prometheus.
//!
//! ```text
//! nixfleet-agent status --Unix socket--> serve --Ask--> the agent's loop --Report--> serve --JSON--> client
//! Prometheus ------------------HTTP----> http  ---'
//!
//! report.rs    the report and its parts
//! host.rs      its part about the host's software
//! ask.rs       questions to the agent's loop
//! recent.rs    what the loop remembers for reports
//! process.rs   memory, processor time and open files of the agent's process
//! serve.rs     answers on the Unix socket
//! client.rs    asks an agent of this host
//! ```
//!
//! The loop owns the whole state and answers between two events, so a report is consistent without a lock,
//! and a heartbeat that is due comes first. Values that need a file are added by the task that serves the
//! client.

mod ask;
pub mod client;
mod host;
mod process;
pub mod recent;
mod report;
pub mod serve;

pub use ask::{ASKS, Ask, Asker, Source};
pub use host::{HostReport, LIGHTS, Light, Lights};
pub use process::ProcessUsage;
pub use report::{
    CertificateReport, Collector, Connection, Finished, PartProgress, Queue, Report, Running,
    RunningActivity, Server, State,
};
