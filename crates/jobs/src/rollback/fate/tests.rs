use super::*;
use crate::rollback::{Activation, Decision};
use crate::{JobId, JobsDir};

fn trial(begun: Begun, code: Option<i32>) -> Trial {
    Trial {
        id: JobId::generate(),
        command: "pull-switch".to_owned(),
        boot_id: Some("then".to_owned()),
        previous: "/one".into(),
        new: "/two".into(),
        running: "/nowhere/current".into(),
        proc: "/proc".into(),
        profile: "/profile".into(),
        contact: "/contact".into(),
        confirm_timeout_s: 60,
        hold_s: 10,
        checks: Vec::new(),
        asked_ms: 0,
        begun,
        activation: code.map(|code| Activation { ended_ms: 1, code }),
    }
}

#[test]
fn what_was_decided_is_told_whatever_was_killed() {
    let decided = |kind| GuardState {
        decision: Some(Decision { kind, message: "why".to_owned() }),
        ..GuardState::default()
    };
    for (kind, code, expected) in [
        (Kind::Confirmed, Some(0), Some(Outcome::Ok)),
        (Kind::Confirmed, Some(4), Some(Outcome::ActivatedWithFailures)),
        (Kind::NotSet, Some(0), Some(Outcome::BootloaderFailed)),
        (Kind::RolledBack, None, Some(Outcome::RolledBack)),
        (Kind::Stuck, Some(0), Some(Outcome::ActivatedWithFailures)),
        (Kind::Unchanged, Some(1), None),
    ] {
        for boot in ["then", "now"] {
            let told = fate(&trial(Begun::Activating, code), &decided(kind), Some(boot), None);
            assert_eq!(told.map(|(outcome, _)| outcome), expected, "{kind:?} {boot}");
        }
    }
}

#[test]
fn an_undecided_trial_is_told_by_the_boot_and_by_what_runs() {
    let (one, two, three) = (Some(Path::new("/one")), Some(Path::new("/two")), Some(Path::new("/three")));
    for (stage, boot, running, expected, says) in [
        (Stage::Watching, "then", two, Outcome::Lost, "nobody decides about it"),
        (Stage::GoingBack, "then", one, Outcome::Lost, "nobody decides about it"),
        (Stage::Watching, "now", one, Outcome::RolledBack, "booted the one before it"),
        (Stage::GoingBack, "now", one, Outcome::RolledBack, "booted the one before it"),
        // The boot loader was not installed yet.
        (Stage::Committing, "now", one, Outcome::RolledBack, "booted the one before it"),
        (Stage::Watching, "now", three, Outcome::RolledBack, "booted /three"),
        (Stage::Watching, "now", None, Outcome::RolledBack, "booted another one"),
        (Stage::Committing, "now", two, Outcome::Ok, "was confirmed, and the machine restarted into it"),
        (Stage::Watching, "now", two, Outcome::InterruptedByReboot, "runs it all the same"),
    ] {
        let state = GuardState { stage, ..GuardState::default() };
        let (outcome, text) = fate(&trial(Begun::Activating, Some(0)), &state, Some(boot), running).unwrap();
        assert_eq!(outcome, expected, "{stage:?} {boot} {running:?}");
        assert!(text.contains(says), "{text}");
    }
    for begun in [Begun::Asking, Begun::Armed] {
        for boot in ["then", "now"] {
            let told = fate(&trial(begun, None), &GuardState::default(), Some(boot), one);
            assert_eq!(told, None, "nothing was changed: {begun:?} {boot}");
        }
    }
}

#[test]
fn a_trial_is_open_while_its_guard_lives_and_nothing_is_decided() {
    let folder = tempfile::tempdir().unwrap();
    let dir = JobsDir::new(folder.path()).job(&JobId::generate());
    std::fs::create_dir(dir.path()).unwrap();
    assert!(!is_open(&dir, Some("then")), "no trial");
    let mut trial = trial(Begun::Asking, None);
    trial.store(&dir).unwrap();
    assert!(!is_open(&dir, Some("then")), "not armed");
    trial.begun = Begun::Activating;
    trial.store(&dir).unwrap();
    assert!(!is_open(&dir, Some("now")), "another boot");
    let guard = crate::rollback::Guard::take(&dir).unwrap();
    assert!(is_open(&dir, Some("then")));
    let decision = Some(Decision { kind: Kind::RolledBack, message: String::new() });
    GuardState { decision, ..GuardState::default() }.store(&dir).unwrap();
    assert!(!is_open(&dir, Some("then")), "decided");
    drop(guard);
    let told = told(&dir, Some("then")).unwrap();
    assert_eq!(told.map(|(outcome, _)| outcome), Some(Outcome::RolledBack));
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_concluded_from_files_that_cannot_be_read_for_now() {
    crate::test_util::alone("rollback::fate::tests::with_few_descriptors");
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "runs in a process of its own"]
fn with_few_descriptors() {
    use crate::test_util::limit_descriptors;

    let folder = tempfile::tempdir().unwrap();
    let dir = JobsDir::new(folder.path()).job(&JobId::generate());
    std::fs::create_dir(dir.path()).unwrap();
    trial(Begun::Activating, Some(0)).store(&dir).unwrap();
    let decision = Some(Decision { kind: Kind::RolledBack, message: "why".to_owned() });
    GuardState { decision, ..GuardState::default() }.store(&dir).unwrap();
    limit_descriptors(Some(0));
    let (open, unread) = (is_open(&dir, Some("then")), told(&dir, Some("then")));
    limit_descriptors(None);
    assert!(open, "somebody may still decide");
    assert!(unread.is_err(), "{unread:?}");
    assert_eq!(told(&dir, Some("then")).unwrap().unwrap().0, Outcome::RolledBack);
    // Damage stays, and keeps nobody waiting.
    std::fs::write(dir.path().join("trial.json"), "{").unwrap();
    assert!(!is_open(&dir, Some("then")));
    assert_eq!(told(&dir, Some("then")).unwrap(), None);
}
