//! What a guard runs: the checks, the profile and the boot loader, the system before.

use std::path::Path;
use std::time::Duration;

use nixfleet_os::error;
use nixfleet_os::subprocess::{ProgramError, outcome_with_tail};
use nixfleet_os::text::{log_line, one_line};

use super::decision::Checks;
use super::state::{Decision, Kind};
use super::trial::Trial;
use super::{GuardState, now_ms};

/// Variables that programs get, besides `PATH`. The rest of the environment belongs to the agent or to a job; above all
/// `NIXOS_NO_CHECK`, which would turn off the checks of a system, is never passed on.
const VARIABLES: [&str; 5] = ["HOME", "USER", "LOCALE_ARCHIVE", "NIX_REMOTE", "NIX_CONF_DIR"];

/// Time limit of the program that sets the profile. It waits for the lock of nix's database.
const PROFILE_LIMIT: Duration = Duration::from_secs(300);

/// Time limit of an activation, and of the installation of the boot loader. They take seconds, and some minutes if
/// services are slow to stop, or if the boot partition is.
const ACTIVATION_LIMIT: Duration = Duration::from_secs(600);

/// Pauses between attempts to go back, in seconds. Another activation may hold the lock, or systemd may be busy.
const PAUSES: [u64; 4] = [2, 5, 15, 30];

/// How long to wait before failed checks are run again. A service may need some time to start.
const CHECK_PAUSE_MS: u64 = 5000;

/// Longest line that is shown, in characters.
const MAX_LINE: usize = 1024;

/// Longest line in a message, in characters.
const MAX_CAUSE: usize = 300;

/// How a program ended: success, or what is wrong as the end of a sentence.
type Ended = Result<(), String>;

/// Those [`VARIABLES`] that this process has.
pub(super) fn variables() -> Vec<(&'static str, String)> {
    VARIABLES.iter().filter_map(|name| Some((*name, std::env::var(name).ok()?))).collect()
}

/// Runs a program, and notes its last lines.
fn run(program: &Path, arguments: &[&str], limit: Duration, state: &mut GuardState) -> Ended {
    let variables = variables();
    let environment: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (status, tail) = match outcome_with_tail(program, arguments, &environment, limit) {
        Ok(ended) => ended,
        Err(ProgramError::TooSlow(limit)) => return Err(format!("took longer than {limit:?}")),
        Err(err) => return Err(error::chain(&err)),
    };
    let lines: Vec<&str> = tail.lines().filter(|line| !line.trim().is_empty()).collect();
    for line in &lines {
        state.note(log_line(line, MAX_LINE, false));
    }
    if status.success() {
        return Ok(());
    }
    let last = lines.last().map(|line| format!(": {}", one_line(line, MAX_CAUSE))).unwrap_or_default();
    Err(format!("ended with {status}{last}"))
}

/// Runs the checks until one fails. Only the name of its program is told: arguments may hold a secret.
pub(super) fn check(trial: &Trial, state: &mut GuardState) -> Checks {
    let all = trial.checks.len();
    for (index, check) in trial.checks.iter().enumerate() {
        let [program, arguments @ ..] = check.run.as_slice() else { continue };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let left_ms = trial.deadline_ms().unwrap_or_default().saturating_sub(now_ms());
        let limit = Duration::from_secs(check.timeout_s).min(Duration::from_millis(left_ms));
        // What a check prints is for its message alone.
        let mut unseen = GuardState::default();
        if let Err(why) = run(Path::new(program), &arguments, limit, &mut unseen) {
            let name = one_line(program, MAX_CAUSE);
            let what = format!("the check `{name}` ({} of {all}) {why}", index + 1);
            state.note(&what);
            return Checks::Failed(what, now_ms().saturating_add(CHECK_PAUSE_MS));
        }
    }
    Checks::Passed
}

/// Makes the system that of the next boot: exactly this one, whatever the profile has become meanwhile.
pub(super) fn commit(trial: &Trial, state: &mut GuardState) -> Decision {
    let own = trial.new.join("sw/bin/nix-env");
    let nix_env = if own.exists() { own.as_path() } else { Path::new("nix-env") };
    let (profile, new) = (trial.profile.to_string_lossy(), trial.new.to_string_lossy());
    let set = run(nix_env, &["-p", &profile, "--set", &new], PROFILE_LIMIT, state);
    if let Err(why) = set {
        return Decision { kind: Kind::NotSet, message: not_set(&why) };
    }
    match switch(&trial.new, "boot", state) {
        Ok(()) => Decision { kind: Kind::Confirmed, message: String::new() },
        Err(why) => Decision { kind: Kind::NotSet, message: not_installed(&why) },
    }
}

/// What is told of a confirmed system that is not in the profile.
fn not_set(why: &str) -> String {
    format!(
        "the new system is confirmed and runs, but it is not the one of the next boot, because `nix-env --set` {why}; \
         mend it and send `boot` before a reboot"
    )
}

/// What is told of a confirmed system whose boot loader could not be installed.
pub(super) fn not_installed(why: &str) -> String {
    format!(
        "the new system is confirmed and runs, but the next boot may run another one, because the boot loader could not \
         be installed: `switch-to-configuration boot` {why}; mend it and send `boot` before a reboot"
    )
}

/// What is told of a new system that was taken back.
pub(super) fn taken_back(reason: &str) -> String {
    format!("the new system was taken back, because {reason}; the one before it runs again")
}

/// What is told of a new system that could not be taken back.
pub(super) fn stuck(reason: &str, why: &str) -> String {
    format!(
        "the new system should be taken back, because {reason}; but the activation of the one before it {why}; a restart \
         of the machine boots that one"
    )
}

/// Activates the system before, by its own path.
pub(super) fn go_back(trial: &Trial, reason: &str, state: &mut GuardState) -> Decision {
    let mut pauses = PAUSES.iter();
    loop {
        let ended = switch(&trial.previous, "test", state);
        let runs = std::fs::read_link(&trial.running).is_ok_and(|runs| runs == trial.previous);
        let message = match (ended, runs) {
            (Ok(()), _) => taken_back(reason),
            // Units that fail now may be those that failed before.
            (Err(why), true) => format!("{}, but its activation {why}", taken_back(reason)),
            (Err(why), false) => {
                if let Some(pause) = pauses.next() {
                    state.note(format!(
                        "the activation of the system before {why}; trying again in {pause} s"
                    ));
                    std::thread::sleep(Duration::from_secs(*pause));
                    continue;
                }
                return Decision { kind: Kind::Stuck, message: stuck(reason, &why) };
            }
        };
        return Decision { kind: Kind::RolledBack, message };
    }
}

fn switch(system: &Path, action: &str, state: &mut GuardState) -> Ended {
    run(&system.join("bin/switch-to-configuration"), &[action], ACTIVATION_LIMIT, state)
}
