use std::os::unix::fs::symlink;
use std::{fs, iter};

use super::*;
use crate::atomic_file::load;
use crate::journal::Source;
use crate::spec::Outcome;
use crate::test_util::{alone, limit_files};

fn id(number: usize) -> JobId {
    format!("{number:032x}").parse().unwrap()
}

fn numbers(ids: &[JobId]) -> Vec<usize> {
    ids.iter().map(|id| usize::from_str_radix(id.as_str(), 16).unwrap()).collect()
}

#[test]
fn only_what_was_read_is_pruned_and_the_rest_has_a_bound_too() {
    let check = |existing: usize, keep, unproven: Option<&[usize]>, expected: &[usize]| {
        let ids: Vec<JobId> = (1..=existing).map(id).collect();
        let unproven: Option<BTreeSet<JobId>> = unproven.map(|jobs| jobs.iter().copied().map(id).collect());
        let removed = surplus(ids, keep, &id(existing), unproven.as_ref());
        assert_eq!(numbers(&removed), expected, "{existing} jobs, {keep} to keep, unproven: {unproven:?}");
    };
    check(3, 3, Some(&[]), &[]);
    check(5, 3, Some(&[]), &[1, 2]);
    check(5, 0, Some(&[]), &[1, 2, 3, 4]);
    check(5, 1, Some(&[2, 5]), &[1, 3, 4]);
    check(5, 2, Some(&[1]), &[2, 3, 4]);
    check(5, 1, None, &[]);
    check(20, 1, None, &[1, 2, 3]);
    let all: Vec<usize> = (1..=20).collect();
    check(20, 2, Some(&all), &[1, 2]);
    check(20, 2, Some(&all[4..]), &[1, 2, 3, 4]);
    // The clock was set back: the running job sorts first, and is kept nevertheless.
    assert_eq!(numbers(&surplus(vec![id(1), id(2)], 1, &id(1), Some(&BTreeSet::new()))), [2]);
}

#[test]
fn records_are_read_without_following_links() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = JobsDir::new(folder.path().join("jobs"));
    let unproven = || unproven(&jobs, folder.path());
    assert_eq!(unproven(), Some(BTreeSet::new()), "no agent has run");
    let delivery = folder.path().join("agent/delivery");
    fs::create_dir_all(&delivery).unwrap();
    for name in
        [format!("{}.json", id(7)), format!("{}.tmp", id(8)), "other.json".to_owned(), id(9).to_string()]
    {
        fs::write(delivery.join(name), "").unwrap();
    }
    assert_eq!(unproven(), Some(iter::once(id(7)).collect()));
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&delivery, &elsewhere).unwrap();
    symlink(&elsewhere, &delivery).unwrap();
    assert_eq!(unproven(), None, "a link");
}

#[test]
fn a_job_whose_end_nobody_has_read_keeps_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = JobsDir::new(folder.path().join("jobs"));
    let delivery = folder.path().join("agent/delivery");
    fs::create_dir_all(&delivery).unwrap();
    for number in 1..=4 {
        fs::create_dir_all(jobs.job(&id(number)).path()).unwrap();
    }
    fs::write(delivery.join(format!("{}.json", id(2))), "").unwrap();
    prune(&jobs, folder.path(), 1, &id(4));
    let left: Vec<usize> = (1..=4).filter(|number| jobs.job(&id(*number)).path().exists()).collect();
    assert_eq!(left, [2, 4]);
}

#[test]
fn a_state_that_cannot_be_written_does_not_leave_an_old_process_behind() {
    alone("supervisor::folder::tests::state_on_a_full_disk");
}

#[test]
#[ignore = "runs in a process of its own"]
fn state_on_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let dir = JobsDir::new(folder.path()).job(&JobId::generate());
    fs::create_dir(dir.path()).unwrap();
    let store = |pid, is_full: bool| {
        limit_files(is_full.then_some(0));
        let state = State {
            supervisor_pid: 7,
            child_pid: Some(pid),
            step: 0,
            step_name: "step".to_owned(),
            phase: None,
            phase_since: None,
        };
        let stored = store_state(&dir, &state);
        assert_eq!(stored.is_err(), is_full);
        limit_files(None);
        load::<State>(&dir.state()).unwrap().map(|state| (state.supervisor_pid, state.child_pid))
    };
    assert_eq!(store(1, true), None, "full from the start");
    assert_eq!(store(2, false), Some((7, Some(2))));
    assert_eq!(store(3, true), Some((7, None)), "a stop still finds the supervisor");
    assert_eq!(store(4, true), Some((7, None)), "still full");
    assert_eq!(store(5, false), Some((7, Some(5))));
    assert_eq!(store(6, true), Some((7, None)), "full again");
    let mut log = Writer::create(dir.clone(), 1 << 20).unwrap();
    finish(&dir, &mut log, &result()).unwrap();
    let names = ["log.jsonl", "result.json", "state.json"].map(|name| dir.path().join(name).exists());
    assert_eq!((names, fs::read_dir(dir.path()).unwrap().count()), ([true; 3], 3), "nothing else stays");
}

fn result() -> JobResult {
    JobResult::without_supervisor(Outcome::Ok, String::new(), 0)
}

#[test]
fn the_log_is_synced_before_the_result_is_written_and_a_failure_is_in_both() {
    let folder = tempfile::tempdir().unwrap();
    let dir = JobsDir::new(folder.path()).job(&JobId::generate());
    fs::create_dir(dir.path()).unwrap();
    let mut log = Writer::create(dir.clone(), 65_536).unwrap();
    for _ in 0..2000 {
        log.line(Source::Stdout, "some text", false);
        log.flush();
    }
    // It was written, and nothing but a sync looks at it again.
    let newest = (0..100).map(|n| dir.log(n)).rfind(|path| path.exists()).unwrap();
    fs::rename(&newest, dir.path().join("aside")).unwrap();
    finish(&dir, &mut log, &result()).unwrap();
    let result: JobResult = load(&dir.result()).unwrap().unwrap();
    assert_eq!((result.last_seq, result.lines), (2001, Some(2001)), "the remark was written before it");
    let text = fs::read_to_string(dir.path().join("aside")).unwrap();
    assert!(text.lines().last().unwrap().contains("cannot sync the log, a power cut may cost"), "{text}");
}
