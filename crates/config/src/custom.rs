//! Validates the custom commands of the operator.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use nixfleet_os::short;

use crate::check::Checker;
use crate::file::{Command, Step};
use crate::{CustomCommand, CustomStep};

/// Names of built-in commands. Custom commands cannot have them.
pub(super) const BUILT_IN: &[&str] = &[
    "clone",
    "pull",
    "switch",
    "pull-switch",
    "boot",
    "test",
    "rollback",
    "update",
    "stop",
    "kill",
    "restart",
    "reboot",
    "check-version",
    "refresh-git",
    "refresh-lock",
    "refresh-system",
    "refresh-all",
];

/// Longest name, in bytes. It becomes part of the name of a systemd unit, together with a job id.
const MAX_NAME: usize = 32;

/// Time limit of a command in seconds. No build takes longer than a week; a larger number is probably in
/// milliseconds.
const TIMEOUT: RangeInclusive<i64> = 1..=7 * 24 * 3600;

/// Longest description, in bytes. It is one line on a page.
const MAX_DESCRIPTION: usize = 256;

/// Validates all custom commands.
pub(super) fn commands(
    check: &mut Checker<'_>,
    given: &BTreeMap<String, Command>,
) -> BTreeMap<String, CustomCommand> {
    short::gather(given.iter().map(|(name, given)| (name.clone(), command(check, name, given))))
}

fn command(check: &mut Checker<'_>, name: &str, given: &Command) -> CustomCommand {
    let section = format!("commands.{name}");
    if BUILT_IN.contains(&name) {
        check.refuse(&section, "is a command that the agent has itself", "choose another name");
    } else if !is_name(name) {
        let fix = format!("choose up to {MAX_NAME} lower-case letters, digits and hyphens, such as backup");
        check.refuse(&section, "is not a name for a command", fix);
    }
    let key = |name: &str| format!("{section}.{name}");
    let step = |check: &mut Checker<'_>, key: &str, argv: &[String], activation: bool| CustomStep {
        argv: check.program(key, argv),
        activation: activation || given.activation,
    };
    let steps = match (&given.run, &given.steps) {
        (Some(argv), None) => vec![step(check, &key("run"), argv, false)],
        (None, Some(steps)) if !steps.is_empty() => steps
            .iter()
            .map(|given| match given {
                Step::Words(argv) => step(check, &key("steps"), argv, false),
                Step::Table(table) => step(check, &key("steps"), &table.run, table.activation),
            })
            .collect(),
        (Some(_), Some(_)) => {
            check.refuse(&section, "has both run and steps", "keep one of them");
            Vec::new()
        }
        (None, _) => {
            // A value of a wrong type was removed from the settings and is reported on its own.
            if !check.has_problem_below(&section) {
                check.refuse(&section, "has no steps", "write run = [\"PROGRAM\", \"ARGUMENT\"]");
            }
            Vec::new()
        }
    };
    variables(check, &key("env"), &given.env);
    CustomCommand {
        steps,
        timeout: given.timeout.map(|seconds| check.seconds(&key("timeout"), seconds, TIMEOUT)),
        killable: given.killable,
        cwd: given.cwd.as_deref().filter(|cwd| !cwd.is_empty()).map(|cwd| check.path(&key("cwd"), cwd)),
        env: given.env.clone(),
        description: check.label(&key("description"), &given.description, MAX_DESCRIPTION),
    }
}

/// Checks variables for a program.
pub(super) fn variables(check: &mut Checker<'_>, key: &str, given: &BTreeMap<String, String>) {
    if given.iter().any(|(name, value)| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0'))
    {
        check.refuse(key, "holds a name or a value that no variable can have", "leave out = and NUL");
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && !name.starts_with('-')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
