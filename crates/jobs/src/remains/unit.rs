//! The activation that a job whose supervisor died left in the service manager, as [`UNIT`].
//!
//! Nothing ends it: it is below PID 1, and an activation must not be stopped half-way. It is awaited.

use std::time::{Duration, Instant};

use super::{ACTIVATION_TIMEOUT, TICK};
use crate::JobDir;
use crate::activation::{Activations, UNIT, clients};
use crate::atomic_file::load_on;
use crate::history::is_rebuild;
use crate::spec::{Spec, State};

/// How long the unit of a supervisor that has just died may take to appear. Its client may have asked for it in the
/// last moment; the service manager starts a unit within some ten milliseconds.
const APPEARING: Duration = Duration::from_millis(500);

/// What became of the activation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftUnit {
    /// There was none.
    None,
    /// It has ended. The running system is this one, if that is known.
    Ended(Option<String>),
    /// It goes on: the unit with its process.
    GoesOn(String),
}

impl LeftUnit {
    /// What happened, as the end of a sentence about the job; None if there was no such activation.
    pub fn describe(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Ended(system) => {
                let system = system.as_deref().unwrap_or("unknown");
                Some(format!(
                    "the activation went on without it in {UNIT} and has ended; the running system is {system}"
                ))
            }
            Self::GoesOn(unit) => Some(format!("the activation goes on without it in {unit}")),
        }
    }
}

/// Whether the job was replacing the system when its supervisor died, in the boot with this id.
fn was_rebuilding(dir: &JobDir, boot_id: Option<&str>) -> bool {
    let spec: Option<Spec> = load_on(dir.disk(), &dir.spec()).ok().flatten();
    let state: Option<State> = load_on(dir.disk(), &dir.state()).ok().flatten();
    let (Some(spec), Some(state)) = (spec, state) else { return false };
    spec.boot_id.as_deref() == boot_id && is_rebuild(&spec.command, &state.step_name)
}

/// Waits for the activation that one of these jobs left in the service manager, 10 min at most. `just_died`: it may
/// still be about to begin. `go_on` is asked meanwhile; if it returns false, the wait ends. `begun` is called once if
/// there is something to wait for.
pub fn await_unit(
    jobs: &[JobDir],
    activations: &Activations,
    boot_id: Option<&str>,
    just_died: bool,
    go_on: impl Fn() -> bool,
    begun: impl FnOnce(&Activations),
) -> LeftUnit {
    if !jobs.iter().any(|dir| was_rebuilding(dir, boot_id)) {
        return LeftUnit::None;
    }
    let since = Instant::now();
    while !activations.unit_is_active() {
        if !just_died || since.elapsed() >= APPEARING || !go_on() {
            return LeftUnit::None;
        }
        std::thread::sleep(TICK);
    }
    // What the dead supervisor had started has ended by now. So a client that waits for the unit belongs to somebody
    // else.
    if clients().is_some_and(|clients| !clients.is_empty()) {
        return LeftUnit::None;
    }
    begun(activations);
    while activations.unit_is_active() {
        if since.elapsed() >= ACTIVATION_TIMEOUT || !go_on() {
            return LeftUnit::GoesOn(activations.describe_unit());
        }
        std::thread::sleep(TICK);
    }
    LeftUnit::Ended(activations.running_system().map(|system| system.display().to_string()))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
