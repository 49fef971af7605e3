//! The mapping against a real server. Without one the tests have nothing to do, which they say.
#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

mod logins;
mod race;
mod rig;
mod store;
mod talk;
