//! Files of version 0, field by field.

use nixfleet_jobs::checkout::Checkout;
use nixfleet_jobs::history::{History, Last};
use nixfleet_jobs::record::{Record, Records};
use nixfleet_jobs::spec::{JobResult, Outcome, Spec, State, Step, User};

use super::*;

#[test]
fn the_specs_of_version_0_are_read_with_every_field() {
    check(
        "reload.spec.json",
        &Spec {
            id: job("01a2185b930173f7bd335271afd16fd9"),
            command: "reload".to_owned(),
            steps: vec![Step {
                cwd: Some("/host".into()),
                env: [("LANG".to_owned(), "C".to_owned())].into(),
                activation: true,
                ..step("reload", &["/host/bin/reload", "all"])
            }],
            timeout_s: Some(60),
            boot_id: some(BOOT),
            started_at: "2026-11-26T14:56:24.326Z".to_owned(),
        },
    );
    check(
        "switch.spec.json",
        &Spec {
            id: job("01a2185b8e8172b6aee8c07c3e7783ec"),
            command: "switch".to_owned(),
            steps: vec![step(
                "switch",
                &["/host/bin/rebuild", "switch", "--flake", "/host/state/repo#golden"],
            )],
            timeout_s: None,
            boot_id: some(BOOT),
            started_at: "2026-11-26T14:56:23.175Z".to_owned(),
        },
    );
    let script = |name: &str| Step {
        cwd: Some("/host/state/repo".into()),
        test: true,
        ..step(name, &[&format!("/host/state/repo/hosts/golden/tests/{name}")])
    };
    check(
        "test.spec.json",
        &Spec {
            id: job("01a2185b90be77dda9c04072e3a0cc1d"),
            command: "test".to_owned(),
            steps: vec![script("T1-good.sh"), script("T2-bad.sh")],
            timeout_s: None,
            boot_id: some(BOOT),
            started_at: "2026-11-26T14:56:23.748Z".to_owned(),
        },
    );
    let nobody = [("HOME", "/nonexistent"), ("LOGNAME", "nobody"), ("USER", "nobody")];
    check(
        "update.spec.json",
        &Spec {
            id: job("01a2185791ea745f8bafdf9c354e0002"),
            command: "update".to_owned(),
            steps: vec![Step {
                cwd: Some("/host/origin".into()),
                env: nobody.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
                user: Some(User {
                    uid: 65534,
                    gid: 65534,
                    groups: vec![65534],
                    name: some("nobody"),
                    home: Some("/nonexistent".into()),
                }),
                ..step("update", &["nix", "flake", "update"])
            }],
            timeout_s: None,
            boot_id: some(BOOT),
            started_at: "2026-11-26T14:56:35.194Z".to_owned(),
        },
    );
    let pull: Spec = load(&file("v0", "pull.spec.json")).unwrap().unwrap();
    let names: Vec<&str> = pull.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["fetch", "origin", "reset", "clean"]);
    assert_eq!(pull.steps[3].argv, ["git", "-C", "/host/state/repo", "clean", "-fd"]);
    assert_eq!((pull.steps[0].env.len(), pull.steps[0].env["GIT_CONFIG_KEY_0"].as_str()), (16, "core.fsync"));
}

#[test]
fn the_states_of_version_0_are_read_with_every_field() {
    let state = |supervisor_pid, child_pid, step, step_name: &str| State {
        supervisor_pid,
        child_pid: Some(child_pid),
        step,
        step_name: step_name.to_owned(),
        phase: None,
        phase_since: None,
    };
    check("pull.state.json", &state(31795, 31811, 3, "clean"));
    check("switch.state.json", &state(31868, 31869, 0, "switch"));
    check("test.state.json", &state(31933, 31937, 1, "T2-bad.sh"));
    check("reload.state.json", &state(32024, 32025, 0, "reload"));
}

