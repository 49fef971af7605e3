use std::path::Path;

use nixfleet_os::disk;

use super::*;
use crate::system_state::{SystemChange, SystemState};

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
    let History { pull, switch, deployed, test, staged } = history;
    assert_eq!(staged, None);
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
    for outcome in [Outcome::NeedsReboot, Outcome::Refused, Outcome::Busy, Outcome::BootloaderFailed] {
        check("switch", 0, 1, outcome, [None, Some(outcome), None, None]);
    }
    let despite = Some(Outcome::ActivatedDespiteError);
    check("switch", 0, 1, Outcome::ActivatedDespiteError, [None, despite, despite, None]);
    check("rollback", 0, 1, Ok, [None, Some(Ok), Some(Ok), None]);
    check("test", 2, 3, Failed, [None, None, None, Some(Failed)]);
    check("pull-switch", 4, 5, Ok, [Some(Ok), Some(Ok), Some(Ok), None]);
    check("pull-switch", 4, 5, Stopped, [Some(Ok), Some(Stopped), None, None]);
    check("pull-switch", 1, 5, Failed, [Some(Failed), None, None, None]);
    check("pull-switch", 0, 0, Outcome::NotStarted, [Some(Outcome::NotStarted), None, None, None]);
    check("boot", 0, 1, Ok, [None; 4]);
    check("boot", 0, 1, Failed, [None; 4]);
    check("update", 0, 1, Ok, [None; 4]);
    check("backup", 0, 1, Failed, [None; 4]);
}

/// A switch that needs a reboot has the system that runs afterwards.
#[test]
fn a_system_that_waits_for_the_next_boot_is_remembered_until_another_one_is_activated() {
    let (running, waits) = (Path::new("/nix/store/new-system"), Path::new("/nix/store/next-system"));
    let mut history = History::default();
    let mut note = |outcome, commit: &str, before: &Path, after: &Path| {
        let state = |profile: &Path| SystemState {
            running: Some(running.to_owned()),
            profile: Some(profile.to_owned()),
            ..SystemState::default()
        };
        let change = SystemChange { before: state(before), after: state(after), ..SystemChange::default() };
        let result = JobResult { system: Some(Box::new(change)), ..result(outcome, commit) };
        history.note(Reached::by("switch", 0, 1, outcome), &JobId::generate(), "switch", &result, None);
        let commit = |system| history.made(Some(system)).and_then(|last| last.commit.clone());
        (
            commit(running).map(|commit| commit[..1].to_owned()),
            commit(waits).map(|commit| commit[..1].to_owned()),
        )
    };
    let some = |commit: &str| Some(commit.to_owned());
    assert_eq!(note(Outcome::Ok, "a", running, running), (some("a"), None));
    assert_eq!(note(Outcome::NeedsReboot, "b", running, waits), (some("a"), some("b")));
    // The profile is somebody else's, or that of an earlier command.
    assert_eq!(note(Outcome::Failed, "c", waits, waits), (some("a"), some("b")));
    assert_eq!(note(Outcome::NeedsReboot, "d", waits, waits), (some("a"), some("d")));
    assert_eq!(note(Outcome::Refused, "e", running, waits), (some("a"), some("e")));
    assert_eq!(note(Outcome::ActivatedDespiteError, "f", running, running), (some("f"), None));
    assert_eq!(history.made(None), None);
}

#[test]
fn a_system_that_runs_is_deployed_although_the_boot_loader_failed_behind_it() {
    let state = |running: &str| SystemState { running: Some(running.into()), ..SystemState::default() };
    let deployed = |before: &str, after: &str| {
        let change = SystemChange { before: state(before), after: state(after), ..SystemChange::default() };
        let result = JobResult { system: Some(Box::new(change)), ..result(Outcome::BootloaderFailed, "a") };
        let mut history = History::default();
        let reached = Reached::by("switch", 0, 1, result.outcome);
        history.note(reached, &JobId::generate(), "switch", &result, None);
        history.deployed.is_some()
    };
    assert!(deployed("/nix/store/old", "/nix/store/new"));
    assert!(!deployed("/nix/store/old", "/nix/store/old"));
}

#[test]
fn a_failed_switch_leaves_the_last_good_one_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = JobsDir::new(folder.path());
    assert_eq!(History::load(&jobs).unwrap(), History::default());
    let mut history = History::default();
    for (outcome, commit) in [(Outcome::Ok, "a"), (Outcome::Failed, "b")] {
        let reached = Reached::by("switch", 0, 1, outcome);
        history.note(reached, &JobId::generate(), "switch", &result(outcome, commit), None);
    }
    history.store(&jobs).unwrap();
    let history = History::load(&jobs).unwrap();
    let commit = |last: Option<Last>| last.unwrap().commit.unwrap();
    assert!(commit(history.deployed).starts_with('a') && commit(history.switch).starts_with('b'));
}

