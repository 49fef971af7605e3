//! The supervisor's part of a trial: builds a system, activates it, and waits for what its guard decides.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nixfleet_os::boot_id_on;

use super::Job;
use super::child::End;
use super::done::Done;
use super::plan::Plan;
use super::progress::Progress;
use super::resolving::TERMINATED;
use super::stop::Reason;
use crate::rollback::{
    Activation, Begun, Contact, Decision, Guard, GuardState, Kind, Stage, Trial, TrialCheck, is_guarded,
    now_ms, pin, start, unpin,
};
use crate::spec::{Outcome, Step, capitalized};
use crate::{JobDir, Settings};

/// How long to wait for the agent to say that it is connected: it looks twice a second, and asks the dashboard for a
/// sign of life.
const CONTACT_LIMIT: Duration = Duration::from_secs(10);

/// How often to look at the files of agent and guard.
const TICK: Duration = Duration::from_millis(200);

/// How often the rest of the time is reported.
const REPORT: Duration = Duration::from_secs(5);

/// How long a guard that was killed may take to be there again by its service manager, before another one is started.
const RESTART: Duration = Duration::from_secs(5);

/// How often another guard is started before this process becomes the guard.
const STARTS: u32 = 2;

/// How often in all a guard is missed before nobody decides: after a minute, and up to two more if its starts hang.
/// Without a bound, a job whose folder was removed would hold the host for ever.
const ATTEMPTS: u32 = 12;

/// Name of the link to the built system, as `nixos-rebuild build` makes it in its working directory.
const LINK: &str = "result";

/// The folder in which the system is built. It keeps the link, which is a root for nix as long as the job is kept.
fn build_folder(dir: &JobDir) -> PathBuf {
    dir.path().join("system")
}

/// The plan with its last program in the folder of the job, if that program builds a system on trial.
pub(super) fn in_folder_of(dir: &JobDir, mut plan: Plan) -> Plan {
    if plan.untried.is_some()
        && let Some(build) = plan.steps.last_mut()
    {
        build.cwd = Some(build_folder(dir));
    }
    plan
}

/// Makes that folder.
///
/// # Errors
/// A message for people.
pub(super) fn prepare(plan: &Plan, dir: &JobDir) -> Result<(), String> {
    if plan.untried.is_none() {
        return Ok(());
    }
    let path = build_folder(dir);
    let made = DirBuilder::new().recursive(true).mode(0o750).create(&path);
    made.map_err(|err| format!("cannot make the folder {}: {err}", path.display()))
}

/// What the agent says about its connection.
enum Answer {
    Connected,
    /// Nothing, in time.
    None,
    /// The command was stopped meanwhile.
    Stopped(Reason),
}

