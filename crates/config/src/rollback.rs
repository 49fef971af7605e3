//! Validates when a new system is taken back.

use std::ops::RangeInclusive;

use crate::check::Checker;
use crate::{Check, Rollback};

/// Seconds within which a new system must be confirmed. In less than 5 no agent restarts, connects and registers.
/// More than an hour is no protection: somebody has driven to the host by then.
const CONFIRM_TIMEOUT: RangeInclusive<i64> = 5..=3600;

/// Seconds for which a connection must hold. A connection that holds for ten minutes will hold.
const HOLD: RangeInclusive<i64> = 0..=600;

/// Seconds that a check may take.
const CHECK_TIMEOUT: RangeInclusive<i64> = 1..=600;

/// Most checks. A longer list belongs into a script.
const MAX_CHECKS: usize = 32;

pub(super) fn rollback(check: &mut Checker<'_>) -> Rollback {
    const CHECKS: &str = "rollback.checks";
    let given = &check.layers.settings.rollback;
    if given.checks.len() > MAX_CHECKS {
        check.refuse_value(CHECKS, format!("has more than {MAX_CHECKS} entries"));
    }
    let confirm_timeout = given
        .confirm_timeout
        .map(|seconds| check.seconds("rollback.confirm_timeout", seconds, CONFIRM_TIMEOUT));
    let hold = check.seconds("rollback.hold", given.hold, HOLD);
    let is_valid = given.confirm_timeout.is_some_and(|seconds| CONFIRM_TIMEOUT.contains(&seconds));
    if let Some(timeout) = confirm_timeout.filter(|timeout| is_valid && *timeout <= hold) {
        let what = format!(
            "{} s is not less than rollback.confirm_timeout, which is {} s, so no system could be confirmed",
            hold.as_secs(),
            timeout.as_secs()
        );
        check.refuse("rollback.hold", what, "set it some way below, such as to 10");
    }
    if given.confirm_timeout.is_none() && !given.checks.is_empty() {
        let what = "has no effect without rollback.confirm_timeout";
        check.warn(CHECKS, what, "set that to a number of seconds such as 180, or remove the checks");
    }
    if cfg!(target_os = "macos") && confirm_timeout.is_some() {
        let what = "has no effect on macOS, where no system is activated";
        check.warn("rollback.confirm_timeout", what, "remove it");
    }
    Rollback {
        confirm_timeout,
        hold,
        checks: given
            .checks
            .iter()
            .map(|given| Check {
                argv: check.program(CHECKS, &given.run),
                timeout: check.seconds(CHECKS, given.timeout, CHECK_TIMEOUT),
            })
            .collect(),
    }
}
