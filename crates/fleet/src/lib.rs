//! How a fleet is kept in NATS: the contract between gateways, dashboards and command lines.
//!
//! ```text
//! gateway --- beat ------> bucket beats      a key that expires with its host     ---> readers
//!         --- register --> bucket hosts      the newest facts of each host        --->
//!         --- claim -----> bucket owners     which gateway has which connection   --->
//!         --- said ------> stream log        lines, ends, progress of commands    --->
//!         --- ended -----> stream status     the newest ends of each host, longer --->
//!         <-- fleet.cmd.HOST --------------- a request with a reply               <--- whoever commands
//! ```
//!
//! docs/fleet.md says the same for programs in other languages. `names` has all names, `layout` what the buckets and
//! streams are like, `connect` the way to NATS, `settings` how programs are told it; the others are one kind of entry each.
#![cfg_attr(test, allow(clippy::string_slice, reason = "a wrong index fails the test"))]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub use beat::{Beat, BeatAt};
pub use command::{AskError, Reply, Request, VERDICT_LIMIT, ask};
pub use connect::{ConnectError, Login, Options, connect};
pub use eviction::Eviction;
pub use facts::FactsError;
pub use layout::{Layout, LayoutError, Sizes};
pub use owner::{Claim, Left, Owner, OwnerError};
pub use presence::Presence;
pub use said::{Said, said};
pub use standing::Standing;

mod beat;
mod command;
mod connect;
mod envelope;
mod eviction;
pub mod facts;
mod layout;
pub mod names;
mod owner;
pub mod presence;
mod said;
pub mod settings;
mod standing;

#[cfg(test)]
mod tests;
