//! `nixfleet-agent gpu-reader`: the process that has NVIDIA's library, so that the agent has not.

use std::path::PathBuf;

use nixfleet_os::{error, signals, subprocess};
use nixfleet_vitals::gpu;
use rustix::process::Signal;

use super::Failure;

/// Answers the agent that started it, until that wants no more.
pub(super) fn run(libraries: Vec<PathBuf>) -> Result<(), Failure> {
    let socket = subprocess::attend().map_err(|err| {
        Failure::Start(format!(
            "gpu-reader works for the agent that starts it, and its standard input is no socket to one that \
             runs ({err}); nixfleet-agent vitals shows the GPUs"
        ))
    })?;
    // A service manager sends them to all processes of the agent, and a terminal hangs up on all. The agent decides.
    signals::survive(&[Signal::TERM, Signal::INT, Signal::HUP])
        .map_err(|err| Failure::Start(format!("cannot handle signals: {err}")))?;
    gpu::serve(libraries, socket).map_err(|err| Failure::Start(error::chain(&err)))
}
