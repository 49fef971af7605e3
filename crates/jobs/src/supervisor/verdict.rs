//! What the result of a command means for people: by the exit code, the running system and the checkout.

use crate::Settings;
use crate::git::short;
use crate::history::deploys;
use crate::spec::{JobResult, Outcome, capitalized};

/// Refines outcome and message by facts other than the exit code. `before` is HEAD of the checkout before the command.
pub(super) fn judge(settings: &Settings, command: &str, result: &mut JobResult, before: Option<&str>) {
    let system_changed = result.system_before != result.system_after;
    let activated = result.exit_code == 4 || (result.exit_code == 2 && system_changed);
    if deploys(command) && result.outcome == Outcome::Failed && activated {
        result.outcome = Outcome::ActivatedWithFailures;
        result.message = format!(
            "{}: the new system is active, but some units failed (exit code {}); see `systemctl --failed`",
            capitalized(command),
            result.exit_code
        );
    }
    let home_manager = settings.host_type == "macos" && settings.rebuild.program.is_none();
    if command == "rollback" && result.outcome == Outcome::Failed && home_manager {
        // Older releases fail with a usage message.
        result.message += "; home-manager can roll back from release 25.11 on";
    }
    if result.outcome == Outcome::Ok && result.message.is_empty() {
        let short = result.commit.as_deref().and_then(short);
        result.message = match (command, short) {
            ("clone", Some(short)) if before.is_none() => format!("Clone: Cloned {short}"),
            ("pull" | "clone", Some(short)) if before == result.commit.as_deref() => {
                format!("{}: Already at {short}", capitalized(command))
            }
            ("pull", Some(short)) => format!("Pull: Updated to {short}"),
            ("switch" | "pull-switch", Some(short)) => {
                format!("{}: Deployed {short}", capitalized(command))
            }
            _ => format!("{}: ok", capitalized(command)),
        };
    }
}
