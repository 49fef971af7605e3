//! Commands on the agent's side: the jobs themselves belong to their supervisors (`nixfleet_jobs`).
//!
//! ```text
//! admission.rs     what a name stands for, and whether it may start now
//! table.rs         accepted commands, the slot, what is still to be told
//! executor.rs      orders to the disk and to the launcher, on threads
//! launcher.rs      how a supervisor is started and signalled
//! follower.rs      what a job wrote, as it grows
//! first_clone.rs   the clone that nobody asks for
//! ```

pub mod admission;
pub mod executor;
pub mod first_clone;
pub mod follower;
pub mod launcher;
pub mod table;
