//! How up to date the host is (protocol.md 3, `update_status`): what the last commands did against what
//! is there now. Pure; [`super`] looks and remembers.
//!
//! `git` is not judged here: only the dashboard knows the remote.

use std::path::Path;
use std::time::Duration;

use nixfleet_jobs::git::short;
use nixfleet_jobs::history::{History, Last, deploys};
use nixfleet_jobs::spec::Outcome;
use nixfleet_protocol::{UpdateState, UpdateStatus, Verdict};

use super::generation::{DIRTY, deployed};

#[cfg(test)]
mod tests;

/// How long a running command may be shown as [`UpdateState::Working`]: existing dashboards allow the
/// system so much. It is shown until the next beat takes it back.
pub const WORKING: Duration = Duration::from_secs(4 * 60);

/// What is there now.
#[derive(Debug, Clone, Copy, Default)]
pub struct Now<'a> {
    /// Whether there is a checkout to speak of, by the configuration.
    pub configured: bool,
    /// HEAD of the checkout, in full.
    pub commit: Option<&'a str>,
    /// SHA-256 of its flake.lock.
    pub lock_hash: Option<&'a str>,
    /// The system that runs.
    pub system: Option<&'a Path>,
    /// The commit it says it was made from, shortened, and [`DIRTY`] if it says that as well.
    pub revision: Option<&'a str>,
}

type Light = (UpdateState, String);

fn light(status: UpdateState, message: impl Into<String>) -> Light {
    (status, message.into())
}

/// Judges all parts. Where a light says the same as `before` it keeps its time, unless `checked`: then
/// somebody asked, or a command ended.
pub fn judge(
    history: &History,
    now: Now<'_>,
    before: &UpdateStatus,
    checked: bool,
    at: &str,
) -> UpdateStatus {
    let verdict = |(status, message): Light, before: &Verdict| {
        let same = before.status == status && before.message == message && !before.checked_at.is_empty();
        let checked_at = if same && !checked { before.checked_at.clone() } else { at.to_owned() };
        Verdict { status, message, checked_at }
    };
    UpdateStatus {
        git: Verdict::default(),
        lock: verdict(lock(history, now), &before.lock),
        system: verdict(system(history, now), &before.system),
        tests: verdict(tests(history, now), &before.tests),
    }
}

/// The content of flake.lock against what the last pull brought.
fn lock(history: &History, now: Now<'_>) -> Light {
    let failed = history.pull.as_ref().filter(|pull| pull.outcome != Outcome::Ok && now.configured);
    if let Some(pull) = failed {
        return light(UpdateState::Error, failure(pull));
    }
    if let Some(unknown) = nothing_to_judge(now) {
        return unknown;
    }
    let Some(pull) = &history.pull else {
        return light(UpdateState::Unknown, "nothing was pulled yet");
    };
    let pulled = pull.commit.as_deref().and_then(short).unwrap_or_default();
    match (now.lock_hash, pull.lock_hash.as_deref()) {
        (None, _) => light(UpdateState::Unknown, "the checkout has no flake.lock"),
        (Some(now), Some(then)) if now == then => {
            light(UpdateState::Ok, format!("flake.lock is as pulled with {pulled}"))
        }
        _ if moved(pull, now) => {
            light(UpdateState::Unknown, "the checkout moved since the last pull, not by this agent")
        }
        (Some(_), _) => light(UpdateState::Outdated, format!("flake.lock changed since {pulled} was pulled")),
    }
}

/// The running system against the checkout.
fn system(history: &History, now: Now<'_>) -> Light {
    if let Some(last) = failed_switch(history, now) {
        return light(UpdateState::Error, failure(last));
    }
    if let Some(unknown) = nothing_to_judge(now) {
        return unknown;
    }
    let pulled = now.commit.and_then(short).unwrap_or_default();
    let Some(running) = now.system.and_then(|system| deployed(history, system)) else {
        return by_revision(history, now, &pulled);
    };
    let relocked = history.deployed.as_ref().is_some_and(|last| last.lock_hash.as_deref() != now.lock_hash);
    if Some(running) != now.commit {
        let running = short(running).unwrap_or_default();
        light(UpdateState::Outdated, format!("{pulled} is in the checkout, {running} is deployed"))
    } else if now.revision.and_then(|revision| revision.strip_suffix(DIRTY)) == Some(&*pulled) {
        light(UpdateState::Outdated, format!("{pulled} with local changes is deployed"))
    } else if relocked {
        light(UpdateState::Outdated, format!("flake.lock changed since {pulled} was deployed"))
    } else {
        light(UpdateState::Ok, format!("{pulled} is deployed"))
    }
}

