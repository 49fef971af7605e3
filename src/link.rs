//! The connection to the dashboard.
//!
//! ```text
//! run.rs            the main loop: connect, session, wait, and again
//! session.rs        one connection: events in, decisions, messages out
//! agent.rs          the state that is kept from one connection to the next
//! alarm.rs          wakes a session when it has something to do
//! absence.rs        why there was no connection, for the next heartbeat
//! contact.rs        says that the agent is connected, while a system is on trial
//! backoff.rs        how long to wait before the next attempt
//! network.rs        changes of this host's network
//! clock_changes.rs  changes of its clocks: it slept, or the wall clock was set
//! rotation.rs       another token, client certificate or proxy login while the agent runs
//! postponed.rs      requests for the next connection
//! peer.rs           the dashboard's description of itself
//! ended.rs          why a session ended
//! ```
//!
//! `run` uses `network` and `session`; `session` uses `agent`; `agent` uses `peer`, `contact`, `absence`, `backoff`,
//! `rotation`, `postponed`, `alarm` and `clock_changes`. No dependency goes the other way.

pub mod absence;
pub mod agent;
pub mod alarm;
pub mod backoff;
pub mod clock_changes;
pub mod contact;
pub mod ended;
pub mod network;
pub mod peer;
pub mod postponed;
pub mod rotation;
pub mod run;
pub mod session;