#[test]
fn the_results_of_version_0_are_read_with_every_field() {
    let failed = JobResult {
        outcome: Outcome::Failed,
        exit_code: 1,
        signal: None,
        message: "Switch: switch failed with exit code 1: error: builder failed".to_owned(),
        started_at: "2026-11-26T14:56:23.175Z".to_owned(),
        ended_at: "2026-11-26T14:56:23.178Z".to_owned(),
        duration_ms: 3,
        last_seq: 4,
        dropped: 0,
        lines: None,
        dropped_lines: None,
        unwritten_lines: None,
        unwritten: None,
        step: 0,
        commit: some(COMMIT),
        system_before: Some(OLD_SYSTEM.into()),
        system_after: Some(OLD_SYSTEM.into()),
        system: None,
        unexplained: false,
    };
    check("switch.result.json", &failed);
    let ok = JobResult { outcome: Outcome::Ok, exit_code: 0, ..failed.clone() };
    check(
        "switched.result.json",
        &JobResult {
            message: "Switch: Deployed d0e5ec6".to_owned(),
            started_at: "2026-11-26T14:56:26.459Z".to_owned(),
            ended_at: "2026-11-26T14:56:26.464Z".to_owned(),
            duration_ms: 4,
            last_seq: 3,
            system_after: Some(NEW_SYSTEM.into()),
            ..ok.clone()
        },
    );
    check(
        "pull.result.json",
        &JobResult {
            message: "Pull: Already at d0e5ec6".to_owned(),
            started_at: "2026-11-26T14:56:22.573Z".to_owned(),
            ended_at: "2026-11-26T14:56:22.607Z".to_owned(),
            duration_ms: 33,
            last_seq: 7,
            step: 3,
            ..ok.clone()
        },
    );
    check(
        "reload.result.json",
        &JobResult {
            message: "Reload: ok".to_owned(),
            started_at: "2026-11-26T14:56:24.326Z".to_owned(),
            ended_at: "2026-11-26T14:56:26.331Z".to_owned(),
            duration_ms: 2004,
            last_seq: 1,
            ..ok
        },
    );
    check(
        "test.result.json",
        &JobResult {
            exit_code: 3,
            message: "Test: 1/2 passed".to_owned(),
            started_at: "2026-11-26T14:56:23.748Z".to_owned(),
            ended_at: "2026-11-26T14:56:23.756Z".to_owned(),
            duration_ms: 7,
            last_seq: 11,
            step: 1,
            ..failed.clone()
        },
    );
    check(
        "hang.result.json",
        &JobResult {
            outcome: Outcome::Stopped,
            exit_code: 143,
            signal: Some(15),
            message: "Hang: stopped".to_owned(),
            started_at: "2026-11-26T14:56:35.065Z".to_owned(),
            ended_at: "2026-11-26T14:56:35.181Z".to_owned(),
            duration_ms: 115,
            last_seq: 0,
            system_before: None,
            system_after: None,
            system: None,
            ..failed
        },
    );
}

#[test]
fn the_histories_of_version_0_are_read_with_every_field() {
    let last = |id: &str, command: &str, outcome, exit_code, message: &str, system: &str| {
        Some(Last {
            job: job(id),
            command: command.to_owned(),
            outcome,
            exit_code,
            message: message.to_owned(),
            commit: some(COMMIT),
            head: some(COMMIT),
            lock_hash: some(LOCK_HASH),
            system: Some(system.into()),
        })
    };
    let failed = "Switch: switch failed with exit code 1: error: builder failed";
    let before = History {
        pull: last(
            "01a2185b8c2676d6ac391730095dcd2d",
            "pull",
            Outcome::Ok,
            0,
            "Pull: Already at d0e5ec6",
            OLD_SYSTEM,
        ),
        switch: last("01a2185b8e8172b6aee8c07c3e7783ec", "switch", Outcome::Failed, 1, failed, OLD_SYSTEM),
        deployed: None,
        test: last(
            "01a2185b90be77dda9c04072e3a0cc1d",
            "test",
            Outcome::Failed,
            3,
            "Test: 1/2 passed",
            OLD_SYSTEM,
        ),
        staged: None,
    };
    check("failed.history.json", &before);
    let deployed = "Switch: Deployed d0e5ec6";
    let switch = last("01a2185b9b567658837067da3ffdd967", "switch", Outcome::Ok, 0, deployed, NEW_SYSTEM);
    let after = History { switch: switch.clone(), deployed: switch, ..before };
    check("history.json", &after);

    // As supervisors and agents read it.
    let folder = tempfile::tempdir().unwrap();
    let jobs = JobsDir::new(folder.path());
    fs::copy(file("v0", "history.json"), jobs.history()).unwrap();
    assert_eq!(History::load(&jobs).unwrap(), after);
}

#[test]
fn the_note_of_the_checkout_of_version_0_is_read_with_every_field() {
    let dir = Path::new("/host/state/repo");
    check(
        "checkout.json",
        &Checkout { dir: dir.to_owned(), commit: some(COMMIT), lock_hash: some(LOCK_HASH) },
    );
}

#[test]
fn the_records_of_version_0_are_read_with_every_field() {
    let reload = Record {
        id: job("01a2185b930173f7bd335271afd16fd9"),
        command: "reload".to_owned(),
        command_id: some("01a2185b-9301-70f3-bcbe-97373085500f"),
        accepted_at: "2026-11-26T14:56:24.321Z".to_owned(),
        delivered_seq: 1,
        announced: false,
        line_numbers: false,
        result: None,
    };
    let reboot = Record {
        id: job("01a2185ba94e7087b66002dd22e355a3"),
        command: "reboot".to_owned(),
        command_id: some("01a2185b-a94d-73e8-9a11-f29e4d1bcb62"),
        accepted_at: "2026-11-26T14:56:30.030Z".to_owned(),
        delivered_seq: 0,
        announced: true,
        line_numbers: false,
        result: None,
    };
    check("reload.delivery.json", &reload);
    check("reboot.delivery.json", &reboot);

    // As an agent finds them when it starts.
    let folder = tempfile::tempdir().unwrap();
    for (name, record) in [("reload.delivery.json", &reload), ("reboot.delivery.json", &reboot)] {
        fs::copy(file("v0", name), folder.path().join(format!("{}.json", record.id))).unwrap();
    }
    assert_eq!(Records::new(folder.path()).load(), [reload, reboot]);
}