#[test]
fn nothing_is_stored_over_a_history_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = JobsDir::new(folder.path());
    let add = || {
        let mut remarks = Vec::new();
        let history = History::load_to_add(&jobs, |text| remarks.push(text.to_owned()));
        (history, remarks)
    };
    assert_eq!(add(), (Ok(History::default()), vec![]), "no file");
    // Damaged: it is moved aside, once.
    std::fs::write(jobs.history(), "{torn").unwrap();
    assert!(History::load(&jobs).is_err());
    let (history, remarks) = add();
    assert_eq!(history, Ok(History::default()));
    let aside = folder.path().join("history.damaged");
    assert!(
        remarks[0].contains("history.json is damaged") && remarks[0].contains("history.damaged"),
        "{remarks:?}"
    );
    assert_eq!(std::fs::read_to_string(aside).unwrap(), "{torn");
    assert_eq!(add(), (Ok(History::default()), vec![]));
    // Unreadable for a reason that may pass: an error, after more than one attempt, and the file stays.
    let disk = nixfleet_os::Disk::simulated(std::sync::Arc::new(Unreadable::default()));
    let machine = nixfleet_os::Machine { disk, ..nixfleet_os::Machine::default() };
    let jobs = JobsDir::on(machine, folder.path());
    let why = History::load_to_add(&jobs, |_| panic!("it is not damaged")).unwrap_err();
    assert!(why.contains("history.json") && why.contains("Input/output error"), "{why}");
    let files = jobs.disk().simulation().unwrap();
    assert!(format!("{files:?}").contains('4'), "{files:?}");
}

/// A disk that cannot read.
#[derive(Debug, Default)]
struct Unreadable(std::sync::atomic::AtomicU32);

impl nixfleet_os::disk::Files for Unreadable {
    fn open(&self, _: &Path, _: disk::Open) -> io::Result<Box<dyn disk::OpenFile>> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Err(rustix::io::Errno::IO.into())
    }

    fn make_folder(&self, _: &Path, _: bool) -> io::Result<()> {
        unreachable!()
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        unreachable!("the file has to stay")
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        unreachable!()
    }

    fn remove_folder(&self, _: &Path) -> io::Result<()> {
        unreachable!()
    }

    fn list(&self, _: &Path) -> io::Result<Vec<std::ffi::OsString>> {
        unreachable!()
    }

    fn kind(&self, _: &Path) -> io::Result<disk::Kind> {
        unreachable!()
    }

    fn read_link(&self, _: &Path) -> io::Result<PathBuf> {
        unreachable!()
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        unreachable!()
    }

    fn watch(&self, _: &Path) -> io::Result<Box<dyn disk::Watch>> {
        unreachable!()
    }
}

#[test]
fn a_commit_in_a_file_is_a_hash_or_absent() {
    let commit = |text: &str| {
        let mut last = serde_json::to_value(Last {
            job: JobId::generate(),
            command: "pull".to_owned(),
            outcome: Outcome::Ok,
            exit_code: 0,
            message: String::new(),
            commit: None,
            head: None,
            lock_hash: None,
            system: None,
        })
        .unwrap();
        last["commit"] = serde_json::from_str(text).unwrap();
        serde_json::from_value::<Last>(last).unwrap().commit
    };
    assert_eq!(commit("\"1e28a51\""), Some("1e28a51".to_owned()));
    for text in ["null", "7", "\"\"", "\"ééééééé\"", "\"1e28a51-dirty\"", &format!("\"{}\"", "a".repeat(65))]
    {
        assert_eq!(commit(text), None, "{text}");
    }
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
fn a_boot_stages_the_system_of_the_profile_also_if_it_was_there_before() {
    let state = |running: &str| SystemState {
        running: Some(running.into()),
        profile: Some("/nix/store/next".into()),
        ..SystemState::default()
    };
    let reached = Reached::by("boot", 0, 1, Outcome::Ok);
    let staged = |running: &str| {
        let mut history = History::default();
        let change =
            SystemChange { before: state(running), after: state(running), ..SystemChange::default() };
        let result = JobResult { system: Some(Box::new(change)), ..result(Outcome::Ok, "a") };
        history.note(reached, &JobId::generate(), "boot", &result, None);
        assert!(history.deployed.is_none() && history.switch.is_none());
        history.staged.map(|last| (last.system, last.commit.is_some()))
    };
    assert_eq!(staged("/nix/store/now"), Some((Some("/nix/store/next".into()), true)));
    assert_eq!(staged("/nix/store/next"), None, "nothing waits");
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

#[test]
fn a_step_rebuilds_if_its_command_replaces_the_system() {
    for (command, step, expected) in [
        ("switch", "switch", true),
        ("pull-switch", "switch", true),
        ("rollback", "switch", true),
        ("boot", "boot", true),
        ("pull-switch", "fetch", false),
        ("backup", "switch", false),
        ("test", "switch", false),
    ] {
        assert_eq!(is_rebuild(command, step), expected, "{command} {step}");
    }
}
