//! A server's side of the WebSockets of agents: what a dashboard and a gateway have in common.
//!
//! ```text
//! HTTP --> upgrade --> Socket --> run --- texts, pings ---> Rules (a hub in memory, or a fleet's engine)
//!                        ^         ^                          |
//!                        '- Wire   '----- Link: a queue <-----'
//! ```
//!
//! * `upgrade` ends HTTP, and drops what HTTP has used of the connection.
//! * `wire` is the connection, which can hold back pongs; `socket` the WebSocket on it, with memory only while it is not
//!   silent.
//! * `session` is the task of one connection, with its limits; `ended` is how it is closed. What is said on it, and what
//!   follows from that, is decided by [`Rules`].
//! * `link` is what others hold of a connection: a queue to it, and a way to cut it.
//! * `verdicts` says of each command that was sent whether the agent accepted it, and which lines are repeats.
#![cfg_attr(test, allow(clippy::string_slice, reason = "a wrong index fails the test"))]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub use ended::{Ended, refuse};
pub use link::{Full, Link, Outgoing, REPLACED};
pub use pings::Pings;
pub use session::{Controls, REGISTER_LIMIT, Rules, Times, run};
pub use socket::{MAX_MESSAGE, MAX_SENT_FRAME, Socket};
pub use upgrade::{Upgrade, begin};
pub use verdicts::{Evidence, Verdict, Verdicts};
pub use wire::{Stream, Wire};

mod ended;
mod jobs;
mod link;
mod pings;
mod session;
mod socket;
mod upgrade;
mod verdicts;
mod wire;

#[cfg(test)]
mod tests;
