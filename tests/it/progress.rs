//! Progress of commands as a dashboard receives it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nixfleet_protocol::{AgentMessage, PartState, Parts, TestResult};

use crate::command::{commit, rebuilt_by};
use crate::rig::{AgentProcess, Fleet};

/// Part of the output of NixOS's activation.
const ACTIVATION: &str = "echo 'stopping the following units: nginx.service' >&2\n\
    echo 'activating the configuration...' >&2\necho 'setting up /etc...'\n\
    echo 'starting the following units: nginx.service' >&2\n";

/// A shell line that writes a recorded log of nix to standard error.
fn recorded(log: &str) -> String {
    format!("cat '{}/crates/jobs/tests/fixtures/nix/{log}' >&2\n", env!("CARGO_MANIFEST_DIR"))
}

/// A fleet with an origin, and a script in place of `nixos-rebuild`.
async fn fleet(rebuild: &str) -> Fleet {
    rebuilt_by(&format!("#!/bin/sh\nset -e\n{rebuild}")).await
}

/// The progress reports of the last command, each as `part current/total status phase detail`.
///
/// Fails if a report came after the status of the command.
fn reports(fleet: &Fleet) -> Vec<String> {
    let messages = fleet.messages();
    let last =
        messages.iter().rposition(|recorded| matches!(recorded.message, AgentMessage::Status(_))).unwrap();
    let is_progress = |message: &AgentMessage| matches!(message, AgentMessage::OperationProgress(_));
    assert!(!messages[last..].iter().any(|recorded| is_progress(&recorded.message)), "after the status");
    let first =
        messages[..last].iter().rposition(|recorded| matches!(recorded.message, AgentMessage::Status(_)));
    messages[first.unwrap_or(0)..last]
        .iter()
        .filter_map(|recorded| match &recorded.message {
            AgentMessage::OperationProgress(operation) => Some(lines(&operation.progress)),
            _ => None,
        })
        .flatten()
        .collect()
}

fn lines(parts: &Parts) -> Vec<String> {
    let named = [("pull", &parts.pull), ("lock", &parts.lock), ("system", &parts.system)];
    let known = named.into_iter().filter_map(|(name, part)| Some((name, part.as_ref()?)));
    known
        .map(|(name, part)| {
            let text = format!(
                "{name} {}/{} {:?} {} {}",
                part.current, part.total, part.status, part.phase, part.detail
            );
            text.trim_end().to_owned()
        })
        .collect()
}

const PULL: [&str; 7] = [
    "pull 0/4 Pending",
    "system 0/3 Pending",
    "pull 0/4 InProgress fetch",
    "pull 1/4 InProgress origin",
    "pull 2/4 InProgress reset",
    "pull 3/4 InProgress clean",
    "pull 4/4 Complete",
];

