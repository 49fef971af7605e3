//! Functions of the operating system that the other crates share: reading small files, running small
//! programs, hashing, time stamps, errors as text, text that is safe to show, addresses without their secrets,
//! what certificates say, sizes for people, the commit of the build, short lists in order, and disk, clock, threads and
//! processes as handles. Nothing here depends on fleets, jobs or settings.
#![cfg_attr(test, allow(clippy::string_slice, reason = "a wrong index fails the test"))]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod address;
mod boot;
pub mod bounded_read;
mod build_commit;
pub mod certificate;
pub mod clock;
pub mod core_dump;
pub mod disk;
pub mod error;
pub mod failed_units;
mod machine;
#[cfg(feature = "models")]
pub mod model;
pub mod planted;
pub mod processes;
pub mod service_manager;
pub mod sha256;
pub mod short;
pub mod signals;
mod size;
pub mod subprocess;
pub mod sync;
#[cfg(any(test, feature = "test-util"))]
pub mod test_util;
pub mod text;
pub mod threads;
pub mod time;
pub mod unit_states;

pub use boot::{boot_id, boot_id_on};
pub use build_commit::{build_commit, long_version};
pub use clock::Clock;
pub use disk::Disk;
pub use machine::Machine;
pub use processes::Processes;
pub use size::size;
pub use threads::Threads;
pub use time::{since_boot, timestamp};
