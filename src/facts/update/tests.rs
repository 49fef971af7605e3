use std::path::PathBuf;

use nixfleet_jobs::JobId;

use super::*;

const OLD: &str = "aaaaaaa0000000000000000000000000000000aa";
const NEW: &str = "bbbbbbb0000000000000000000000000000000bb";
const SYSTEM: &str = "/nix/store/one-nixos-system";
const OTHER: &str = "/nix/store/two-nixos-system";
const AT: &str = "2026-07-14T12:00:00.000Z";
const LATER: &str = "2026-07-14T12:00:10.000Z";

fn last(command: &str, outcome: Outcome, commit: &str) -> Option<Last> {
    Some(Last {
        job: JobId::generate(),
        command: command.to_owned(),
        outcome,
        exit_code: if outcome == Outcome::Ok { 0 } else { 4 },
        message: format!("{command}: said"),
        commit: Some(commit.to_owned()),
        head: Some(commit.to_owned()),
        lock_hash: Some(format!("lock of {commit}")),
        system: Some(PathBuf::from(SYSTEM)),
    })
}

/// A host that pulled and deployed `commit`, and did nothing after that.
fn deployed_and_pulled(commit: &str) -> History {
    History {
        pull: last("pull", Outcome::Ok, commit),
        switch: last("switch", Outcome::Ok, commit),
        deployed: last("switch", Outcome::Ok, commit),
        test: None,
        staged: None,
    }
}

/// The current state: a checkout of `commit`, and that system.
fn there<'a>(commit: &'a str, lock_hash: &'a str, system: &'a str) -> Now<'a> {
    Now {
        configured: true,
        commit: Some(commit),
        lock_hash: Some(lock_hash),
        system: Some(Path::new(system)),
        revision: None,
        boots: None,
    }
}

const LOCK_OLD: &str = "lock of aaaaaaa0000000000000000000000000000000aa";
const LOCK_NEW: &str = "lock of bbbbbbb0000000000000000000000000000000bb";

fn judged(history: &History, now: Now<'_>) -> UpdateStatus {
    judge(history, now, &UpdateStatus::default(), false, AT)
}

#[track_caller]
fn check(verdict: &Verdict, status: UpdateState, message: &str) {
    let expected = Verdict { status, message: message.to_owned(), checked_at: AT.to_owned() };
    assert_eq!(*verdict, expected);
}

#[test]
fn the_lock_is_what_was_pulled_or_it_is_not() {
    let good = deployed_and_pulled(OLD);
    let lock = |history: &History, now: Now<'_>| judged(history, now).lock;
    let now = there(OLD, LOCK_OLD, SYSTEM);
    check(&lock(&good, now), UpdateState::Ok, "flake.lock is as pulled with aaaaaaa");
    let changed = there(OLD, "another", SYSTEM);
    check(&lock(&good, changed), UpdateState::Outdated, "flake.lock changed since aaaaaaa was pulled");
    let by_hand = there(NEW, LOCK_NEW, SYSTEM);
    let message = "the checkout moved since the last pull, not by this agent";
    check(&lock(&good, by_hand), UpdateState::Unknown, message);
    let only_the_commit = there(NEW, LOCK_OLD, SYSTEM);
    check(&lock(&good, only_the_commit), UpdateState::Ok, "flake.lock is as pulled with aaaaaaa");
    let none = Now { lock_hash: None, ..now };
    check(&lock(&good, none), UpdateState::Unknown, "the checkout has no flake.lock");
    check(&lock(&History::default(), now), UpdateState::Unknown, "nothing was pulled yet");
    let unset = Now { configured: false, ..now };
    check(&lock(&good, unset), UpdateState::Unknown, "no repository is configured");
    check(&lock(&good, Now { commit: None, ..now }), UpdateState::Unknown, "there is no checkout yet");
    let failed = History { pull: last("pull", Outcome::Failed, OLD), ..good };
    check(&lock(&failed, now), UpdateState::Error, "pull: said (exit code 4)");
    let never = History { pull: last("clone", Outcome::Failed, OLD), ..History::default() };
    let nothing = Now { commit: None, lock_hash: None, ..now };
    check(&lock(&never, nothing), UpdateState::Error, "clone: said (exit code 4)");
    check(
        &lock(&never, Now { configured: false, ..now }),
        UpdateState::Unknown,
        "no repository is configured",
    );
}

