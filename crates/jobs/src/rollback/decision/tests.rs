use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::JobId;
use crate::rollback::TrialCheck;

/// A trial whose activation ended 10 s after the boot, with 60 s for the confirmation.
fn trial(code: Option<i32>, checks: usize) -> Trial {
    Trial {
        id: JobId::generate(),
        command: "switch".to_owned(),
        boot_id: Some("this".to_owned()),
        previous: "/one".into(),
        new: "/two".into(),
        running: "/current".into(),
        proc: "/proc".into(),
        profile: "/profile".into(),
        contact: "/contact".into(),
        confirm_timeout_s: 60,
        hold_s: 10,
        checks: vec![TrialCheck { run: vec!["true".to_owned()], timeout_s: 5 }; checks],
        asked_ms: 0,
        begun: Begun::Activating,
        activation: code.map(|code| Activation { ended_ms: 10_000, code }),
    }
}

fn contact(opened_ms: u64, registered_ms: Option<u64>, heard_ms: Option<u64>) -> Contact {
    Contact { boot_id: Some("this".to_owned()), opened_ms, registered_ms, heard_ms }
}

/// Facts behind an activation that ended well: the new system runs, its supervisor lives, nobody is connected.
fn facts<'a>(trial: &'a Trial, now_ms: u64) -> Facts<'a> {
    Facts {
        trial,
        stage: Stage::Watching,
        reason: "",
        boot_id: Some("this"),
        now_ms,
        running: Some(Path::new("/two")),
        supervisor_lives: true,
        contact: None,
        checks: &Checks::NotRun,
    }
}

fn back(why: &str) -> Action {
    Action::GoBack(why.to_owned())
}

#[test]
fn before_the_end_of_the_activation_its_supervisor_decides_whether_to_wait() {
    for (begun, lives, expected) in [
        (Begun::Armed, true, Action::Wait),
        (Begun::Armed, false, Action::Leave),
        (Begun::Activating, true, Action::Wait),
        (Begun::Activating, false, back("the supervisor of the command was killed during the activation")),
    ] {
        let trial = Trial { begun, ..trial(None, 0) };
        let decided = decide(&Facts { supervisor_lives: lives, ..facts(&trial, 1_000_000) });
        assert_eq!(decided, expected, "{begun:?} {lives}");
    }
}

#[test]
fn the_end_of_the_activation_decides_whether_a_confirmation_is_awaited() {
    let (one, two, other) = (Some(Path::new("/one")), Some(Path::new("/two")), None);
    for (code, running, expected) in [
        (0, two, Action::Wait),
        // Units that failed may be between two starts. Whether the host can be reached decides.
        (4, two, Action::Wait),
        (4, other, Action::Wait),
        (2, two, back("the activation failed: an activation script failed (exit code 2)")),
        (101, two, back("the activation failed: its program broke off (exit code 101)")),
        (137, two, back("the activation failed: it was killed by signal 9")),
        (1, two, back("the activation failed: exit code 1")),
        (1, other, back("the activation failed: exit code 1")),
        // Nothing was changed: a refusal, a held lock, or a system that needs a reboot.
        (1, one, Action::Leave),
        (100, one, Action::Leave),
        (2, one, Action::Leave),
        (4, one, Action::Leave),
        // It says that it has activated the system. The link is not what reaches the host.
        (0, one, Action::Wait),
    ] {
        let trial = trial(Some(code), 0);
        assert_eq!(decide(&Facts { running, ..facts(&trial, 10_001) }), expected, "{code} {running:?}");
    }
}

