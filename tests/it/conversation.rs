//! Every command of the protocol, one after the other on one connection. The mock dashboard is strict: it records
//! whatever existing NixFleet dashboards could not handle.
//!
//! The commands share a connection because the rules are about order: what one command leaves behind (a heartbeat
//! that is still due, an occupied slot, a later registration) would break the next command.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nixfleet_dashboard::Recorded;
use nixfleet_protocol::{AgentMessage, Status, StatusKind};

use crate::command::{commit, git, with_origin};
use crate::rig::{AgentProcess, Fleet, HOST, lives};

/// Seconds between heartbeats: so long that no scheduled heartbeat is mistaken for the one after a status.
const INTERVAL: &str = "600";

/// What follows the status of a command.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    /// A heartbeat.
    Beat,
    /// A heartbeat, a registration on the same connection, a heartbeat.
    Register,
}

/// A command, and the expected status.
struct Row {
    command: &'static str,
    kind: StatusKind,
    exit_code: i32,
    /// Part of the message.
    message: &'static str,
    then: Then,
}

const fn row(command: &'static str, exit_code: i32, message: &'static str) -> Row {
    let kind = if exit_code == 0 { StatusKind::Ok } else { StatusKind::Error };
    Row { command, kind, exit_code, message, then: Then::Beat }
}

const fn switches(command: &'static str, message: &'static str) -> Row {
    Row { then: Then::Register, ..row(command, 0, message) }
}

/// Commands that need no further interaction, in an order in which each one works.
const COMMANDS: &[Row] = &[
    row("stop", 1, "nothing is running"),
    row("kill", 1, "nothing is running"),
    row("pull", 0, "Pull: "),
    // Twice: a heartbeat must follow the first status before the second one.
    row("pull", 0, "Pull: Already at "),
    switches("switch", "Switch: Deployed "),
    switches("pull-switch", "Pull-switch: Deployed "),
    switches("rollback", "Rollback: ok"),
    row("test", 3, "Test: 1/2 passed"),
    row("update", 0, "Update: ok"),
    row("clone", 0, "Clone: Already at "),
    row("check-version", 0, "Check version: "),
    row("refresh-git", 0, "is checked out"),
    row("refresh-lock", 0, "Refresh lock: "),
    row("refresh-system", 0, "Refresh system: outdated: rolled back"),
    row("refresh-all", 0, "tests error: Test: 1/2 passed"),
    // Twice, like an impatient user.
    row("refresh-all", 0, "Refresh all: "),
    row("reboot", 1, "reboot.enable"),
    row("hello", 0, "Hello: ok"),
    row("fails", 7, "error: no such attribute"),
    row("bump-flake", 1, "send `update`"),
    row("force-rebuild", 1, "send `switch`"),
    row("force-update", 1, "or `pull-switch`"),
    row("no-such-command", 1, "unknown command"),
];

