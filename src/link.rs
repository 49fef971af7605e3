//! The connection to the dashboard.
//!
//! ```text
//! run.rs       connect, session, wait, and again
//! session.rs   one connection: events in, decisions, messages out
//! agent.rs     what is kept from one connection to the next
//! dial.rs      TCP, TLS, the token, refusals
//! backoff.rs   how long to wait
//! ended.rs     how a connection ended
//! peer.rs      what the dashboard has said of itself
//! ```

pub mod agent;
pub mod backoff;
pub mod dial;
pub mod ended;
pub mod peer;
pub mod run;
pub mod session;
