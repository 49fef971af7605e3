//! The NixOS fleet agent that does not go dark.
//!
//! The modules in alphabetical order; ARCHITECTURE.md has them in the order in which a heartbeat
//! and a command pass through them.

pub mod agent;
pub mod backoff;
pub mod cli;
pub mod command;
pub mod config;
pub mod connect;
#[cfg(feature = "mock-dashboard")]
pub mod dashboard;
#[cfg(feature = "mock-dashboard")]
pub mod demo;
pub mod device;
pub mod doctor;
pub mod errands;
pub mod error;
pub mod facts;
mod files;
pub mod heartbeat;
pub mod job;
pub mod metrics;
pub mod prewarm;
mod program;
pub mod protocol;
pub mod server;
pub mod service;
pub mod session;
pub mod status;
pub mod telemetry;
pub mod vitals;
pub mod work;
