//! Which system runs behind a rebuild, by the links before and after, and by the lines of the rebuild.

use crate::supervisor::switch_lines::SwitchLines;
use crate::system_state::SystemChange;

/// What became of the new system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Active {
    /// It runs.
    New,
    /// The system that ran was activated once more.
    Again,
    /// Its activation began, and the system that ran before is still the running one.
    Cut,
    /// It was activated as far as is known; nobody knows which system runs.
    Probably,
    /// It was not activated.
    No,
}

impl Active {
    pub(super) fn of(change: &SystemChange, lines: &SwitchLines) -> Self {
        let SystemChange { before, after, .. } = change;
        match (&before.running, &after.running) {
            (Some(before), Some(after)) if before != after => Self::New,
            (Some(_), Some(running)) if lines.has_begun() => {
                let is_profile = after.profile.as_ref() == Some(running);
                // With a specialisation, the profile names the system that contains it.
                if is_profile || lines.handling_units { Self::Again } else { Self::Cut }
            }
            (Some(_), Some(_)) => Self::No,
            // The first system of this host that has a link.
            (None, Some(_)) => Self::New,
            (_, None) if lines.has_begun() => Self::Probably,
            (_, None) => Self::No,
        }
    }
}
