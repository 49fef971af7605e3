//! Faults that are planted into the code, so that the simulator, the models and the chaos tests can show that they find
//! them. There are none without the feature `planted-faults`, and `planted!` is then the constant `false`.
//!
//! The simulator and the models activate a fault for a thread, and the chaos tests for a process and all that it starts,
//! by the variable `PLANTED_FAULT`.

#[cfg(feature = "planted-faults")]
use std::cell::{Cell, RefCell};
#[cfg(feature = "planted-faults")]
use std::sync::OnceLock;

/// The variable with the name of the fault that is active in a process. It does not begin with `NIXFLEET_`, which is
/// the beginning of a setting's name.
#[cfg(feature = "planted-faults")]
pub const VARIABLE: &str = "PLANTED_FAULT";

/// Whether the planted fault of this name is active: always false without the feature `planted-faults`.
#[cfg(not(feature = "planted-faults"))]
#[macro_export]
macro_rules! planted {
    ($name:literal) => {
        false
    };
}

/// Whether the planted fault of this name is active.
#[cfg(feature = "planted-faults")]
#[macro_export]
macro_rules! planted {
    ($name:literal) => {
        $crate::planted::is_active($name)
    };
}

#[cfg(feature = "planted-faults")]
thread_local! {
    /// The fault that is active on this thread; empty: none.
    static ACTIVE: Cell<&'static str> = const { Cell::new("") };
}

/// Activates one fault on this thread, or none with an empty name.
#[cfg(feature = "planted-faults")]
pub fn activate(name: &'static str) {
    ACTIVE.set(name);
}

/// Whether this fault is active on this thread or in this process.
#[cfg(feature = "planted-faults")]
pub fn is_active(name: &str) -> bool {
    static OF_PROCESS: OnceLock<Option<String>> = OnceLock::new();
    let of_process = || OF_PROCESS.get_or_init(|| std::env::var(VARIABLE).ok());
    ACTIVE.get() == name || of_process().as_deref() == Some(name)
}

#[cfg(feature = "planted-faults")]
thread_local! {
    /// What a fault has kept.
    static KEPT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps a text for a fault; returns the one before.
#[cfg(feature = "planted-faults")]
pub fn keep(text: &str) -> Option<String> {
    KEPT.replace(Some(text.to_owned()))
}

/// Keeps nothing: there are no faults.
#[cfg(not(feature = "planted-faults"))]
pub fn keep(_: &str) -> Option<String> {
    None
}
