//! Converts the types of `nixfleet_jobs`, `nixfleet_vitals` and `nixfleet_config` into messages. None of these
//! crates knows the protocol.

pub mod progress;
pub mod settings;
pub mod vitals;