#[test]
fn the_system_is_what_the_checkout_says_or_it_is_not() {
    let system = |history: &History, now: Now<'_>| judged(history, now).system;
    let good = deployed_and_pulled(OLD);
    let now = there(OLD, LOCK_OLD, SYSTEM);
    check(&system(&good, now), UpdateState::Ok, "aaaaaaa is deployed");
    let moved = there(NEW, LOCK_NEW, SYSTEM);
    let message = "bbbbbbb is in the checkout, aaaaaaa is deployed";
    check(&system(&good, moved), UpdateState::Outdated, message);
    let message = "flake.lock changed since aaaaaaa was deployed";
    check(&system(&good, there(OLD, "another", SYSTEM)), UpdateState::Outdated, message);
    let elsewhere = there(OLD, LOCK_OLD, OTHER);
    let message = "another system runs than the one of the last switch";
    check(&system(&good, elsewhere), UpdateState::Outdated, message);
    let known = Now { revision: Some("aaaaaaa"), ..elsewhere };
    check(&system(&good, known), UpdateState::Ok, "aaaaaaa is deployed");
    let known = Now { revision: Some("ccccccc"), ..elsewhere };
    let message = "aaaaaaa is in the checkout, ccccccc is deployed";
    check(&system(&good, known), UpdateState::Outdated, message);
    let message = "aaaaaaa with local changes is deployed";
    for changed in [elsewhere, now] {
        let changed = Now { revision: Some("aaaaaaa-dirty"), ..changed };
        check(&system(&good, changed), UpdateState::Outdated, message);
    }
    let fresh = History::default();
    check(&system(&fresh, now), UpdateState::Unknown, "the running system does not tell its commit");
    let pulled = History { pull: last("pull", Outcome::Ok, OLD), ..History::default() };
    check(&system(&pulled, now), UpdateState::Outdated, "aaaaaaa was never deployed");
    check(&system(&good, Now { commit: None, ..now }), UpdateState::Unknown, "there is no checkout yet");
    let rollback = last("rollback", Outcome::Ok, OLD).map(|last| Last { commit: None, ..last });
    let back = History { switch: rollback.clone(), deployed: rollback, ..good };
    check(&system(&back, now), UpdateState::Outdated, "rolled back; aaaaaaa is in the checkout");
}

/// Home Manager on another system than NixOS has no `/run/current-system`.
#[test]
fn without_a_link_to_the_system_the_last_switch_counts() {
    let system = |history: &History, now: Now<'_>| judged(history, now).system;
    let unlinked = |last: Option<Last>| last.map(|last| Last { system: None, ..last });
    let good = deployed_and_pulled(OLD);
    let now = Now { system: None, ..there(OLD, LOCK_OLD, SYSTEM) };
    check(&system(&good, now), UpdateState::Unknown, "there is no link to the running system any more");
    let good = History { switch: unlinked(good.switch), deployed: unlinked(good.deployed), ..good };
    check(&system(&good, now), UpdateState::Ok, "aaaaaaa is deployed");
    let pulled = Now { system: None, ..there(NEW, LOCK_NEW, SYSTEM) };
    let message = "bbbbbbb is in the checkout, aaaaaaa is deployed";
    check(&system(&good, pulled), UpdateState::Outdated, message);
    let rollback = unlinked(last("rollback", Outcome::Ok, OLD)).map(|last| Last { commit: None, ..last });
    let back = History { switch: rollback.clone(), deployed: rollback, ..good };
    check(&system(&back, now), UpdateState::Outdated, "rolled back; aaaaaaa is in the checkout");
}

