//! What to do with a system on trial. Pure code: it gets facts, and gives an action.

use std::path::Path;

use super::contact::Contact;
use super::state::Stage;
use super::trial::{Activation, Begun, Trial};

/// Exit code of switch-to-configuration if units could not be started, stopped or reloaded. The new system is active.
const UNITS_FAILED: i32 = 4;

/// Checks are not run again with less time than this, in milliseconds: they would be ended, and say nothing.
const LEAST_TIME_MS: u64 = 1000;

/// What is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) trial: &'a Trial,
    pub(super) stage: Stage,
    /// Why it goes back, if it does.
    pub(super) reason: &'a str,
    /// Boot in which this is decided.
    pub(super) boot_id: Option<&'a str>,
    /// Milliseconds since that boot.
    pub(super) now_ms: u64,
    /// The system that runs; none if that cannot be read.
    pub(super) running: Option<&'a Path>,
    pub(super) supervisor_lives: bool,
    pub(super) contact: Option<&'a Contact>,
    pub(super) checks: &'a Checks,
}

/// What the checks said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Checks {
    /// They were not run yet.
    #[default]
    NotRun,
    /// All succeeded.
    Passed,
    /// One of them did not, as this text says. They may be run again at that time.
    Failed(String, u64),
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Look again later.
    Wait,
    /// Run the checks.
    Check,
    /// The system is confirmed.
    Commit,
    /// Activate the system before, for this reason.
    GoBack(String),
    /// The activation changed nothing.
    Leave,
    /// The machine was booted since: the boot has decided.
    Rebooted,
}

/// Decides. A step that has begun is completed: going on with it is always right, and leaving it half done never is.
pub(super) fn decide(facts: &Facts<'_>) -> Action {
    let trial = facts.trial;
    if trial.is_of_another_boot(facts.boot_id) {
        return Action::Rebooted;
    }
    match facts.stage {
        Stage::Committing => return Action::Commit,
        Stage::GoingBack => return Action::GoBack(facts.reason.to_owned()),
        Stage::Watching => {}
    }
    let Some(end) = trial.activation else {
        return match trial.begun {
            _ if facts.supervisor_lives => Action::Wait,
            Begun::Asking | Begun::Armed => Action::Leave,
            Begun::Activating => {
                Action::GoBack("the supervisor of the command was killed during the activation".to_owned())
            }
        };
    };
    // If nobody knows what runs, it may be the new system.
    let changed = facts.running != Some(&trial.previous);
    match end.code {
        0 => {}
        _ if !changed => return Action::Leave,
        UNITS_FAILED => {}
        code => return Action::GoBack(format!("the activation failed: {}", meaning(code))),
    }
    let left_ms = trial.deadline_ms().unwrap_or_default().saturating_sub(facts.now_ms);
    let in_time = left_ms > 0;
    match missing(facts, end) {
        None => match facts.checks {
            _ if trial.checks.is_empty() => Action::Commit,
            Checks::Passed => Action::Commit,
            Checks::NotRun if in_time => Action::Check,
            Checks::Failed(_, again_ms)
                if in_time && *again_ms <= facts.now_ms && left_ms >= LEAST_TIME_MS =>
            {
                Action::Check
            }
            Checks::Failed(..) if in_time => Action::Wait,
            Checks::NotRun => late(trial, "there was no time for the checks"),
            Checks::Failed(what, _) => late(trial, what),
        },
        Some(_) if in_time => Action::Wait,
        Some(what) => late(trial, &what),
    }
}

fn late(trial: &Trial, what: &str) -> Action {
    Action::GoBack(format!("it was not confirmed within {} s: {what}", trial.confirm_timeout_s))
}

/// What the exit code of an activation that is taken back means.
fn meaning(code: i32) -> String {
    match code {
        2 => "an activation script failed (exit code 2)".to_owned(),
        101 => "its program broke off (exit code 101)".to_owned(),
        129.. => format!("it was killed by signal {}", code - 128),
        _ => format!("exit code {code}"),
    }
}

/// What of the proof by the connection is missing.
fn missing(facts: &Facts<'_>, end: Activation) -> Option<String> {
    let newer =
        |contact: &&Contact| contact.boot_id.as_deref() == facts.boot_id && contact.opened_ms >= end.ended_ms;
    let Some(contact) = facts.contact.filter(newer) else {
        return Some("the agent did not try to connect anew".to_owned());
    };
    let Some(registered) = contact.registered_ms.filter(|at| *at >= contact.opened_ms) else {
        return Some("the dashboard accepted no registration on a new connection".to_owned());
    };
    let held = contact.heard_ms.unwrap_or_default().saturating_sub(registered);
    let hold_s = facts.trial.hold_s;
    (contact.heard_ms.is_none() || held < hold_s.saturating_mul(1000)).then(|| {
        format!("the new connection to the dashboard did not hold for {hold_s} s, but for {} s", held / 1000)
    })
}

#[cfg(test)]
mod tests;