/// For a system that no switch of the agent made, or a rollback.
fn by_revision(history: &History, now: Now<'_>, pulled: &str) -> Light {
    let rolled_back = history
        .deployed
        .as_ref()
        .is_some_and(|last| last.commit.is_none() && last.system.as_deref() == now.system);
    match now.revision.map(|revision| (revision, revision.strip_suffix(DIRTY))) {
        Some((revision, None)) if revision == pulled => {
            light(UpdateState::Ok, format!("{pulled} is deployed"))
        }
        Some((_, Some(changed))) => {
            light(UpdateState::Outdated, format!("{changed} with local changes is deployed"))
        }
        Some((revision, None)) => {
            light(UpdateState::Outdated, format!("{pulled} is in the checkout, {revision} is deployed"))
        }
        None if rolled_back => {
            light(UpdateState::Outdated, format!("rolled back; {pulled} is in the checkout"))
        }
        None if history.deployed.is_some() => {
            light(UpdateState::Outdated, "another system runs than the one of the last switch")
        }
        None if history.pull.is_some() => {
            light(UpdateState::Outdated, format!("{pulled} was never deployed"))
        }
        None => light(UpdateState::Unknown, "the running system does not tell its commit"),
    }
}

/// The last switch if it failed and nothing has moved since: what was pulled then is another try's, and
/// where another system runs somebody made it.
fn failed_switch<'a>(history: &'a History, now: Now<'_>) -> Option<&'a Last> {
    let last = history.switch.as_ref()?;
    let failed = !matches!(last.outcome, Outcome::Ok | Outcome::Stopped);
    (failed && !moved(last, now) && !replaced(last, now)).then_some(last)
}

/// Whether the checkout is at another commit than it was after that command. What is unknown is the same.
fn moved(last: &Last, now: Now<'_>) -> bool {
    last.checked_out().zip(now.commit).is_some_and(|(then, now)| then != now)
}

/// Whether another system runs than the one that ran after that command. What is unknown is the same.
fn replaced(last: &Last, now: Now<'_>) -> bool {
    last.system.as_deref().zip(now.system).is_some_and(|(then, now)| then != now)
}

fn tests(history: &History, now: Now<'_>) -> Light {
    let Some(test) = &history.test else {
        return match &history.deployed {
            Some(_) => light(UpdateState::Outdated, "not run since the last switch"),
            None => light(UpdateState::Unknown, "not run yet"),
        };
    };
    // Ids sort by time.
    if history.deployed.as_ref().is_some_and(|deployed| deployed.job > test.job) {
        return light(UpdateState::Outdated, "not run since the last switch");
    }
    if replaced(test, now) {
        return light(UpdateState::Outdated, "another system runs than the one they ran on");
    }
    if test.outcome == Outcome::Ok {
        light(UpdateState::Ok, test.message.clone())
    } else {
        light(UpdateState::Error, failure(test))
    }
}

/// Where there is no checkout there is nothing to compare with.
fn nothing_to_judge(now: Now<'_>) -> Option<Light> {
    match now.commit {
        _ if !now.configured => Some(light(UpdateState::Unknown, "no repository is configured")),
        None => Some(light(UpdateState::Unknown, "there is no checkout yet")),
        Some(_) => None,
    }
}

/// Says of the part that a running command changes that it is being worked on, if the next beat, an
/// `interval` later, can take that back within [`WORKING`].
pub fn mark_working(
    status: &mut UpdateStatus,
    command: &str,
    running: Duration,
    interval: Duration,
    at: &str,
) {
    if running.saturating_add(interval) >= WORKING {
        return;
    }
    let part = match command {
        "pull" | "clone" | "update" => &mut status.lock,
        "test" => &mut status.tests,
        _ if deploys(command) => &mut status.system,
        _ => return,
    };
    *part = Verdict {
        status: UpdateState::Working,
        message: format!("{command} is running"),
        checked_at: at.to_owned(),
    };
}

/// What failed, with its exit code.
fn failure(last: &Last) -> String {
    let code = format!("exit code {}", last.exit_code);
    if last.message.contains(&code) { last.message.clone() } else { format!("{} ({code})", last.message) }
}
