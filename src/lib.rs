//! A NixOS fleet agent whose heartbeats go on while its host rebuilds itself. This crate is the agent's
//! unprivileged process and the command line.
//!
//! ```text
//! cli.rs        the command line: run, status, doctor, logs, vitals, migrate, check-config
//! dial.rs       one attempt to connect to the dashboard
//! link.rs       the connection to the dashboard: session, back-off
//! jobs.rs       commands: admission, start, output and end
//! heartbeat.rs  content of a heartbeat
//! queries.rs    requests of the dashboard that need no job
//! facts.rs      the deployed software, and how up to date it is
//! wire.rs       progress of jobs and vitals as messages
//! observe.rs    the agent's own state: status, Prometheus, log, service manager
//! doctor.rs     diagnosis of a host
//! migrate.rs    the settings of the Go agent as settings of this one
//! unit.rs       settings of a systemd unit
//! shutdown.rs   the signal that the process is to end
//! ```
//!
//! No two modules use each other, directly or through others; `cargo xtask graph --check` verifies it.
#![cfg_attr(test, allow(clippy::string_slice, reason = "a wrong index fails the test"))]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod cli;
pub mod dial;
pub mod doctor;
pub mod facts;
pub mod heartbeat;
pub mod jobs;
pub mod link;
pub mod migrate;
pub mod observe;
pub mod queries;
pub mod shutdown;
mod unit;
pub mod wire;
