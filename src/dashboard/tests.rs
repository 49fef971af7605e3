//! The rules in tables, and the dashboard over real sockets.

mod asks;
mod client;
mod faults;
mod rules;
mod sockets;
