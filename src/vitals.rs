//! What the host's own meters say. No module here knows a heartbeat: each publishes its newest
//! reading with its age, and a beat takes what is there.

pub mod stasysmo;