/// A fleet with a repository, test scripts, and programs that only print their arguments.
async fn fleet() -> (Fleet, AgentProcess) {
    let fleet = with_origin(Fleet::strict().await)
        .script("hello", "echo hello; echo warned >&2")
        .script("fails", "echo trying; echo 'error: no such attribute' >&2; exit 7")
        .script("nap", "echo begun; exec sleep 300");
    let origin = fleet.path("origin");
    commit(&origin, "hosts/test-host/tests/T01-good.sh", "#!/bin/sh\necho one");
    commit(&origin, "hosts/test-host/tests/T02-bad.sh", "#!/bin/sh\necho broken >&2\nexit 3");
    // Clone it beforehand, or the agent's own clone would be the first command.
    let (from, to) = (origin.display().to_string(), fleet.path("state/repo").display().to_string());
    git(fleet.folder.path(), &["clone", "--quiet", &from, &to]);
    let programs = fleet.path("bin");
    fs::create_dir(&programs).unwrap();
    fs::write(programs.join("nix"), "#!/bin/sh\necho \"nix $*\"\n").unwrap();
    fs::set_permissions(programs.join("nix"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = fleet.agent_command();
    command.env("NIXFLEET_INTERVAL", INTERVAL);
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", programs.display()));
    let agent = AgentProcess::spawn(command, fleet.path("state"));
    idle(&fleet).await;
    (fleet, agent)
}

/// Waits for a heartbeat without a running command.
async fn idle(fleet: &Fleet) {
    fleet.wait("a free slot", |fleet| fleet.beats().pop()?.1.pending_command.is_none().then_some(())).await;
}

/// Sends a command and checks everything that follows.
async fn send_and_check(fleet: &Fleet, row: &Row) {
    let from = fleet.dashboard.next_index(HOST);
    fleet.send(row.command);
    check_answer(fleet, row, from).await;
}

/// Checks the status, and the messages that must follow it, among those from index `from` on.
async fn check_answer(fleet: &Fleet, row: &Row, from: u64) {
    let name = row.command;
    let behind = fleet
        .wait(&format!("everything behind the status of `{name}`"), |fleet| {
            let messages = fleet.dashboard.messages_since(HOST, from);
            let at = messages.iter().position(|m| matches!(m.message, AgentMessage::Status(_)))?;
            complete(&messages[at..], row.then).then(|| messages[at..].to_vec())
        })
        .await;
    let AgentMessage::Status(status) = &behind[0].message else { panic!("{behind:?}") };
    assert_eq!(
        (status.command.as_str(), status.status, status.exit_code),
        (name, row.kind, row.exit_code),
        "{status:?}"
    );
    assert!(status.message.contains(row.message), "`{name}`: {} lacks {}", status.message, row.message);
    let AgentMessage::Heartbeat(beat) = &behind[1].message else { panic!("behind `{name}`: {behind:?}") };
    assert_eq!(beat.pending_command, None, "`{name}` is over");
    let connections: Vec<u64> = behind.iter().map(|m| m.connection).collect();
    assert!(connections.windows(2).all(|pair| pair[0] == pair[1]), "on the same connection: {connections:?}");
}

/// Whether exactly the messages that must follow a status have arrived.
fn complete(behind: &[Recorded], then: Then) -> bool {
    use AgentMessage::{Heartbeat, Register, Status};
    let kinds: Vec<&AgentMessage> = behind.iter().map(|recorded| &recorded.message).collect();
    match then {
        Then::Beat => matches!(kinds[..], [Status(_), Heartbeat(_)]),
        Then::Register => matches!(kinds[..], [Status(_), Heartbeat(_), Register(_), Heartbeat(_)]),
    }
}

/// Sends a command that runs until it is stopped, and waits until it runs.
async fn nap(fleet: &Fleet) {
    let lines = fleet.lines().len();
    fleet.send("nap");
    fleet.wait("its first line", |fleet| (fleet.lines().len() > lines).then_some(())).await;
}

#[tokio::test]
async fn every_command_is_answered_as_existing_dashboards_need_it() {
    let (fleet, _agent) = fleet().await;
    for row in COMMANDS {
        send_and_check(&fleet, row).await;
    }
    failing_switches(&fleet).await;
    second_command(&fleet).await;
    for stop in ["stop", "kill"] {
        stopped_by(&fleet, stop).await;
    }
    restarted(&fleet).await;
    fleet.assert_no_violations();
}

/// A failed switch is not followed by a registration, also if only some units failed.
async fn failing_switches(fleet: &Fleet) {
    let connections = fleet.dashboard.connections(HOST);
    for (exit_code, message) in [(1, "failed with exit code 1"), (4, "web.service failed")] {
        fs::write(fleet.path("rebuild-exit-code"), exit_code.to_string()).unwrap();
        send_and_check(fleet, &row("switch", exit_code, message)).await;
    }
    fs::remove_file(fleet.path("rebuild-exit-code")).unwrap();
    send_and_check(fleet, &switches("switch", "Deployed")).await;
    assert_eq!(fleet.dashboard.connections(HOST), connections);
}

/// The second command is rejected and the first one goes on.
async fn second_command(fleet: &Fleet) {
    nap(fleet).await;
    let from = fleet.dashboard.next_index(HOST);
    fleet.send("switch");
    let rejected = fleet.wait("a rejection", |fleet| fleet.rejections().pop()).await;
    assert_eq!(rejected.reason, "command already running");
    assert_eq!(rejected.current_command.as_deref(), Some("nap"));
    assert!(rejected.current_pid.is_some_and(lives), "{rejected:?}");
    fleet.send("stop");
    let stopped = Row { kind: StatusKind::Stopped, ..row("nap", 143, "stopped") };
    check_answer(fleet, &stopped, from).await;
    assert_eq!(fleet.rejections().len(), 1, "a stop is never rejected");
}

async fn stopped_by(fleet: &Fleet, stop: &str) {
    let from = fleet.dashboard.next_index(HOST);
    nap(fleet).await;
    fleet.send(stop);
    check_answer(fleet, &Row { kind: StatusKind::Stopped, ..row("nap", 143, "stopped") }, from).await;
}

/// The status is sent before the agent ends; the first heartbeat comes from the new process.
async fn restarted(fleet: &Fleet) {
    let connections = fleet.dashboard.connections(HOST);
    let Status { exit_code, message, .. } = fleet.run("restart").await;
    assert_eq!((exit_code, message.as_str()), (0, "Restart: the agent is starting again"));
    fleet
        .wait("a first beat of the new process", |fleet| {
            let back = fleet.messages().last()?.connection == connections + 1;
            (back && fleet.beats().pop()?.1.seq == Some(1)).then_some(())
        })
        .await;
    send_and_check(fleet, &row("hello", 0, "Hello: ok")).await;
}

#[tokio::test]
async fn cuts_and_a_killed_agent_in_the_middle_of_a_command_break_no_rule() {
    let fleet = Fleet::strict()
        .await
        .script("flood", "for i in $(seq 1 200); do seq -f \"$i-%.0f\" 1 50; sleep 0.01; done");
    let mut agent = fleet.agent().await;
    fleet.send("flood");
    for cut in 1..=4 {
        fleet.wait("output", |fleet| (fleet.dashboard.host(HOST)?.lines >= cut * 1000).then_some(())).await;
        // Fails if the agent is just reconnecting; then there is nothing to drop.
        fleet.dashboard.drop_connection(HOST).ok();
    }
    fleet.wait("more output", |fleet| (fleet.dashboard.host(HOST)?.lines >= 6000).then_some(())).await;
    agent.kill();
    let _next = fleet.spawn_agent();
    let status = fleet.wait("the status", |fleet| fleet.statuses().pop()).await;
    assert_eq!((status.command.as_str(), status.exit_code), ("flood", 0));
    assert_eq!(fleet.dashboard.host(HOST).unwrap().lines, 10_000, "each line once, besides repeats");
    // A connection that ends right after the status may repeat the status, which is allowed.
    fleet.dashboard.drop_connection(HOST).ok();
    let again = fleet.dashboard.connections(HOST) + 1;
    fleet
        .wait("a beat on a new connection", |fleet| {
            let last = fleet.messages().pop()?;
            (last.connection == again && matches!(last.message, AgentMessage::Heartbeat(_))).then_some(())
        })
        .await;
    fleet.assert_no_violations();
}
