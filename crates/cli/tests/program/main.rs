//! The program itself, on a real NATS, with hosts that say what a test wants.
//!
//! Without a nats-server that is new enough, each test says so and passes.
#![allow(clippy::unwrap_used, clippy::string_slice, reason = "a test that cannot go on should say where")]

mod hosts;
mod logs;
mod rig;
mod run;
mod settings;
mod stop;
mod watch;
