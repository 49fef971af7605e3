//! Converts the types of `nixfleet_jobs` and `nixfleet_vitals` into messages. Neither crate knows the
//! protocol.

pub mod progress;
pub mod vitals;
