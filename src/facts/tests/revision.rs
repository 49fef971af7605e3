//! The revision that the running system reports, and how up to date the host is with it.

use super::*;

#[test]
fn a_system_is_asked_for_its_revision_even_if_its_commit_is_known() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let version = folder.path().join("system/sw/bin/nixos-version");
    fs::remove_file(&version).unwrap();
    write_script(&version, "#!/bin/sh\necho '{\"configurationRevision\":\"ccccccc1\"}'\n");
    let jobs = JobsDir::new(folder.path().join("state/jobs"));
    fs::create_dir_all(jobs.path()).unwrap();
    let mut history = History::default();
    let result = JobResult {
        system_after: Some(folder.path().join("system")),
        commit: Some("1d91f2b4c0ffee00000000000000000000000001".to_owned()),
        ..JobResult::without_supervisor(Outcome::Ok, String::new(), 0)
    };
    let lock = Some("44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a".to_owned());
    history.note(Reached::by("switch", 0, 1, Outcome::Ok), &JobId::generate(), "switch", &result, lock);
    history.store(&jobs).unwrap();
    let mut collector = Collector::new(&host(folder.path()));
    collector.refresh(false, |_| {}, || {});
    assert_eq!(collector.facts.system.configuration_revision.as_deref(), Some("ccccccc"));
    assert_eq!(collector.facts.generation, "1d91f2b");
    let verdict = &collector.facts.update_status.system;
    assert_eq!((verdict.status, verdict.message.as_str()), (UpdateState::Ok, "1d91f2b is deployed"));
}

#[test]
fn a_system_that_the_last_switch_made_is_judged_before_it_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let mut collector = Collector::new(&host(folder.path()));
    collector.refresh(false, |_| {}, || {});
    let link = folder.path().join("current-system");
    fs::remove_file(&link).unwrap();
    let system = folder.path().join("next");
    fs::create_dir_all(system.join("sw/bin")).unwrap();
    let asked = folder.path().join("asked");
    write_script(&system.join("sw/bin/nixos-version"), &format!("#!/bin/sh\ntouch {}\n", asked.display()));
    symlink(&system, &link).unwrap();
    let mut history = History::default();
    let result = JobResult {
        system_after: Some(system),
        commit: head_commit(&folder.path().join("repo")),
        ..JobResult::without_supervisor(Outcome::Ok, String::new(), 0)
    };
    let lock = Some(collector.facts.lock_hash.clone());
    history.note(Reached::by("switch", 0, 1, Outcome::Ok), &JobId::generate(), "switch", &result, lock);
    fs::create_dir_all(collector.jobs.path()).unwrap();
    history.store(&collector.jobs).unwrap();
    let judged = RefCell::new(None);
    let publish = |facts: &Facts| *judged.borrow_mut() = Some(facts.update_status.system.status);
    let answered = RefCell::new(None);
    let enough = || {
        answered.borrow_mut().get_or_insert((asked.exists(), *judged.borrow()));
    };
    collector.refresh(true, publish, enough);
    assert_eq!(answered.into_inner(), Some((false, Some(UpdateState::Ok))), "answered before it was asked");
    assert!(asked.exists());
}
