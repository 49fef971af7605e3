use std::os::unix::fs::symlink;
use std::{fs, iter};

use super::*;

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