#[test]
fn a_failed_switch_is_an_error_until_something_moves() {
    let system = |history: &History, now: Now<'_>| judged(history, now).system;
    for outcome in [Outcome::Failed, Outcome::ActivatedWithFailures, Outcome::Lost, Outcome::TimedOut] {
        let history = History { switch: last("switch", outcome, NEW), ..deployed_and_pulled(OLD) };
        let same = there(NEW, LOCK_NEW, SYSTEM);
        check(&system(&history, same), UpdateState::Error, "switch: said (exit code 4)");
        let moved = there(OLD, LOCK_OLD, SYSTEM);
        check(&system(&history, moved), UpdateState::Ok, "aaaaaaa is deployed");
        let by_hand = Now { revision: Some("bbbbbbb"), ..there(NEW, LOCK_NEW, OTHER) };
        check(&system(&history, by_hand), UpdateState::Ok, "bbbbbbb is deployed");
        let unknown = Now { system: None, ..same };
        check(&system(&history, unknown), UpdateState::Error, "switch: said (exit code 4)");
    }
    let rollback = last("rollback", Outcome::Failed, OLD).map(|last| Last { commit: None, ..last });
    let history = History { switch: rollback, ..deployed_and_pulled(OLD) };
    let same = there(OLD, LOCK_OLD, SYSTEM);
    check(&system(&history, same), UpdateState::Error, "rollback: said (exit code 4)");
    let message = "bbbbbbb is in the checkout, aaaaaaa is deployed";
    check(&system(&history, there(NEW, LOCK_NEW, SYSTEM)), UpdateState::Outdated, message);
    let stopped = History { switch: last("switch", Outcome::Stopped, NEW), ..deployed_and_pulled(OLD) };
    let message = "bbbbbbb is in the checkout, aaaaaaa is deployed";
    check(&system(&stopped, there(NEW, LOCK_NEW, SYSTEM)), UpdateState::Outdated, message);
    // A message that has the exit code already stays as it is.
    let mut failed = last("switch", Outcome::Failed, NEW).unwrap();
    failed.message = "Switch: failed with exit code 4: no space".to_owned();
    let history = History { switch: Some(failed), ..History::default() };
    let message = "Switch: failed with exit code 4: no space";
    check(&system(&history, there(NEW, LOCK_NEW, SYSTEM)), UpdateState::Error, message);
}

#[test]
fn a_system_that_waits_for_the_next_boot_is_outdated_until_then_and_known_from_then_on() {
    let system = |history: &History, now: Now<'_>| judged(history, now).system;
    let waits = last("switch", Outcome::NeedsReboot, NEW);
    let staged = waits.clone().map(|last| Last { system: Some(PathBuf::from(OTHER)), ..last });
    let history = History { switch: waits, staged, ..deployed_and_pulled(OLD) };
    let before = there(NEW, LOCK_NEW, SYSTEM);
    check(&system(&history, before), UpdateState::Outdated, "bbbbbbb takes effect at the next boot");
    check(&system(&history, there(NEW, LOCK_NEW, OTHER)), UpdateState::Ok, "bbbbbbb is deployed");
    let message = "flake.lock changed since bbbbbbb was deployed";
    check(&system(&history, there(NEW, "another", OTHER)), UpdateState::Outdated, message);
    check(&system(&history, there(OLD, LOCK_OLD, SYSTEM)), UpdateState::Ok, "aaaaaaa is deployed");
}

#[test]
fn a_system_that_is_active_despite_an_error_is_deployed() {
    let despite = last("switch", Outcome::ActivatedDespiteError, NEW);
    let history = History { switch: despite.clone(), deployed: despite, ..deployed_and_pulled(OLD) };
    check(&judged(&history, there(NEW, LOCK_NEW, SYSTEM)).system, UpdateState::Ok, "bbbbbbb is deployed");
}

