//! SIGTERM to a job's supervisor: a stop that the agent ordered, one by somebody on the host, or a shutdown.

use std::fs;
use std::time::{Duration, Instant};

use nixfleet_protocol::{Status, StatusKind};

use crate::rig::{lives, run_program};
use crate::systemctl::Units;

/// How long an end that nothing explains is held back.
const HOLD: Duration = Duration::from_secs(10);

/// Two programs, of which the second shows that it ran. Each ends at once by SIGTERM.
const TWO: &str = "[commands.two]\nsteps = [[\"sleep\", \"300\"], [\"touch\", \"second\"]]\n";

fn told(status: &Status) -> (StatusKind, &str, i32, &str) {
    (status.status, status.outcome.as_deref().unwrap(), status.exit_code, &status.message)
}

#[tokio::test]
async fn a_command_cut_by_a_reboot_is_told_so_although_systemd_did_not_answer() {
    let units = Units::new("", "echo $$ > FOLDER/asking; exec sleep 300").await;
    // It needs a while to end, and writes meanwhile.
    let body = "trap 'echo ending' TERM\nn=0\n\
                until [ -e end ]; do n=$((n + 1)); echo line $n; sleep 0.05; done";
    let fleet = units.fleet.script("work", &format!("cd \"${{0%/*}}\"\n{body}"));
    let units = Units { fleet };
    let mut agent = units.agent().await;
    units.fleet.send("work");
    units.fleet.running("work").await;
    let last = |fleet: &crate::rig::Fleet| fleet.lines().into_iter().map(|(_, line, _)| line).next_back();
    units.fleet.wait("a line", last).await;
    units.sigterm();
    // The signal reaches the command, and its output is read, while systemd is being asked.
    let is_ending =
        |fleet: &crate::rig::Fleet| fleet.lines().iter().any(|(_, line, _)| line == "ending").then_some(());
    units.fleet.wait("the signal", is_ending).await;
    let then = units.fleet.lines().len();
    units.fleet.wait("more lines", |fleet| (fleet.lines().len() > then + 10).then_some(())).await;
    let asking = fs::read_to_string(units.file("asking")).unwrap().trim().parse().unwrap();
    assert!(lives(asking) && units.calls("is-system-running") == 1, "it still waits for an answer");
    fs::write(units.file("end"), "").unwrap();
    let result = units.result().await;
    assert_eq!((result["outcome"].as_str(), result["unexplained"].as_bool()), (Some("stopped"), Some(true)));
    assert!(units.fleet.statuses().is_empty(), "this agent does not know: {:?}", units.fleet.statuses());

    agent.kill();
    units.boot("two");
    let begun = Instant::now();
    let _next = units.agent().await;
    let status = units.fleet.ended("work").await;
    assert!(begun.elapsed() < HOLD, "the boot id says it at once");
    let expected =
        (StatusKind::Error, "interrupted_by_reboot", 143, "Work: stopped because the machine went down");
    assert_eq!(told(&status), expected);
    let config = units.file("agent.toml");
    let (config, state, proc) = (config.to_str().unwrap(), units.file("state"), units.file("proc"));
    let environment =
        [("NIXFLEET_STATE_DIR", state.to_str().unwrap()), ("NIXFLEET_PATHS__PROC", proc.to_str().unwrap())];
    let list = run_program(&["--config", config, "logs", "--list"], &environment);
    assert!(String::from_utf8_lossy(&list.stdout).contains("interrupted by reboot"), "{list:?}");
    units.fleet.assert_no_violations();
}

#[tokio::test]
async fn a_stop_that_nothing_explains_is_told_as_one_by_somebody_on_the_host_after_a_while() {
    let units = Units::new(TWO, "echo unknown").await;
    let _agent = units.agent().await;
    units.fleet.send("two");
    units.fleet.running("two").await;
    units.sigterm();
    let ended = Instant::now();
    let result = units.result().await;
    assert_eq!((result["outcome"].as_str(), result["unexplained"].as_bool()), (Some("stopped"), Some(true)));
    let status = units.fleet.ended("two").await;
    assert!(ended.elapsed() >= HOLD, "{:?}", ended.elapsed());
    let expected =
        (StatusKind::Stopped, "stopped", 143, "Two: stopped by somebody on the host, not by the dashboard");
    assert_eq!(told(&status), expected);
    units.fleet.assert_no_violations();
}

#[tokio::test]
async fn what_systemd_says_is_told_at_once() {
    for (answer, kind, outcome, message) in [
        (
            "echo stopping; exit 1",
            StatusKind::Error,
            "interrupted_by_reboot",
            "Two: stopped because the machine went down",
        ),
        ("echo degraded; exit 1", StatusKind::Stopped, "stopped", "Two: stopped"),
    ] {
        let units = Units::new(TWO, answer).await;
        let _agent = units.agent().await;
        units.fleet.send("two");
        units.fleet.running("two").await;
        units.sigterm();
        let result = units.result().await;
        assert_eq!(
            (result["outcome"].as_str(), result.get("unexplained")),
            (Some(outcome), None),
            "{answer}"
        );
        let begun = Instant::now();
        let status = units.fleet.ended("two").await;
        assert!(begun.elapsed() < HOLD, "{answer}");
        assert_eq!(told(&status), (kind, outcome, 143, message), "{answer}");
    }
}

#[tokio::test]
async fn a_stop_that_the_dashboard_ordered_needs_no_answer_of_systemd() {
    let units = Units::new(TWO, "exec sleep 300").await;
    let _agent = units.agent().await;
    units.fleet.send("two");
    let pid = units.fleet.running("two").await;
    let begun = Instant::now();
    units.fleet.send("stop");
    let status = units.fleet.ended("two").await;
    assert!(begun.elapsed() < HOLD, "{:?}", begun.elapsed());
    assert_eq!(told(&status), (StatusKind::Stopped, "stopped", 143, "Two: stopped"));
    assert!(!lives(pid));
    assert_eq!(units.calls("is-system-running"), 0);
    units.fleet.assert_no_violations();
}

#[tokio::test]
async fn an_activation_goes_on_and_nothing_follows_it_when_systemd_cannot_be_asked() {
    let settings = "[commands.deploy]\nsteps = [\
        { run = [\"/bin/sh\", \"-c\", \"until [ -e FOLDER/end ]; do /bin/sleep 0.05; done; echo > FOLDER/activated\"], activation = true },\
        [\"/bin/touch\", \"FOLDER/second\"]]\n";
    let units = Units::new("", "exit 1").await;
    let settings = settings.replace("FOLDER", &units.fleet.folder.path().display().to_string());
    let units = Units { fleet: units.fleet.configure(&settings) };
    // There is no systemctl for the supervisor.
    units.with_path("/nonexistent");
    let _agent = units.agent().await;
    units.fleet.send("deploy");
    let pid = units.fleet.running("deploy").await;
    units.sigterm();
    let remark = |fleet: &crate::rig::Fleet| {
        fleet.lines().iter().any(|(_, line, _)| line.contains("systemd does not say")).then_some(())
    };
    units.fleet.wait("the remark", remark).await;
    assert!(lives(pid), "the activation goes on");
    fs::write(units.file("end"), "").unwrap();
    let result = units.result().await;
    assert_eq!((result["outcome"].as_str(), result["unexplained"].as_bool()), (Some("stopped"), Some(true)));
    assert_eq!((result["step"].as_u64(), result["signal"].as_i64()), (Some(0), None));
    assert!(units.file("activated").exists() && !units.file("second").exists());
}
