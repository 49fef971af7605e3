//! What became of a trial, for whoever finds its supervisor dead.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::{Begun, GuardState, Kind, Stage, Trial, is_guarded};
use crate::JobDir;
use crate::damage::{is_damage, report};
use crate::spec::{Outcome, capitalized};

/// How long a guard that was killed may take to be there again: its unit is started again after a second. At a shutdown
/// it is not, and the agent of the next boot tells what happened; this agent ends within a second then.
const RESTART: Duration = Duration::from_secs(15);

/// How often to look for it.
const TICK: Duration = Duration::from_millis(100);

/// What follows from a file of a trial that cannot be read now.
const UNTIL_READ: &str = "nothing is concluded about the system on trial until it can be read";

/// A file of the trial, or its fallback if it is damaged. Any other error may pass.
fn undamaged<T: Default>(loaded: io::Result<T>) -> io::Result<T> {
    match loaded {
        Err(err) if is_damage(&err) => Ok(T::default()),
        loaded => loaded,
    }
}

/// Whether somebody will still decide about the trial of a job. `boot_id` is that of the running system. It takes up to
/// 15 s to say no if nothing is decided. If files cannot be read for now, somebody may.
pub fn is_open(dir: &JobDir, boot_id: Option<&str>) -> bool {
    let unread = |err: io::Error| {
        report(dir.path(), &err, UNTIL_READ);
        true
    };
    let trial = match undamaged(Trial::load(dir)) {
        Ok(Some(trial)) => trial,
        Ok(None) => return false,
        Err(err) => return unread(err),
    };
    if trial.begun == Begun::Asking || trial.is_of_another_boot(boot_id) {
        return false;
    }
    let mut waited = Duration::ZERO;
    loop {
        match undamaged(GuardState::load(dir)) {
            Ok(state) if state.decision.is_some() => return false,
            Ok(_) => {}
            Err(err) => return unread(err),
        }
        if is_guarded(dir) {
            return true;
        }
        if waited >= RESTART {
            return false;
        }
        thread::sleep(TICK);
        waited += TICK;
    }
}

/// How a job with a trial ended whose supervisor wrote no result; none if its trial explains nothing.
///
/// # Errors
/// A file of the trial cannot be read for now, so nobody knows yet.
pub fn told(dir: &JobDir, boot_id: Option<&str>) -> io::Result<Option<(Outcome, String)>> {
    let Some(trial) = undamaged(Trial::load(dir))? else { return Ok(None) };
    let state = undamaged(GuardState::load(dir))?;
    let running = std::fs::read_link(&trial.running).ok();
    let told = fate(&trial, &state, boot_id, running.as_deref());
    Ok(told.map(|(outcome, text)| (outcome, format!("{}: {text}", capitalized(&trial.command)))))
}

/// `running` is the system that runs now.
pub(super) fn fate(
    trial: &Trial,
    state: &GuardState,
    boot_id: Option<&str>,
    running: Option<&Path>,
) -> Option<(Outcome, String)> {
    let active = match trial.activation.map(|end| end.code) {
        Some(0) => Outcome::Ok,
        _ => Outcome::ActivatedWithFailures,
    };
    if let Some(decision) = &state.decision {
        let outcome = match decision.kind {
            Kind::Confirmed => {
                let text = "the new system is confirmed; the supervisor of the command was killed meanwhile";
                return Some((active, text.to_owned()));
            }
            Kind::NotSet => Outcome::BootloaderFailed,
            Kind::RolledBack => Outcome::RolledBack,
            Kind::Stuck => Outcome::ActivatedWithFailures,
            Kind::Unchanged => return None,
        };
        return Some((outcome, decision.message.clone()));
    }
    if trial.begun != Begun::Activating {
        return None;
    }
    if !trial.is_of_another_boot(boot_id) {
        let text = "the supervisor and the guard of the new system were killed, so nobody decides about it; it was not \
                    made the system of the next boot";
        return Some((Outcome::Lost, text.to_owned()));
    }
    let is_new = running == Some(&trial.new) && trial.new != trial.previous;
    Some(match (is_new, state.stage) {
        (true, Stage::Committing) => {
            (active, "the new system was confirmed, and the machine restarted into it".to_owned())
        }
        (true, _) => (
            Outcome::InterruptedByReboot,
            "the machine restarted before the new system was confirmed, and runs it all the same".to_owned(),
        ),
        (false, _) if running == Some(&trial.previous) => (
            Outcome::RolledBack,
            "the machine restarted before the new system was confirmed, and booted the one before it"
                .to_owned(),
        ),
        (false, _) => (
            Outcome::RolledBack,
            format!(
                "the machine restarted before the new system was confirmed, and booted {}",
                running.map_or("another one".into(), Path::to_string_lossy)
            ),
        ),
    })
}

#[cfg(test)]
mod tests;
