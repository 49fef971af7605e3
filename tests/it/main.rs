//! The real binary against the mock dashboard, in real time with bounds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod acks;
mod agent_killed;
mod bad_input;
mod command;
mod configuration;
mod conversation;
mod doctor;
mod heartbeat;
mod job;
mod journald;
mod logs;
mod network;
mod output;
mod progress;
mod reconnect;
mod repository;
mod rig;
mod status;
mod stop;
mod t01;
mod t03;
mod tls;
mod vitals;
