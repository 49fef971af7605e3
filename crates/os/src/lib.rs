//! Functions of the operating system that the other crates share: reading small files, running small
//! programs, hashing, time stamps, errors as text, text that is safe to show. Nothing here depends on fleets, jobs or settings.

mod boot;
pub mod bounded_read;
pub mod error;
pub mod service_manager;
pub mod sha256;
pub mod subprocess;
#[cfg(any(test, feature = "test-util"))]
pub mod test_util;
pub mod text;
mod time;

pub use boot::boot_id;
pub use time::timestamp;
