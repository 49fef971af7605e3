//! Who gets in, with a real NATS behind the dashboard.

#![allow(clippy::unwrap_used, reason = "a wrong step fails the test")]

mod client;
mod password;
mod program;
mod proxy;
