//! How up to date the host is: compares the results of the last commands with the current state. See
//! `update_status` in docs/protocol.md. This module is pure; [`super`] collects and keeps its input.
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

/// How long a running command may be shown as [`UpdateState::Working`]. Existing dashboards allow no more for
/// the system; the state is shown until the next heartbeat replaces it.
pub const WORKING: Duration = Duration::from_secs(4 * 60);

/// The current state of the host.
#[derive(Debug, Clone, Copy, Default)]
pub struct Now<'a> {
    /// Whether a repository is configured.
    pub configured: bool,
    /// HEAD of the checkout, in full.
    pub commit: Option<&'a str>,
    /// SHA-256 of its flake.lock.
    pub lock_hash: Option<&'a str>,
    /// The running system.
    pub system: Option<&'a Path>,
    /// The shortened commit that the running system reports, with `-dirty` if its checkout had changes.
    pub revision: Option<&'a str>,
    /// The system that the next boot runs.
    pub boots: Option<&'a Path>,
}

/// A state and its explanation.
type Judgement = (UpdateState, String);

fn judgement(status: UpdateState, message: impl Into<String>) -> Judgement {
    (status, message.into())
}

/// Judges all parts. A verdict that equals the one in `before` keeps its time, unless `checked` is true because
/// the check was requested or a command ended.
pub fn judge(
    history: &History,
    now: Now<'_>,
    before: &UpdateStatus,
    checked: bool,
    at: &str,
) -> UpdateStatus {
    let verdict = |(status, message): Judgement, before: &Verdict| {
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

/// Compares flake.lock with its content after the last pull.
fn lock(history: &History, now: Now<'_>) -> Judgement {
    let failed = history.pull.as_ref().filter(|pull| pull.outcome != Outcome::Ok && now.configured);
    if let Some(pull) = failed {
        return judgement(UpdateState::Error, failure(pull));
    }
    if let Some(unknown) = nothing_to_judge(now) {
        return unknown;
    }
    let Some(pull) = &history.pull else {
        return judgement(UpdateState::Unknown, "nothing was pulled yet");
    };
    let pulled = pull.commit.as_deref().and_then(short).unwrap_or_default();
    match (now.lock_hash, pull.lock_hash.as_deref()) {
        (None, _) => judgement(UpdateState::Unknown, "the checkout has no flake.lock"),
        (Some(now), Some(then)) if now == then => {
            judgement(UpdateState::Ok, format!("flake.lock is as pulled with {pulled}"))
        }
        _ if moved(pull, now) => {
            judgement(UpdateState::Unknown, "the checkout moved since the last pull, not by this agent")
        }
        (Some(_), _) => {
            judgement(UpdateState::Outdated, format!("flake.lock changed since {pulled} was pulled"))
        }
    }
}

/// Compares the running system with the checkout.
fn system(history: &History, now: Now<'_>) -> Judgement {
    if let Some(last) = failed_switch(history, now) {
        return judgement(UpdateState::Error, failure(last));
    }
    if let Some(unknown) = nothing_to_judge(now) {
        return unknown;
    }
    let pulled = now.commit.and_then(short).unwrap_or_default();
    if let Some(waiting) = waits_for_boot(history, now) {
        let waiting =
            waiting.commit.as_deref().and_then(short).unwrap_or_else(|| "the earlier system".to_owned());
        return judgement(UpdateState::Outdated, format!("{waiting} takes effect at the next boot"));
    }
    let Some(running) = deployed(history, now.system) else {
        return by_revision(history, now, &pulled);
    };
    let relocked = history.made(now.system).is_some_and(|last| last.lock_hash.as_deref() != now.lock_hash);
    if Some(running) != now.commit {
        let running = short(running).unwrap_or_default();
        let next = if boots_checkout(history, now) { " and runs from the next boot on" } else { "" };
        judgement(UpdateState::Outdated, format!("{pulled} is in the checkout{next}, {running} is deployed"))
    } else if now.revision.and_then(|revision| revision.strip_suffix(DIRTY)) == Some(&*pulled) {
        judgement(UpdateState::Outdated, format!("{pulled} with local changes is deployed"))
    } else if relocked {
        judgement(UpdateState::Outdated, format!("flake.lock changed since {pulled} was deployed"))
    } else {
        judgement(UpdateState::Ok, format!("{pulled} is deployed"))
    }
}

/// Whether the last command that left a system for the next boot made it from the commit of the checkout, and the next
/// boot runs that.
fn boots_checkout(history: &History, now: Now<'_>) -> bool {
    let prepared = history.staged.as_ref().filter(|last| last.commit.as_deref() == now.commit);
    prepared.is_some_and(|last| last.system.is_some() && last.system.as_deref() == now.boots)
}

/// Judges a system that was not made by the agent's last switch, or that is a rollback.
fn by_revision(history: &History, now: Now<'_>, pulled: &str) -> Judgement {
    let rolled_back = history
        .deployed
        .as_ref()
        .is_some_and(|last| last.commit.is_none() && last.system.as_deref() == now.system);
    match now.revision.map(|revision| (revision, revision.strip_suffix(DIRTY))) {
        Some((revision, None)) if revision == pulled => {
            judgement(UpdateState::Ok, format!("{pulled} is deployed"))
        }
        Some((_, Some(changed))) => {
            judgement(UpdateState::Outdated, format!("{changed} with local changes is deployed"))
        }
        Some((revision, None)) => {
            judgement(UpdateState::Outdated, format!("{pulled} is in the checkout, {revision} is deployed"))
        }
        None if rolled_back => {
            judgement(UpdateState::Outdated, format!("rolled back; {pulled} is in the checkout"))
        }
        None if history.deployed.is_some() && now.system.is_none() => {
            judgement(UpdateState::Unknown, "there is no link to the running system any more")
        }
        None if history.deployed.is_some() => {
            judgement(UpdateState::Outdated, "another system runs than the one of the last switch")
        }
        None if history.pull.is_some() => {
            judgement(UpdateState::Outdated, format!("{pulled} was never deployed"))
        }
        None => judgement(UpdateState::Unknown, "the running system does not tell its commit"),
    }
}

/// The last switch, if its system waits for the next boot, and neither the checkout nor the running system has changed
/// since then.
fn waits_for_boot<'a>(history: &'a History, now: Now<'_>) -> Option<&'a Last> {
    let last = history.switch.as_ref().filter(|last| last.outcome == Outcome::NeedsReboot)?;
    (!moved(last, now) && !replaced(last, now)).then_some(last)
}

/// The last switch, if it failed and neither the checkout nor the running system has changed since then. Nothing is
/// wrong with a system that is active despite an error, and with one that waits for the next boot.
fn failed_switch<'a>(history: &'a History, now: Now<'_>) -> Option<&'a Last> {
    let last = history.switch.as_ref()?;
    let good = [Outcome::Ok, Outcome::ActivatedDespiteError, Outcome::NeedsReboot, Outcome::Stopped];
    (!good.contains(&last.outcome) && !moved(last, now) && !replaced(last, now)).then_some(last)
}

/// Whether the checkout is at another commit than after that command. Unknown commits count as equal.
fn moved(last: &Last, now: Now<'_>) -> bool {
    last.checked_out().zip(now.commit).is_some_and(|(then, now)| then != now)
}

/// Whether another system runs than after that command. Unknown systems count as equal.
fn replaced(last: &Last, now: Now<'_>) -> bool {
    last.system.as_deref().zip(now.system).is_some_and(|(then, now)| then != now)
}

fn tests(history: &History, now: Now<'_>) -> Judgement {
    let Some(test) = &history.test else {
        return match &history.deployed {
            Some(_) => judgement(UpdateState::Outdated, "not run since the last switch"),
            None => judgement(UpdateState::Unknown, "not run yet"),
        };
    };
    // Job ids sort by time.
    if history.deployed.as_ref().is_some_and(|deployed| deployed.job > test.job) {
        return judgement(UpdateState::Outdated, "not run since the last switch");
    }
    if replaced(test, now) {
        return judgement(UpdateState::Outdated, "another system runs than the one they ran on");
    }
    if test.outcome == Outcome::Ok {
        judgement(UpdateState::Ok, test.message.clone())
    } else {
        judgement(UpdateState::Error, failure(test))
    }
}

/// The judgement if there is no checkout to compare with.
fn nothing_to_judge(now: Now<'_>) -> Option<Judgement> {
    match now.commit {
        _ if !now.configured => Some(judgement(UpdateState::Unknown, "no repository is configured")),
        None => Some(judgement(UpdateState::Unknown, "there is no checkout yet")),
        Some(_) => None,
    }
}

/// Marks the part that a running command changes as [`UpdateState::Working`], if the next heartbeat, one
/// `interval` later, still comes within [`WORKING`].
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

/// Says what the system that the running command has put on trial waits for: however long the command runs, also when
/// that is no longer shown as [`UpdateState::Working`].
pub fn mark_waiting(status: &mut UpdateStatus, command: &str, waits: &str) {
    status.system.message = format!("{command} is running: {waits}");
}

/// Marks the system as [`UpdateState::Ok`], in the one heartbeat that completes a good rollback. Existing
/// dashboards call a rollback incomplete otherwise, although a system that was rolled back is outdated by
/// intention, or unknown where there is nothing to compare it with. The next heartbeat has the real state.
pub fn mark_rolled_back(status: &mut UpdateStatus) {
    if status.system.status == UpdateState::Outdated || status.system.status == UpdateState::Unknown {
        status.system.status = UpdateState::Ok;
    }
}

/// The message of a failed command, with its exit code.
fn failure(last: &Last) -> String {
    let code = format!("exit code {}", last.exit_code);
    if last.message.contains(&code) { last.message.clone() } else { format!("{} ({code})", last.message) }
}
