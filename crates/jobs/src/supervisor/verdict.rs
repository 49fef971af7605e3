//! What the result of a command means for people: by the exit code, the lines of the programs, the system and its
//! units before and after, and the checkout.
//!
//! [`Watch`] looks at the machine before the programs and behind them. [`decision`] is pure: from all of that it makes
//! the outcome and the message. docs/outcomes.md has every message, written by a test.

use crate::Settings;
use crate::git::short;
use crate::history::deploys;
use crate::spec::{JobResult, Outcome, capitalized};
use crate::supervisor::plan::is_home_manager;
use crate::system_state::SystemState;

mod active;
mod decision;
mod texts;
mod units;
mod watch;

#[cfg(test)]
mod tests;

use decision::Case;
pub(super) use watch::Watch;

/// Whether the last step of the command is a rebuild, which `switch-to-configuration` ends.
fn rebuilds(command: &str) -> bool {
    deploys(command) || command == "boot"
}

/// Whether a full disk may be the reason why a step of the command failed. The steps of other commands are programs of
/// the operator.
fn needs_room(command: &str) -> bool {
    rebuilds(command) || matches!(command, "pull" | "clone" | "update")
}

/// Refines outcome and message by facts other than the exit code. `before` is HEAD of the checkout before the command.
pub(super) fn judge(
    settings: &Settings,
    command: &str,
    result: &mut JobResult,
    watch: Watch,
    before: Option<&str>,
) {
    if result.outcome == Outcome::Ok && result.message.is_empty() {
        let boots = watch.change.as_deref().filter(|_| command == "boot").map(|change| &change.after);
        result.message = match boots {
            Some(after) => prepared(result, after),
            None => succeeded(command, result, before),
        };
    }
    if needs_room(command) {
        let case = Case { settings, command, result, watch: &watch };
        let (outcome, message) = case.decide();
        (result.outcome, result.message) = (outcome, message);
        if outcome == Outcome::Failed && result.exit_code == 0 {
            result.exit_code = 1;
        }
    }
    if command == "rollback" && result.outcome == Outcome::Failed && is_home_manager(settings) {
        // Older releases fail with a usage message.
        result.message += "; home-manager can roll back from release 25.11 on";
    }
    result.system = watch.into_change();
}

/// The message of a `boot` that succeeded, with the machine behind it.
fn prepared(result: &JobResult, after: &SystemState) -> String {
    let what = result.commit.as_deref().and_then(short).unwrap_or_else(|| "the new system".to_owned());
    match after.boots.as_deref().filter(|boots| Some(*boots) != after.profile.as_deref()) {
        None => format!("Boot: {what} runs from the next boot on"),
        // For example, the firmware's variables name another entry.
        Some(other) => format!(
            "Boot: {what} is in the profile, but the next boot runs {}: the boot loader's default is another one; see \
             `bootctl list`",
            texts::system(other)
        ),
    }
}

/// The message of a command whose steps all succeeded.
fn succeeded(command: &str, result: &JobResult, before: Option<&str>) -> String {
    let short = result.commit.as_deref().and_then(short);
    match (command, short) {
        ("clone", Some(short)) if before.is_none() => format!("Clone: Cloned {short}"),
        ("pull" | "clone", Some(short)) if before == result.commit.as_deref() => {
            format!("{}: Already at {short}", capitalized(command))
        }
        ("pull", Some(short)) => format!("Pull: Updated to {short}"),
        ("switch" | "pull-switch", Some(short)) => format!("{}: Deployed {short}", capitalized(command)),
        _ => format!("{}: ok", capitalized(command)),
    }
}
