//! How the agent shows its own state to people and other programs.
//!
//! ```text
//! stats.rs        counters
//! status.rs       the answer to `nixfleet-agent status`
//! prometheus.rs   the same as text for Prometheus
//! http.rs         serves that text
//! accept.rs       accepts connections for both
//! systemd.rs      readiness and watchdog
//! telemetry.rs    the log
//! outage.rs       what the log says while there is no connection
//! journald.rs     priorities of log lines and errors in the systemd journal
//! ```

mod accept;
pub mod http;
pub mod journald;
pub mod limiter;
mod log_line;
pub mod outage;
pub mod prometheus;
pub mod stats;
pub mod status;
pub mod systemd;
pub mod telemetry;
