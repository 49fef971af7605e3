//! Taking a new system back that cuts the host off: a dead man's switch.
//!
//! ```text
//! supervisor: build -> trial.json -> start the guard -> switch-to-configuration test -> trial.json -> wait
//! agent:      reads trial.json, connects anew, writes contact.json
//! guard:      reads both -> checks -> profile and boot loader, or the system before again -> guard.json
//! ```
//!
//! The new system is activated without being made that of the next boot. The *guard*, a process that belongs neither
//! to the agent nor to the job, waits for the proof that the host can be reached. With the proof it sets the profile and
//! installs the boot loader; without it, it activates the system before. Until then a reset does the same as the
//! guard: it boots the system before, and nothing has to be written to the boot partition for that.
//!
//! Each file has one writer. The agent has no rights: its file can say "I am connected" and nothing else.

mod actions;
mod contact;
mod decision;
#[cfg(test)]
pub(crate) mod examples;
mod fate;
mod guard;
mod launch;
mod roots;
mod state;
mod trial;

pub use contact::Contact;
pub use fate::{is_open, told};
pub use guard::{Guard, GuardError, Step, is_guarded, run};
pub use launch::start;
pub use roots::{pin, unpin};
pub use state::{Decision, GuardState, Kind, Stage};
pub use trial::{Activation, Begun, Trial, TrialCheck};

/// Milliseconds since the machine was booted: the unit of all times in these files.
pub fn now_ms() -> u64 {
    u64::try_from(nixfleet_os::since_boot().as_millis()).unwrap_or(u64::MAX)
}
