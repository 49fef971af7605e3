//! Examples of messages for docs/outcomes.md.

use super::actions::taken_back;
use super::decision::{Action, Checks, Facts, decide};
use super::fate::fate;
use super::{Activation, Begun, Contact, GuardState, Stage, Trial, TrialCheck};
use crate::JobId;
use crate::spec::capitalized;

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

/// Situations in which a new system is taken back, each with the exit code of the command and its message.
pub(crate) fn rolled_back() -> Vec<(&'static str, i32, String)> {
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
            Action::GoBack(reason) => message(&taken_back(&reason)),
            other => panic!("{other:?}"),
        }
    };
    let (none, all) = (contact(None), contact(Some(12_000)));
    let failed = Checks::Failed("the check `curl` (1 of 1) ended with exit status: 7".to_owned(), 0);
    let rebooted = fate(&trial(0), &GuardState::default(), Some("another"), Some("/previous".as_ref()));
    vec![
        ("the dashboard was not reached from the new system", 1, late(0, &none, &Checks::NotRun)),
        ("a check of `rollback.checks` failed", 1, late(0, &all, &failed)),
        ("the activation on trial failed", 2, late(2, &all, &Checks::NotRun)),
        ("the machine restarted before the confirmation", 1, message(&rebooted.unwrap().1)),
    ]
}
