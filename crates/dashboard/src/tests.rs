//! Rules, tested by tables, and the dashboard over real sockets.

mod browsers;
pub(super) mod client;
mod doors;
mod faults;
mod fed;
mod frames;
mod history;
mod log;
mod many;
mod newest;
mod room;
mod rules;
mod sockets;
pub(super) mod world;
