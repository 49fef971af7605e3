use std::path::Path;

use nixfleet_os::disk;

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
        ("pull-switch", "fetch", false),
        ("backup", "switch", false),
        ("test", "switch", false),
    ] {
        assert_eq!(is_rebuild(command, step), expected, "{command} {step}");
    }
}
