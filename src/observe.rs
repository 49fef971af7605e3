//! What others see of the agent.
//!
//! ```text
//! stats.rs        what it counts of itself
//! status.rs       the answer to `nixfleet-agent status`
//! prometheus.rs   the same as text for Prometheus
//! http.rs         where Prometheus finds it
//! systemd.rs      readiness, watchdog
//! telemetry.rs    its log
//! journald.rs     priorities of log lines and errors in the systemd journal
//! ```

pub mod http;
pub mod journald;
pub mod prometheus;
pub mod stats;
pub mod status;
pub mod systemd;
pub mod telemetry;
