//! A gateway between agents and NATS: it ends their WebSockets, and keeps nothing that another gateway would need.
//!
//! ```text
//!            listener --> door: who is it? --> session --> bus --> NATS
//!                                                 ^ '-> directory: who is here
//! serve: start, upkeep, drain                     '---- commands <-- NATS
//! health: /healthz /readyz /metrics
//! ```
//!
//! How a fleet is kept in NATS is said by the crate `nixfleet-fleet` and docs/fleet.md.
#![cfg_attr(test, allow(clippy::string_slice, clippy::unwrap_used, reason = "a wrong index fails the test"))]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub use door::{DoorError, check_files};
pub use gate::Policy;
pub use serve::{Orders, ServeError, Serving, Stage};
pub use settings::{Settings, SettingsError};
pub use tokens::{NewToken, new_token};

mod beats;
mod bus;
mod certificate;
mod clients;
mod directory;
mod door;
mod figures;
mod gate;
mod health;
mod identity;
mod listener;
mod pem;
mod places;
mod room;
mod serve;
mod session;
mod settings;
mod tokens;
mod upkeep;
