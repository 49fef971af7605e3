//! The real binary against the mock dashboard, in real time with bounds.

#![allow(clippy::unwrap_used, clippy::string_slice, reason = "a test that cannot go on should say where")]

mod acks;
mod activation;
mod agent_killed;
mod bad_input;
mod bursts;
mod command;
mod completion;
mod configuration;
mod conversation;
mod damaged_log;
mod doctor;
mod heartbeat;
mod job;
mod journald;
mod late_stop;
mod launch;
mod limits;
mod line_numbers;
mod logs;
mod migrate;
mod migration;
mod network;
mod one_result;
mod output;
mod progress;
mod reconnect;
mod repository;
mod rig;
mod secrets;
mod shutdown;
mod slot;
mod soak;
mod status;
mod stop;
mod supervisor_killed;
mod systemctl;
mod t01;
mod t03;
mod tls;
mod token;
mod usage;
mod vitals;
