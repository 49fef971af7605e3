use super::*;

fn result(outcome: Outcome, commit: &str) -> JobResult {
    let commit = Some(commit.repeat(40)[..40].to_owned());
    let exit_code = if outcome == Outcome::Ok { 0 } else { 4 };
    let system_after = Some(PathBuf::from("/nix/store/new-system"));
    JobResult {
        commit,
        exit_code,
        system_after,
        ..JobResult::without_supervisor(outcome, "said".to_owned(), 0)
    }
}

/// Which of pull, switch, deployed and test name the job, with their outcomes.
#[track_caller]
fn check(command: &str, step: usize, steps: usize, outcome: Outcome, expected: [Option<Outcome>; 4]) {
    let mut history = History::default();
    let job = JobId::generate();
    let reached = Reached::by(command, step, steps, outcome);
    history.note(reached, &job, command, &result(outcome, "a"), None);
    let History { pull, switch, deployed, test } = history;
    let outcomes = [pull, switch, deployed, test].map(|last| last.map(|last| last.outcome));
    assert_eq!(outcomes, expected, "{command} {step}/{steps} {outcome:?}");
}

#[test]
fn each_command_is_noted_where_it_belongs() {
    use Outcome::{Failed, Ok, Stopped};
    check("pull", 3, 4, Ok, [Some(Ok), None, None, None]);
    check("clone", 0, 1, Failed, [Some(Failed), None, None, None]);
    check("clone", 0, 0, Outcome::NotStarted, [Some(Outcome::NotStarted), None, None, None]);
    check("switch", 0, 1, Ok, [None, Some(Ok), Some(Ok), None]);
    check("switch", 0, 1, Failed, [None, Some(Failed), None, None]);
    check(
        "switch",
        0,
        1,
        Outcome::ActivatedWithFailures,
        [None, Some(Outcome::ActivatedWithFailures), Some(Outcome::ActivatedWithFailures), None],
    );
    check("rollback", 0, 1, Ok, [None, Some(Ok), Some(Ok), None]);
    check("test", 2, 3, Failed, [None, None, None, Some(Failed)]);
    check("pull-switch", 4, 5, Ok, [Some(Ok), Some(Ok), Some(Ok), None]);
    check("pull-switch", 4, 5, Stopped, [Some(Ok), Some(Stopped), None, None]);
    check("pull-switch", 1, 5, Failed, [Some(Failed), None, None, None]);
    check("pull-switch", 0, 0, Outcome::NotStarted, [Some(Outcome::NotStarted), None, None, None]);
    check("update", 0, 1, Ok, [None; 4]);
    check("backup", 0, 1, Failed, [None; 4]);
}

#[test]
fn a_failed_switch_leaves_the_last_good_one_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = JobsDir::new(folder.path());
    assert_eq!(History::load(&jobs), History::default());
    let mut history = History::default();
    for (outcome, commit) in [(Outcome::Ok, "a"), (Outcome::Failed, "b")] {
        let reached = Reached::by("switch", 0, 1, outcome);
        history.note(reached, &JobId::generate(), "switch", &result(outcome, commit), None);
    }
    history.store(&jobs).unwrap();
    let history = History::load(&jobs);
    let commit = |last: Option<Last>| last.unwrap().commit.unwrap();
    assert!(commit(history.deployed).starts_with('a') && commit(history.switch).starts_with('b'));
    std::fs::write(jobs.history(), "{torn").unwrap();
    assert_eq!(History::load(&jobs), History::default());
}

#[test]
fn a_rollback_leaves_nobody_with_the_commit_of_the_checkout() {
    for (command, known) in [("switch", true), ("rollback", false)] {
        let mut history = History::default();
        let (job, lock) = (JobId::generate(), Some("hash".to_owned()));
        let reached = Reached::by(command, 0, 1, Outcome::Ok);
        history.note(reached, &job, command, &result(Outcome::Ok, "a"), lock);
        let deployed = history.deployed.unwrap();
        assert_eq!((deployed.commit.is_some(), deployed.lock_hash.is_some()), (known, known), "{command}");
        assert_eq!(deployed.system, Some(PathBuf::from("/nix/store/new-system")));
        assert!(deployed.head.is_some(), "{command}: the checkout is where it is");
    }
}

#[test]
fn a_clone_with_nothing_to_do_leaves_the_last_pull_in_place() {
    let mut history = History::default();
    for (command, steps, commit) in [("pull", 4, "a"), ("clone", 0, "b")] {
        let reached = Reached::by(command, 0, steps, Outcome::Ok);
        history.note(reached, &JobId::generate(), command, &result(Outcome::Ok, commit), None);
    }
    let pull = history.pull.unwrap();
    assert_eq!((pull.command.as_str(), &pull.commit.unwrap()[..1]), ("pull", "a"));
}

#[test]
fn where_the_checkout_was_is_known_of_older_notes_too() {
    let mut history = History::default();
    let reached = Reached::by("switch", 0, 1, Outcome::Ok);
    history.note(reached, &JobId::generate(), "switch", &result(Outcome::Ok, "a"), None);
    let mut old = serde_json::to_value(history.switch.unwrap()).unwrap();
    old.as_object_mut().unwrap().remove("head");
    let old: Last = serde_json::from_value(old).unwrap();
    assert!(old.head.is_none() && old.checked_out().is_some_and(|commit| commit.starts_with('a')));
}

#[test]
fn only_what_replaces_the_system_counts_as_a_deployment() {
    let deploying: Vec<&str> =
        crate::supervisor::plan::JOBS.iter().copied().filter(|name| deploys(name)).collect();
    assert_eq!(deploying, ["switch", "pull-switch", "rollback"]);
    assert!(!deploys("backup") && !deploys("restart"));
}
