//! Commands as jobs: each job has a folder and a supervisor process of its own.
//!
//! ```text
//! agent --launcher--> supervisor (exec-job) --spawns--> the command's steps
//!   ^                     | spec.json  log.jsonl  state.json  result.json
//!   '----- follower ------'
//! ```
//!
//! The agent is never the parent of a command. It starts a supervisor and then follows the job's folder. The
//! supervisor owns the command's pipes and writes everything to that folder. A restart, crash or upgrade of
//! the agent, or a loss of the network, does not affect the job: the command continues, its log is complete,
//! and its result can be read afterwards.
//!
//! This crate runs as root. It knows no dashboard, no messages and no async runtime.
#![cfg_attr(test, allow(clippy::string_slice, reason = "a wrong index fails the test"))]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod activation;
pub mod atomic_file;
pub mod boot_entry;
pub mod checkout;
pub mod damage;
pub mod format;
pub mod git;
pub mod history;
mod id;
pub mod journal;
pub mod lines;
pub mod next_boot;
mod outcome;
mod paths;
#[cfg(target_os = "linux")]
mod process_list;
pub mod progress;
pub mod record;
pub mod remains;
pub mod rollback;
mod secrets;
pub mod settings;
mod signal;
pub mod spec;
pub mod supervisor;
pub mod system_state;
#[cfg(any(test, feature = "test-util"))]
pub mod test_util;
mod urgency;

pub use id::{BadInstance, BadJobId, Instance, JobId, MAX_COMMAND_NAME};
pub use paths::{Folder, JobDir, JobsDir};
pub use settings::Settings;
pub use signal::{SignalError, signal_supervisor};
pub use urgency::Urgency;

#[cfg(test)]
mod tests;
