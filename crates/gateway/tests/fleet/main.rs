//! Real gateways and real agents on a real NATS, while something fails.
//!
//! Without a nats-server that is new enough, each test says so and passes.
#![allow(clippy::unwrap_used, clippy::string_slice, reason = "a test that cannot go on should say where")]

mod client;
mod faults;
mod gateway;
mod program;
mod rig;
mod rules;
mod tls;
