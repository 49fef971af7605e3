//! What `boot` changed: the profile, and what the boot loader starts next. The running system stays as it is.

use crate::Settings;
use crate::git::short;
use crate::spec::{JobResult, Outcome};
use crate::system_state::{SystemChange, SystemState};

/// The machine before the command; none for another command.
pub(super) struct Boot(Option<SystemState>);

impl Boot {
    pub(super) fn before(settings: &Settings, command: &str) -> Self {
        Self((command == "boot").then(|| SystemState::without_units(&settings.system)))
    }

    /// Adds what the command changed to its result, and says it in the message.
    pub(super) fn judge(self, settings: &Settings, result: &mut JobResult) {
        let Some(before) = self.0 else { return };
        let after = SystemState::without_units(&settings.system);
        judge(result, &before, &after);
        result.system = Some(Box::new(SystemChange { before, after, ..SystemChange::default() }));
    }
}

fn judge(result: &mut JobResult, before: &SystemState, after: &SystemState) {
    let other = after.boots.as_deref().filter(|boots| Some(*boots) != after.profile.as_deref());
    match result.outcome {
        Outcome::Ok => {
            let what =
                result.commit.as_deref().and_then(short).unwrap_or_else(|| "the new system".to_owned());
            result.message = match other {
                None => format!("Boot: {what} runs from the next boot on"),
                // For example, the firmware's variables name another entry.
                Some(other) => format!(
                    "Boot: {what} is in the profile, but the next boot runs {}: the boot loader's default is another one; \
                     see `bootctl list`",
                    other.display()
                ),
            };
        }
        // The profile is set before the boot loader is installed, and nothing comes behind that.
        Outcome::Failed if before.profile != after.profile && after.profile.is_some() => {
            result.outcome = Outcome::BootloaderFailed;
            let boots = match &after.boots {
                Some(boots) => format!("the next boot runs {}", boots.display()),
                None => "nobody knows what the next boot runs".to_owned(),
            };
            result.message += &format!("; the profile was changed, and {boots}");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_message_says_what_the_next_boot_runs() {
        let state = |profile: &str, boots: Option<&str>| SystemState {
            profile: Some(profile.into()),
            boots: boots.map(PathBuf::from),
            ..SystemState::default()
        };
        let before = state("/a", Some("/a"));
        let failed = "Boot: boot failed with exit code 1: No space left on device";
        let cases = [
            (Outcome::Ok, state("/b", Some("/b")), Outcome::Ok, "Boot: 1d91f2b runs from the next boot on".to_owned()),
            (Outcome::Ok, state("/b", None), Outcome::Ok, "Boot: 1d91f2b runs from the next boot on".to_owned()),
            (
                Outcome::Ok,
                state("/b", Some("/a")),
                Outcome::Ok,
                "Boot: 1d91f2b is in the profile, but the next boot runs /a: the boot loader's default is another one; \
                 see `bootctl list`"
                    .to_owned(),
            ),
            (Outcome::Failed, state("/a", Some("/a")), Outcome::Failed, failed.to_owned()),
            (
                Outcome::Failed,
                state("/b", Some("/a")),
                Outcome::BootloaderFailed,
                format!("{failed}; the profile was changed, and the next boot runs /a"),
            ),
            (
                Outcome::Failed,
                state("/b", None),
                Outcome::BootloaderFailed,
                format!("{failed}; the profile was changed, and nobody knows what the next boot runs"),
            ),
            (Outcome::Stopped, state("/b", None), Outcome::Stopped, failed.to_owned()),
        ];
        for (outcome, after, expected, message) in cases {
            let message_before = if outcome == Outcome::Ok { "" } else { failed };
            let mut result = JobResult::without_supervisor(outcome, message_before.to_owned(), 0);
            result.commit = Some("1d91f2b4c0ffee00000000000000000000000001".to_owned());
            judge(&mut result, &before, &after);
            assert_eq!((result.outcome, result.message), (expected, message));
        }
    }
}