#[test]
fn tests_are_good_for_the_system_they_ran_on() {
    let now = there(OLD, LOCK_OLD, SYSTEM);
    let tests = |history: &History| judged(history, now).tests;
    check(&tests(&History::default()), UpdateState::Unknown, "not run yet");
    let mut history = deployed_and_pulled(OLD);
    check(&tests(&history), UpdateState::Outdated, "not run since the last switch");
    history.test = last("test", Outcome::Ok, OLD);
    check(&tests(&history), UpdateState::Ok, "test: said");
    let elsewhere = |history: &History| judged(history, Now { system: Some(Path::new(OTHER)), ..now }).tests;
    let message = "another system runs than the one they ran on";
    check(&elsewhere(&history), UpdateState::Outdated, message);
    history.test = last("test", Outcome::Failed, OLD);
    check(&tests(&history), UpdateState::Error, "test: said (exit code 4)");
    check(&elsewhere(&history), UpdateState::Outdated, message);
    let nobody_knows = judged(&history, Now { system: None, ..now }).tests;
    check(&nobody_knows, UpdateState::Error, "test: said (exit code 4)");
    history.deployed = last("switch", Outcome::Ok, NEW);
    check(&tests(&history), UpdateState::Outdated, "not run since the last switch");
}

#[test]
fn a_light_keeps_its_time_until_it_changes_or_somebody_asks() {
    let history = deployed_and_pulled(OLD);
    let now = there(OLD, LOCK_OLD, SYSTEM);
    let first = judge(&history, now, &UpdateStatus::default(), false, AT);
    assert_eq!(judge(&history, now, &first, false, LATER), first, "nothing new");
    let moved = judge(&history, there(NEW, LOCK_OLD, SYSTEM), &first, false, LATER);
    assert_eq!((moved.lock.checked_at.as_str(), moved.system.checked_at.as_str()), (AT, LATER));
    let asked = judge(&history, now, &first, true, LATER);
    assert_eq!((asked.lock.checked_at.as_str(), asked.tests.checked_at.as_str()), (LATER, LATER));
    assert_eq!(asked.git, Verdict::default(), "the dashboard's to judge");
}

#[test]
fn work_is_shown_where_it_is_done_and_for_less_than_four_minutes() {
    let working = |command: &str, running: u64, interval: u64| {
        let mut status = UpdateStatus::default();
        let seconds = Duration::from_secs;
        mark_working(&mut status, command, seconds(running), seconds(interval), AT);
        [&status.git, &status.lock, &status.system, &status.tests]
            .map(|part| part.status == UpdateState::Working)
    };
    for (command, expected) in [
        ("pull", [false, true, false, false]),
        ("update", [false, true, false, false]),
        ("switch", [false, false, true, false]),
        ("pull-switch", [false, false, true, false]),
        ("rollback", [false, false, true, false]),
        ("test", [false, false, false, true]),
        ("backup", [false; 4]),
    ] {
        for (running, interval, shown) in [
            (0, 60, true),
            (179, 60, true),
            (180, 60, false),
            (0, 239, true),
            (0, 240, false),
            (1, 3600, false),
        ] {
            let expected = if shown { expected } else { [false; 4] };
            assert_eq!(working(command, running, interval), expected, "{command} {running}+{interval}");
        }
    }
}

#[test]
fn a_system_that_waits_for_the_next_boot_is_told_and_then_deployed() {
    let prepared = |system: &str| {
        let staged = last("boot", Outcome::Ok, NEW).map(|last| Last { system: Some(system.into()), ..last });
        History { staged, ..deployed_and_pulled(OLD) }
    };
    let system = |history: &History, now: Now<'_>| judged(history, now).system;
    let before = Now { boots: Some(Path::new(OTHER)), ..there(NEW, LOCK_NEW, SYSTEM) };
    check(
        &system(&prepared(OTHER), before),
        UpdateState::Outdated,
        "bbbbbbb is in the checkout and runs from the next boot on, aaaaaaa is deployed",
    );
    for boots in [None, Some(Path::new(SYSTEM))] {
        let elsewhere = Now { boots, ..before };
        check(
            &system(&prepared(OTHER), elsewhere),
            UpdateState::Outdated,
            "bbbbbbb is in the checkout, aaaaaaa is deployed",
        );
    }
    check(&system(&prepared(OTHER), there(NEW, LOCK_NEW, OTHER)), UpdateState::Ok, "bbbbbbb is deployed");
    check(
        &system(&prepared(OTHER), there(NEW, "another", OTHER)),
        UpdateState::Outdated,
        "flake.lock changed since bbbbbbb was deployed",
    );
}