#[tokio::test]
async fn a_pull_switch_tells_each_step_and_each_phase_from_either_log_of_nix() {
    for (log, format) in [("build.log", ""), ("build.json.log", "internal-json")] {
        let fleet = fleet(&format!("echo \"called: $*\"\n{}{ACTIVATION}", recorded(log))).await;
        let mut command = fleet.agent_command();
        command.env("NIXFLEET_REBUILD__LOG_FORMAT", format);
        let _agent = AgentProcess::spawn(command, fleet.path("state"));
        fleet.ended("clone").await;
        let status = fleet.run("pull-switch").await;
        assert_eq!(status.exit_code, 0, "{}", status.message);
        let reports = reports(&fleet);
        assert_eq!(reports[..7], PULL, "{log}");
        assert_eq!(
            reports[7..9],
            ["system 0/3 InProgress evaluate", "system 1/3 InProgress build 0/4 derivations"],
            "{log}"
        );
        // The reports in between depend on timing.
        let counts = &reports[9..reports.len() - 3];
        assert!(
            counts.iter().all(|line| line.starts_with("system 1/3 InProgress build ")),
            "{log}: {reports:?}"
        );
        assert!(counts.is_sorted(), "{log}: {counts:?}");
        assert_eq!(
            reports[reports.len() - 3..],
            [
                "system 1/3 InProgress build 4/4 derivations",
                "system 2/3 InProgress activate",
                "system 3/3 Complete"
            ],
            "{log}"
        );
        let lines: Vec<String> = fleet.lines().into_iter().map(|(_, line, _)| line).collect();
        assert!(!lines.iter().any(|line| line.contains("@nix")), "{lines:?}");
        assert!(lines.iter().any(|line| line == "these 4 derivations will be built:"), "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("building '/nix/store/lcyph5")), "{lines:?}");
        let called = lines.iter().find(|line| line.starts_with("called: ")).unwrap();
        assert_eq!(called.ends_with(" --log-format internal-json"), !format.is_empty(), "{called}");
        fleet.assert_no_violations();
    }
}

#[tokio::test]
async fn a_clone_tells_how_far_it_is_and_its_log_has_no_line_of_that() {
    let fleet = fleet("true\n").await;
    let (programs, go_on) = (fleet.path("programs"), fleet.path("go-on"));
    fs::create_dir(&programs).unwrap();
    // The real git, which writes a part of its progress and waits.
    let slow = format!(
        "#!/bin/sh\nexec 3>&2\ncase \" $* \" in *' clone '*)\n  printf 'Receiving objects:  44%% (440/1000)\\rReceiving objects:  \
         45%% (450/1000), 1.20 MiB | 2.00 MiB/s\\r' >&3\n  while [ ! -e '{}' ]; do sleep 0.05; done;;\nesac\n\
         PATH=${{PATH#*:}} exec git \"$@\"\n",
        go_on.display()
    );
    fs::write(programs.join("git"), slow).unwrap();
    fs::set_permissions(programs.join("git"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = fleet.agent_command();
    command.env("PATH", format!("{}:{}", programs.display(), std::env::var("PATH").unwrap()));
    let _agent = AgentProcess::spawn(command, fleet.path("state"));
    fleet
        .wait("the detail", |fleet| {
            let host = fleet.dashboard.host(crate::rig::HOST)?;
            let wanted = "receiving objects 45%, 1.20 MiB at 2.00 MiB/s";
            host.operation.pull.filter(|part| part.detail == wanted)
        })
        .await;
    let beat = fleet.wait("what it does", |fleet| fleet.beats().pop()?.1.command_activity).await;
    assert_eq!(beat.phase, "clone");
    assert!(
        beat.phase_age_s.is_some_and(|age| age < 60) && beat.silent_s.is_some_and(|age| age < 60),
        "{beat:?}"
    );
    fs::write(&go_on, "").unwrap();
    assert_eq!(fleet.ended("clone").await.exit_code, 0);
    let lines: Vec<String> = fleet.lines().into_iter().map(|(_, line, _)| line).collect();
    assert!(!lines.iter().any(|line| line.contains("objects")), "{lines:?}");
    fleet.wait("nothing runs", |fleet| fleet.beats().pop()?.1.command_activity.is_none().then_some(())).await;
    fleet.assert_no_violations();
}

#[tokio::test]
async fn a_substituter_that_stalls_is_told_and_so_is_how_long_nothing_was_said() {
    let fleet = fleet(
        "echo 'these 40 paths will be fetched (1.0 MiB download, 2.0 MiB unpacked):' >&2\n\
         echo \"warning: error: unable to download 'https://cache.nixos.org/nar/1.nar.xz': Operation too slow. Less \
         than 1 bytes/sec transferred the last 300 seconds; retrying in 2119 ms (attempt 4/5)\" >&2\n\
         while [ ! -e \"$(dirname \"$0\")/go-on\" ]; do sleep 0.05; done\n\
         echo \"copying path '/nix/store/a-b' from 'https://cache.nixos.org'...\" >&2\n",
    )
    .await;
    let _agent = fleet.agent().await;
    fleet.ended("clone").await;
    fleet.send("switch");
    let stalled = "0/40 paths; cache.nixos.org stalled, attempt 4 of 5";
    fleet
        .wait("the stall", |fleet| {
            let host = fleet.dashboard.host(crate::rig::HOST)?;
            host.operation.system.filter(|part| part.detail == stalled)
        })
        .await;
    // Nothing is said any more, and that is counted.
    let silent = |fleet: &Fleet| {
        let activity = fleet.beats().pop()?.1.command_activity?;
        (activity.phase == "build" && activity.silent_s? >= 2).then_some(activity)
    };
    let activity = fleet.wait("silence", silent).await;
    assert!(activity.phase_age_s >= activity.silent_s, "{activity:?}");
    let asked = fleet.agent_command().arg("status").output().unwrap();
    let page = String::from_utf8(asked.stdout).unwrap();
    let words: Vec<&str> = page.split_whitespace().collect();
    assert!(words.join(" ").contains(&format!(" build, {stalled}, for ")), "{page}");
    fs::write(fleet.path("go-on"), "").unwrap();
    assert_eq!(fleet.ended("switch").await.exit_code, 0);
    let reports = reports(&fleet);
    assert!(reports.iter().any(|line| line == "system 1/3 InProgress build 1/40 paths"), "{reports:?}");
    fleet.assert_no_violations();
}

#[tokio::test]
async fn a_build_that_fails_leaves_its_phase_as_failed_and_says_why() {
    for log in ["failed.log", "failed.json.log"] {
        let fleet = fleet(&format!("{}exit 1\n", recorded(log))).await;
        let _agent = fleet.agent().await;
        fleet.ended("clone").await;
        let status = fleet.run("switch").await;
        assert_eq!(status.exit_code, 1);
        let why = "error: builder for '/nix/store/9p9m3inir9d5v4c2l71dc29nig6p8a9j-broken.drv' failed";
        assert!(status.message.contains(why), "{}", status.message);
        let reports = reports(&fleet);
        let end = reports.last().unwrap();
        assert!(end.starts_with("system 1/3 Error build "), "{log}: {reports:?}");
        assert!(end.ends_with("/2 derivations"), "{log}: {reports:?}");
        let lines: Vec<String> = fleet.lines().into_iter().map(|(_, line, _)| line).collect();
        assert!(lines.iter().any(|line| line == "       > cc: no such file"), "{log}: {lines:?}");
        assert!(!lines.iter().any(|line| line.contains("@nix")), "{lines:?}");
        fleet.assert_no_violations();
    }
}

#[tokio::test]
async fn a_rebuild_that_is_stopped_has_failed_where_it_was() {
    let fleet = fleet("echo 'these 2 derivations will be built:' >&2\nsleep 300\n").await;
    let _agent = fleet.agent().await;
    fleet.ended("clone").await;
    fleet.send("switch");
    fleet
        .wait("the build", |fleet| {
            let host = fleet.dashboard.host(crate::rig::HOST)?;
            host.operation.system.filter(|part| part.phase == "build")
        })
        .await;
    fleet.send("stop");
    let status = fleet.ended("switch").await;
    assert_eq!(status.exit_code, 143);
    assert_eq!(reports(&fleet).last().unwrap(), "system 1/3 Error build 0/2 derivations");
    fleet.assert_no_violations();
}

#[tokio::test]
async fn an_activation_that_says_nothing_is_seen_by_its_process() {
    let fleet = fleet("exec \"$(dirname \"$0\")/switch-to-configuration\" switch\n").await;
    let activation = fleet.path("switch-to-configuration");
    let go_on = fleet.path("go-on");
    fs::write(&activation, format!("#!/bin/sh\nwhile [ ! -e '{}' ]; do sleep 0.05; done\n", go_on.display()))
        .unwrap();
    fs::set_permissions(&activation, fs::Permissions::from_mode(0o755)).unwrap();
    let _agent = fleet.agent().await;
    fleet.ended("clone").await;
    fleet.send("switch");
    fleet
        .wait("the activation", |fleet| {
            let host = fleet.dashboard.host(crate::rig::HOST)?;
            host.operation.system.filter(|part| part.phase == "activate")
        })
        .await;
    fs::write(&go_on, "").unwrap();
    fleet.ended("switch").await;
    let reports = reports(&fleet);
    assert_eq!(
        reports,
        [
            "system 0/3 Pending",
            "system 0/3 InProgress evaluate",
            "system 2/3 InProgress activate",
            "system 3/3 Complete"
        ]
    );
    fleet.assert_no_violations();
}

#[tokio::test]
async fn what_cannot_be_started_has_failed() {
    let fleet = Fleet::strict().await;
    let _agent = fleet.agent().await;
    assert_eq!(fleet.run("pull-switch").await.exit_code, 1, "there is no repository");
    assert_eq!(
        reports(&fleet),
        ["pull 0/4 Pending", "system 0/3 Pending", "pull 0/4 Error", "system 0/3 Error"]
    );
    fleet.assert_no_violations();
}

#[tokio::test]
async fn results_of_test_scripts_are_told_beside_their_progress() {
    let fleet = fleet("true\n").await;
    let origin = fleet.path("origin");
    commit(&origin, "hosts/test-host/tests/T01.sh", "#!/bin/sh\nexit 3");
    commit(&origin, "hosts/test-host/tests/T02.sh", "#!/bin/sh\ntrue");
    let _agent = fleet.agent().await;
    fleet.ended("clone").await;
    assert_eq!(fleet.run("test").await.exit_code, 3);
    let tests: Vec<_> = fleet
        .messages()
        .into_iter()
        .filter_map(|recorded| match recorded.message {
            AgentMessage::OperationProgress(operation) => operation.progress.tests,
            _ => None,
        })
        .map(|tests| (tests.current, tests.total, tests.status, tests.results))
        .collect();
    let (pass, fail, pending) = (TestResult::Pass, TestResult::Fail, TestResult::Pending);
    assert_eq!(
        tests,
        [
            (0, 2, PartState::Pending, vec![pending, pending]),
            (0, 2, PartState::InProgress, vec![pending, pending]),
            (1, 2, PartState::InProgress, vec![fail, pending]),
            (2, 2, PartState::InProgress, vec![fail, pass]),
            (2, 2, PartState::Error, vec![fail, pass]),
        ]
    );
    assert!(
        fleet.messages().iter().any(|recorded| matches!(recorded.message, AgentMessage::TestProgress(_)))
    );
    fleet.assert_no_violations();
}
