//! `nixfleet-agent migrate`: the settings of the Go agent of a host as settings of this agent, and what will be
//! different on that host.
//!
//! ```text
//! old.rs        reads the old unit and the variables it sets
//! host.rs       looks at what else matters: keys, checkout, sudo rules
//! users.rs      paths and users of the host
//! plan.rs       the plan: new settings and differences
//! compare.rs    makes the plan; no I/O
//! repository.rs decides about the repository; no I/O
//! services.rs   decides about units, users and what they leave behind; no I/O
//! text.rs       the new settings as TOML and as options of the NixOS module
//! write.rs      writes the settings file
//! ```
//!
//! Only `write.rs` changes files. The token itself is not kept, only the place where it is.

mod compare;
mod host;
mod old;
mod plan;
mod repository;
mod services;
mod text;
mod users;
mod write;

pub use compare::{TOKEN_FILE, compare};
pub use host::Host;
pub use old::{Old, Places};
pub use plan::{Difference, Plan};
pub use text::{nix, toml};
pub use users::below;
pub use write::write;
