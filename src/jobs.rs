//! The agent's side of jobs. The processes belong to their supervisors (`nixfleet_jobs`).
//!
//! ```text
//! admission.rs     what a command's name stands for, and whether it may start now
//! answered.rs      requests that were answered, in case one is repeated
//! table.rs         the accepted jobs, which of them is running, and what the dashboard still has to get
//! resume.rs        what an earlier agent left, at the start
//! executor.rs      launches jobs, ends them and saves their records, on threads
//! launcher.rs      starts and signals a supervisor
//! follower.rs      reads the folder of a job as it grows
//! first_clone.rs   when to clone a missing checkout without a request
//! ```

pub mod admission;
pub mod answered;
pub mod executor;
pub mod first_clone;
pub mod follower;
pub mod launcher;
pub mod resume;
pub mod table;

#[cfg(test)]
pub(crate) mod captured_log;
