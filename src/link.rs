//! The connection to the dashboard.
//!
//! ```text
//! run.rs          the main loop: connect, session, wait, and again
//! dial.rs         one attempt to connect: TLS, the token, refusals
//! retry_after.rs  how long a busy dashboard wants to be left alone
//! reach.rs        the TCP connection of an attempt: lookup, addresses
//! blocking.rs     calls that may block, on threads of their own
//! session.rs      one connection: events in, decisions, messages out
//! agent.rs        the state that is kept from one connection to the next
//! contact.rs      says that the agent is connected, while a system is on trial
//! backoff.rs      how long to wait before the next attempt
//! network.rs      changes of this host's network
//! peer.rs         the dashboard's description of itself
//! ended.rs        why a session ended
//! ```
//!
//! `run` uses `dial`, `network` and `session`; `dial` uses `reach` and `retry_after`, and `dial` and `reach` use
//! `blocking`; `session` uses `agent`; `agent` uses `peer`, `contact` and `backoff`. No dependency goes the other way.

pub mod agent;
pub mod backoff;
mod blocking;
pub mod contact;
pub mod dial;
pub mod ended;
pub mod network;
pub mod peer;
pub mod reach;
mod retry_after;
pub mod run;
pub mod session;

/// What a target of `crates/fuzz` calls.
#[cfg(feature = "fuzzing")]
pub mod fuzzing {
    use std::time::Duration;

    use jiff::Timestamp;
    use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, header};

    /// The delay of an answer with `Retry-After` and perhaps a `Date`; see the module `retry_after`.
    pub fn retry_after(value: &[u8], date: Option<&[u8]>, now: Timestamp) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_bytes(value).ok()?);
        if let Some(date) = date {
            headers.insert(header::DATE, HeaderValue::from_bytes(date).ok()?);
        }
        super::retry_after::retry_after(&headers, now)
    }
}
