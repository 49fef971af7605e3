//! `nixfleet-agent gpu-reader`: the process that has NVIDIA's library, so that the agent has not.

use std::path::PathBuf;

use nixfleet_os::{error, subprocess};
use nixfleet_vitals::gpu;

use super::Failure;

/// Answers the agent that started it, until that wants no more.
pub(super) fn run(libraries: Vec<PathBuf>) -> Result<(), Failure> {
    let socket = subprocess::attend().map_err(|err| {
        let why = error::chain(&err);
        Failure::Start(format!("gpu-reader is started by the agent, for which there is nothing to do: {why}"))
    })?;
    gpu::serve(libraries, socket).map_err(|err| Failure::Start(error::chain(&err)))
}