#[test]
fn only_a_new_connection_that_was_registered_and_held_confirms() {
    const NONE: &str = "the agent did not try to connect anew";
    const UNREGISTERED: &str = "the dashboard accepted no registration on a new connection";
    let late = |what: &str| back(&format!("it was not confirmed within 60 s: {what}"));
    let held = |s: u64| format!("the new connection to the dashboard did not hold for 10 s, but for {s} s");
    for (said, what) in [
        (None, Some(NONE.to_owned())),
        (Some(contact(9_999, Some(10_500), Some(60_000))), Some(NONE.to_owned())),
        (Some(contact(10_000, None, None)), Some(UNREGISTERED.to_owned())),
        (Some(contact(10_000, Some(9_999), Some(60_000))), Some(UNREGISTERED.to_owned())),
        (Some(contact(10_000, Some(11_000), None)), Some(held(0))),
        (Some(contact(10_000, Some(11_000), Some(20_999))), Some(held(9))),
        (Some(contact(10_000, Some(11_000), Some(10_000))), Some(held(0))),
        (Some(contact(10_000, Some(11_000), Some(21_000))), None),
        (
            Some(Contact {
                boot_id: Some("another".to_owned()),
                ..contact(10_000, Some(11_000), Some(21_000))
            }),
            Some(NONE.to_owned()),
        ),
    ] {
        let trial = trial(Some(0), 0);
        for (now_ms, in_time) in [(69_999, true), (70_000, false), (1_000_000, false)] {
            let decided = decide(&Facts { contact: said.as_ref(), ..facts(&trial, now_ms) });
            let expected = match &what {
                None => Action::Commit,
                Some(_) if in_time => Action::Wait,
                Some(what) => late(what),
            };
            assert_eq!(decided, expected, "{said:?} {now_ms}");
        }
    }
}

#[test]
fn checks_run_behind_the_connection_and_again_until_there_is_no_time() {
    let trial = trial(Some(0), 1);
    let said = contact(10_000, Some(11_000), Some(21_000));
    let failed = || Checks::Failed("the check fails".to_owned(), 30_000);
    for (checks, now_ms, expected) in [
        (Checks::NotRun, 21_000, Action::Check),
        (Checks::Passed, 21_000, Action::Commit),
        (failed(), 29_999, Action::Wait),
        (failed(), 30_000, Action::Check),
        (failed(), 69_000, Action::Check),
        (failed(), 69_001, Action::Wait),
        (failed(), 70_000, back("it was not confirmed within 60 s: the check fails")),
        (Checks::NotRun, 70_000, back("it was not confirmed within 60 s: there was no time for the checks")),
        (Checks::Passed, 70_000, Action::Commit),
    ] {
        let decided = decide(&Facts { contact: Some(&said), checks: &checks, ..facts(&trial, now_ms) });
        assert_eq!(decided, expected, "{checks:?} {now_ms}");
    }
    let decided = decide(&Facts { checks: &Checks::Passed, ..facts(&trial, 21_000) });
    assert_eq!(decided, Action::Wait, "checks alone prove nothing");
}

#[test]
fn a_step_that_has_begun_is_completed_and_another_boot_has_decided() {
    let trial = trial(Some(0), 0);
    let going_back = Facts { stage: Stage::GoingBack, reason: "why", ..facts(&trial, 10_001) };
    assert_eq!(decide(&going_back), back("why"));
    let committing = Facts { stage: Stage::Committing, ..facts(&trial, 1_000_000) };
    assert_eq!(decide(&committing), Action::Commit);
    for facts in [going_back, committing, facts(&trial, 0)] {
        assert_eq!(decide(&Facts { boot_id: Some("another"), ..facts }), Action::Rebooted);
    }
}

proptest! {
    /// Whatever the agent claims: without time left, something is decided; and nothing is confirmed before it ended.
    #[test]
    fn behind_the_deadline_nobody_waits(
        code in 0..140i32,
        opened in 0..80_000u64,
        registered in proptest::option::of(0..80_000u64),
        heard in proptest::option::of(0..80_000u64),
        now_ms in 10_000..200_000u64,
        running in proptest::option::of(prop_oneof![Just("/one"), Just("/two"), Just("/three")]),
        lives: bool,
    ) {
        let trial = trial(Some(code), 0);
        let said = contact(opened, registered, heard);
        let running = running.map(PathBuf::from);
        let decided = decide(&Facts {
            contact: Some(&said),
            running: running.as_deref(),
            supervisor_lives: lives,
            ..facts(&trial, now_ms)
        });
        prop_assert!(decided != Action::Wait || now_ms < 70_000);
        if decided == Action::Commit {
            prop_assert!(opened >= 10_000 && registered >= Some(opened) && heard >= registered.map(|at| at + 10_000));
            prop_assert!([0, 4].contains(&code));
        }
    }
}
