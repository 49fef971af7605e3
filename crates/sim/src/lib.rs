//! Deterministic simulation of the agent: its real code on virtual time, with a seeded network, disk, clock and
//! dashboard. One thread, one seed, the same run each time.
//!
//! ```text
//! faults.rs     what can happen, as a list that can be made shorter
//! generate.rs   schedules from seeds
//! run.rs        one run, from an empty disk to a host at rest
//! audit.rs      what must hold, from the wire, the programs and the disk alone
//! shrink.rs     a shorter schedule that fails, too
//! site.rs       the host: starts the real agent and real supervisors
//! dashboard.rs  the dashboard
//! network.rs    connections in memory
//! world.rs      the machine: clock, faults, trace
//! process.rs    a process, and its handles for the seam of `nixfleet-os`
//! files.rs      the disk, and what a power cut leaves of it
//! programs.rs   the programs that supervisors run
//! threads.rs    threads as coroutines
//! ```

mod audit;
mod dashboard;
mod faults;
mod files;
mod generate;
mod network;
mod process;
mod programs;
mod run;
mod shrink;
mod site;
mod threads;
mod world;

pub use faults::Schedule;
pub use run::{Outcome, run};
pub use shrink::shrink;
