//! Faults that are planted into the code, so that the simulator and the models can show that they find them. There are
//! none without the feature `planted-faults`, and `planted!` is then the constant `false`.

#[cfg(feature = "planted-faults")]
use std::cell::Cell;

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

/// Whether this fault is active on this thread.
#[cfg(feature = "planted-faults")]
pub fn is_active(name: &str) -> bool {
    ACTIVE.get() == name
}