impl<R: FnOnce()> Job<'_, R> {
    /// Activates the system that the program with this `end` has built, on trial. Without a connection to the dashboard
    /// nothing could confirm it, and `untried` runs instead. Returns the end of the program that activated it.
    ///
    /// # Errors
    /// How the command ended, if the end of a program does not say that.
    pub(super) fn try_system(
        &mut self,
        index: usize,
        untried: &Step,
        built: End,
        progress: &mut Progress,
    ) -> Result<End, Done> {
        let cut = built.stopped_after.or_else(|| self.stop.is_final());
        if built.code != Ok(0) || built.stopped.is_some() {
            return Ok(built);
        }
        if cut.is_some() {
            return Ok(End { stopped: cut, ..built });
        }
        progress.forget_said();
        let mut trial = match self.trial() {
            Ok(Some(trial)) => trial,
            Ok(None) => {
                self.log.remark(
                    "the system that was built is the one that runs, so there is no way back to guard",
                );
                return Ok(self.run_step(index, untried, progress));
            }
            Err(why) => return Err(self.refused(&why)),
        };
        match self.is_connected(&mut trial, progress).map_err(|why| self.refused(&why))? {
            Answer::Connected => {}
            Answer::Stopped(reason) => return Ok(self.let_go(&trial, reason, built)),
            Answer::None => {
                drop(Trial::remove(&self.dir));
                self.log.remark(
                    "the agent has no connection to the dashboard, so nothing could confirm the new system; it is \
                     activated without a way back",
                );
                return Ok(self.run_step(index, untried, progress));
            }
        }
        let mut own = self.arm(&mut trial).map_err(|why| {
            self.call_off(&trial);
            self.refused(&why)
        })?;
        // The start of the guard takes up to a minute. A stop that came meanwhile would be refused from here on.
        if let Some(reason) = self.wait(self.stop.now(), progress) {
            return Ok(self.let_go(&trial, reason, built));
        }
        self.begin_trial(&mut trial).map_err(|why| {
            self.call_off(&trial);
            self.refused(&why)
        })?;
        let activation = Step {
            name: untried.name.clone(),
            argv: vec![
                trial.new.join("bin/switch-to-configuration").to_string_lossy().into_owned(),
                "test".to_owned(),
            ],
            activation: true,
            cwd: None,
            ..untried.clone()
        };
        let end = self.run_step(index, &activation, progress);
        let code = end.code.unwrap_or_else(|signal| 128 + signal);
        trial.activation = Some(Activation { ended_ms: now_ms(), code });
        progress.waits(index, &activation, "", &mut self.log);
        let decision = self.await_decision(&trial, &mut own, progress);
        unpin(&trial);
        let name = capitalized(&self.instance.command);
        let outcome = match decision.kind {
            Kind::Unchanged | Kind::Confirmed => return Ok(end),
            Kind::NotSet => Outcome::BootloaderFailed,
            Kind::RolledBack => Outcome::RolledBack,
            Kind::Stuck => Outcome::ActivatedWithFailures,
        };
        let exit_code = if code == 0 { 1 } else { code };
        Err(Done { outcome, exit_code, message: format!("{name}: {}", decision.message), ..Done::default() })
    }

    /// Ends a trial before its activation. A guard that was started finds that nothing was changed.
    fn call_off(&self, trial: &Trial) {
        unpin(trial);
        drop(Trial::remove(&self.dir));
    }

    /// The end of a command that was stopped between the build and the activation.
    fn let_go(&self, trial: &Trial, reason: Reason, built: End) -> End {
        self.call_off(trial);
        End { code: Ok(TERMINATED), stopped: Some(reason), ..built }
    }

    fn refused(&mut self, why: &str) -> Done {
        let name = capitalized(&self.instance.command);
        let message = format!(
            "{name}: the new system was built and not activated, because there would be no way back: {why}"
        );
        self.log.remark(&message);
        Done { outcome: Outcome::Refused, exit_code: 1, message, ..Done::default() }
    }

    /// The trial of the system that was built; none if that one runs already.
    fn trial(&self) -> Result<Option<Trial>, String> {
        let Settings { system, rollback, state_dir, .. } = self.settings;
        let link = build_folder(&self.dir).join(LINK);
        let new = fs::canonicalize(&link).map_err(|err| {
            format!("`build` left no link to the system at {} ({err}); see rebuild.program", link.display())
        })?;
        let running = &system.running;
        let previous = fs::read_link(running)
            .map_err(|err| format!("the running system is not known: {}: {err}", running.display()))?;
        if previous == new {
            return Ok(None);
        }
        for system in [&previous, &new] {
            let program = system.join("bin/switch-to-configuration");
            if !program.exists() {
                return Err(format!("{} does not exist", program.display()));
            }
        }
        Ok(Some(Trial {
            id: self.instance.id.clone(),
            command: self.instance.command.clone(),
            boot_id: boot_id_on(self.dir.disk(), &self.settings.proc),
            previous,
            new,
            running: running.clone(),
            proc: self.settings.proc.clone(),
            profile: system.profile.clone(),
            contact: state_dir.join("agent").join(Contact::FILE),
            confirm_timeout_s: rollback.confirm_timeout.unwrap_or_default().as_secs(),
            hold_s: rollback.hold.as_secs(),
            checks: rollback
                .checks
                .iter()
                .map(|check| TrialCheck { run: check.argv.clone(), timeout_s: check.timeout.as_secs() })
                .collect(),
            asked_ms: now_ms(),
            begun: Begun::Asking,
            activation: None,
        }))
    }

    /// Asks the agent whether it is connected, by writing the trial.
    fn is_connected(&mut self, trial: &mut Trial, progress: &mut Progress) -> Result<Answer, String> {
        self.store_begun(trial, Begun::Asking)?;
        let begun = self.stop.now();
        loop {
            let contact = Contact::read(&trial.contact);
            let alive = |contact: Contact| contact.is_alive_since(trial.boot_id.as_deref(), trial.asked_ms);
            if contact.is_some_and(alive) {
                return Ok(Answer::Connected);
            }
            let now = self.stop.now();
            if now.saturating_duration_since(begun) >= CONTACT_LIMIT {
                return Ok(Answer::None);
            }
            if let Some(reason) = self.wait(now + TICK, progress) {
                return Ok(Answer::Stopped(reason));
            }
        }
    }

    /// Keeps both systems from being removed, and starts the guard. Returns the guard if it is this process.
    fn arm(&mut self, trial: &mut Trial) -> Result<Option<Guard>, String> {
        pin(trial)?;
        self.store_begun(trial, Begun::Armed)?;
        Ok(match start(&self.dir, &self.instance.id) {
            Ok(()) => None,
            Err(why) => {
                self.log.remark(&format!(
                    "there is no guard of its own for the new system, so the supervisor of this command guards it: {why}"
                ));
                Some(Guard::take(&self.dir).map_err(|err| err.to_string())?)
            }
        })
    }

    fn store_begun(&self, trial: &mut Trial, begun: Begun) -> Result<(), String> {
        trial.begun = begun;
        let path = self.dir.path();
        trial.store(&self.dir).map_err(|err| format!("cannot write trial.json in {}: {err}", path.display()))
    }

    /// From here on the guard takes the new system back if this process dies.
    fn begin_trial(&mut self, trial: &mut Trial) -> Result<(), String> {
        self.store_begun(trial, Begun::Activating)?;
        let timeout = trial.confirm_timeout_s;
        self.log.remark(&format!(
            "the new system is activated on trial: the one before it comes back unless the dashboard is reached within \
             {timeout} s"
        ));
        Ok(())
    }

    /// Waits until the guard has decided, and shows what it does. A guard that was killed is replaced.
    fn await_decision(
        &mut self,
        trial: &Trial,
        own: &mut Option<Guard>,
        progress: &mut Progress,
    ) -> Decision {
        let mut stored = false;
        let (mut shown, mut reported) = (0, None::<Instant>);
        let (mut missed, mut starts) = (None::<Instant>, 0);
        loop {
            if !stored {
                // The guard must know. On a full disk that takes until there is room.
                stored = trial.store(&self.dir).is_ok();
            }
            if let Some(guard) = own {
                guard.step();
            }
            if let Ok(state) = GuardState::load(&self.dir) {
                for note in state.notes.iter().skip(shown) {
                    self.log.remark(note);
                }
                shown = state.notes.len().max(shown);
                if let Some(decision) = state.decision {
                    return decision;
                }
                // Whoever asks for an end meanwhile is told that the system is being activated.
                self.stop.step(true, true, &mut self.log);
                self.stop.child_ended();
                if self.stop.is_final().is_some() && state.stage == Stage::Watching {
                    self.leave();
                }
            }
            if reported.is_none_or(|at| at.elapsed() >= REPORT) {
                reported = Some(Instant::now());
                let left = trial.deadline_ms().unwrap_or_default().saturating_sub(now_ms()).div_ceil(1000);
                progress.confirms(format!("confirming, {left} s left"), &mut self.log);
            }
            self.log.tick();
            self.log.flush();
            if own.is_none() && !is_guarded(&self.dir) {
                let since = *missed.get_or_insert_with(Instant::now);
                if since.elapsed() >= RESTART {
                    missed = None;
                    starts += 1;
                    if starts > ATTEMPTS {
                        return nobody_decides();
                    }
                    *own = self.replace_guard(starts);
                }
            } else {
                missed = None;
            }
            thread::sleep(TICK);
        }
    }

    /// Starts another guard, or becomes one.
    fn replace_guard(&mut self, starts: u32) -> Option<Guard> {
        self.log.remark("the guard of the new system is gone; another one is started");
        if starts <= STARTS && start(&self.dir, &self.instance.id).is_ok() {
            self.log.remark("the new system has a guard again");
            return None;
        }
        let own = Guard::take(&self.dir);
        self.log.remark(&match &own {
            Ok(_) => "the supervisor of this command guards the new system now".to_owned(),
            Err(err) => format!("there is no guard: {err}"),
        });
        own.ok()
    }

    /// Ends this process without a result, because the machine goes down: the next boot decides about the trial, and the
    /// agent of that boot tells how it ended. If the machine does not go down after all, the guard decides.
    fn leave(&mut self) -> ! {
        self.log
            .remark("the machine goes down before the new system was confirmed, and boots the one before it");
        drop(self.log.sync());
        // No code may write a result: nobody knows yet how the command ends.
        std::process::exit(0)
    }
}

/// What is told when there is no guard any more, and none can be had.
fn nobody_decides() -> Decision {
    let message = "the new system runs, and nobody decides about it, because there is no guard any more; it was not made \
                   the system of the next boot, a restart of the machine boots the one before it";
    Decision { kind: Kind::Stuck, message: message.to_owned() }
}

#[cfg(test)]
mod tests;
