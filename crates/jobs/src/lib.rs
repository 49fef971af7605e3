//! Commands as jobs: each has a folder, a supervisor process and a life of its own.
//!
//! ```text
//! agent --launcher--> supervisor (exec-job) --spawns--> the command's steps
//!   ^                     | spec.json  log.jsonl  state.json  result.json
//!   '----- follower ------'
//! ```
//!
//! The agent is never the parent of a command. It has a supervisor started, which owns the pipes and
//! writes everything to the job's folder, and follows that folder. A restart, crash or upgrade of the agent, or the loss of the network, touches none of
//! it: the command runs on, its log has no hole, its result is there to be read.
//!
//! This is the side that root runs. It knows no dashboard, no message and no runtime.

pub mod atomic_file;
pub mod checkout;
pub mod format;
pub mod git;
pub mod history;
mod id;
pub mod journal;
pub mod lines;
mod paths;
pub mod progress;
pub mod record;
pub mod settings;
mod signal;
pub mod spec;
pub mod supervisor;
#[cfg(any(test, feature = "test-util"))]
pub mod test_util;
mod urgency;

pub use id::{BadInstance, BadJobId, Instance, JobId, MAX_COMMAND_NAME};
pub use paths::{JobDir, JobsDir};
pub use settings::Settings;
pub use signal::{SignalError, signal_supervisor};
pub use urgency::Urgency;

#[cfg(test)]
mod tests;
