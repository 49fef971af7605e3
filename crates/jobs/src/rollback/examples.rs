//! Examples of messages for docs/outcomes.md.

use super::actions::{not_installed, stuck, taken_back};
use super::decision::{Action, Checks, Facts, decide};
use super::fate::fate;
use super::{Activation, Begun, Contact, GuardState, Stage, Trial, TrialCheck};
use crate::JobId;
use crate::spec::{Outcome, capitalized};

/// A system on trial whose activation ended with that exit code.
pub(super) fn trial(code: i32) -> Trial {
    Trial {
        id: JobId::generate(),
        command: "switch".to_owned(),
        boot_id: Some("a boot".to_owned()),
        previous: "/previous".into(),
        new: "/new".into(),
        running: "/run/current-system".into(),
        proc: "/proc".into(),
        profile: "/profile".into(),
        contact: "/contact".into(),
        confirm_timeout_s: 180,
        hold_s: 10,
        checks: vec![TrialCheck { run: vec!["curl".to_owned()], timeout_s: 5 }],
        asked_ms: 0,
        begun: Begun::Activating,
        activation: Some(Activation { ended_ms: 10_000, code }),
    }
}

/// What can become of a system on trial that its command does not tell: outcome, situation, exit code and message.
pub(crate) fn ends() -> Vec<(Outcome, &'static str, i32, String)> {
    let contact = |registered_ms| Contact {
        boot_id: Some("a boot".to_owned()),
        opened_ms: 11_000,
        registered_ms,
        heard_ms: registered_ms.map(|at| at + 60_000),
    };
    let message = |text: &str| format!("{}: {text}", capitalized("switch"));
    let late = |code, contact: &Contact, checks: &Checks| {
        let facts = Facts {
            trial: &trial(code),
            stage: Stage::Watching,
            reason: "",
            boot_id: Some("a boot"),
            now_ms: 200_000,
            running: Some("/new".as_ref()),
            supervisor_lives: true,
            contact: Some(contact),
            checks,
        };
        match decide(&facts) {
            Action::GoBack(reason) => reason,
            other => panic!("{other:?}"),
        }
    };
    let (none, all) = (contact(None), contact(Some(12_000)));
    let failed = Checks::Failed("the check `curl` (1 of 1) ended with exit status: 7".to_owned(), 0);
    let rebooted = fate(&trial(0), &GuardState::default(), Some("another"), Some("/previous".as_ref()));
    let back = |reason: &str| message(&taken_back(reason));
    let unreached = late(0, &none, &Checks::NotRun);
    let (unchecked, unactivated) = (late(0, &all, &failed), late(2, &all, &Checks::NotRun));
    let ended = "ended with exit status: 1";
    let (uninstalled, stays) = (message(&not_installed(ended)), message(&stuck(&unreached, ended)));
    let rebooted = message(&rebooted.unwrap().1);
    vec![
        (Outcome::ActivatedWithFailures, "a system on trial could not be taken back", 1, stays),
        (Outcome::BootloaderFailed, "the same, behind the confirmation of a system on trial", 1, uninstalled),
        (Outcome::RolledBack, "the dashboard was not reached from the new system", 1, back(&unreached)),
        (Outcome::RolledBack, "a check of `rollback.checks` failed", 1, back(&unchecked)),
        (Outcome::RolledBack, "the activation on trial failed", 2, back(&unactivated)),
        (Outcome::RolledBack, "the machine restarted before the confirmation", 1, rebooted),
    ]
}
