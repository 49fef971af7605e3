//! The NixOS fleet agent that does not go dark: its unprivileged side and its command line.
//!
//! ```text
//! cli.rs        the command line: run, status, doctor, logs, vitals, check-config
//! link.rs       the connection to the dashboard: dial, session, wait, again
//! jobs.rs       commands: admitted, started, followed, told to the dashboard
//! heartbeat.rs  what a heartbeat says
//! queries.rs    questions of the dashboard, answered without a job
//! facts.rs      what is deployed, and how up to date it is
//! wire.rs       jobs and vitals as messages
//! observe.rs    what others see of the agent: status, Prometheus, log, service manager
//! doctor.rs     what is wrong with a host
//! ```
//!
//! Modules use those below them, never the other way round; `cargo xtask graph --check` says so.

pub mod cli;
pub mod doctor;
pub mod facts;
pub mod heartbeat;
pub mod jobs;
pub mod link;
pub mod observe;
pub mod queries;
pub mod shutdown;
pub mod wire;
