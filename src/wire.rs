//! Where the types of jobs and vitals become messages. Neither of the two knows the wire.

pub mod progress;
pub mod vitals;
