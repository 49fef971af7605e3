//! Deterministic simulation of the agent: its real code on virtual time, with a seeded network, disk, clock and
//! dashboard. One thread, one seed, the same run each time.
//!
//! ```text
//! faults.rs     what can happen, as a list that can be made shorter
//! generate.rs   schedules from seeds
//! kept.rs       schedules that failed once
//! run.rs        one run, from an empty disk to a host at rest
//! audit.rs      what must hold, from the wire, the programs and the disk alone
//! shrink.rs     a shorter schedule that fails, too
//! site.rs       the host: starts the real agent and real supervisors
//! dashboard.rs  the dashboard
//! network.rs    connections in memory
//! machine.rs    the machine: clock, faults, trace; below it processes, threads as coroutines, the disk and what a
//!               power cut leaves of it, and the programs that supervisors run
//! storm.rs      something else: ten thousand agents that return after an outage
//! ```

mod audit;
mod dashboard;
mod faults;
mod generate;
mod kept;
mod machine;
mod network;
mod run;
mod shrink;
mod site;
pub mod storm;

pub use faults::Schedule;
pub use kept::kept;
pub use run::{Outcome, run};
pub use shrink::shrink;
