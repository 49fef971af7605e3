//! Requests that the agent answers itself: questions, restart and reboot. And the automatic clone.

use std::time::Duration;

use tokio::time::Instant;

use nixfleet_jobs::JobId;
use nixfleet_jobs::record::Record;
use nixfleet_jobs::spec::Outcome;
use nixfleet_protocol::{
    ALREADY_RUNNING, AgentMessage, CommandRejected, Status, StatusKind, UpdateState, Verdict,
};

use super::rig::{Order, Rig, result};
use crate::jobs::follower::Live;
use crate::link::ended::Ended;
use crate::link::session::exit::EXIT_TIMEOUT;

pub(super) const SECOND: Duration = Duration::from_secs(1);

const HOUR: Duration = Duration::from_secs(3600);

const REBOOT: &[(&str, &str)] = &[("NIXFLEET_REBOOT__ENABLE", "1")];

pub(super) const ISOLATED: &[(&str, &str)] = &[("NIXFLEET_REPO_URL", "https://git.example.org/fleet.git")];

pub(super) async fn live(settings: &[(&str, &str)]) -> Rig {
    let mut rig = Rig::with(SECOND, settings).await;
    rig.accept_registration(&[]).await;
    rig.heartbeat().await;
    rig
}

pub(super) async fn launched(rig: &mut Rig) -> Record {
    loop {
        if let Order::Launch(record) = rig.order().await {
            return record;
        }
    }
}

#[track_caller]
fn check(status: &Status, command: &str, kind: StatusKind, message: &str) {
    let exit_code = i32::from(kind != StatusKind::Ok);
    assert_eq!((status.command.as_str(), status.status, status.exit_code), (command, kind, exit_code));
    assert_eq!(status.message, message);
}

#[tokio::test(start_paused = true)]
async fn a_question_is_answered_after_a_look_and_beside_a_command() {
    let mut rig = live(&[]).await;
    rig.run_command("switch").await;
    rig.command("refresh-lock", Some("q1")).await;
    while rig.looks() == 0 {
        rig.heartbeat().await;
    }
    rig.looked(|facts| {
        facts.update_status.lock = Verdict {
            status: UpdateState::Outdated,
            message: "flake.lock changed".to_owned(),
            checked_at: "2026-07-14T12:00:00.000Z".to_owned(),
        };
    });
    let status = rig.status().await;
    check(&status, "refresh-lock", StatusKind::Ok, "Refresh lock: outdated: flake.lock changed");
    let begun = Instant::now();
    let heartbeat = rig.heartbeat().await;
    assert_eq!(begun.elapsed(), Duration::ZERO, "directly behind the status");
    assert_eq!(heartbeat.update_status.unwrap().lock.message, "flake.lock changed");
    assert_eq!(heartbeat.pending_command.as_deref(), Some("switch"), "it was not touched");
}

#[tokio::test(start_paused = true)]
async fn a_look_that_hangs_costs_no_beat_and_is_told() {
    let mut rig = live(&[]).await;
    rig.command("refresh-all", None).await;
    let mut last = Instant::now();
    let status = loop {
        match rig.next().await {
            AgentMessage::Heartbeat(_) => {
                assert!(last.elapsed() <= SECOND + Duration::from_millis(1), "{:?}", last.elapsed());
                last = Instant::now();
            }
            AgentMessage::Status(status) => break status,
            other => panic!("{other:?}"),
        }
    };
    let message = "Refresh all: no answer within 10s; is the disk or the repository's file system slow?";
    check(&status, "refresh-all", StatusKind::Error, message);
}

/// The kinds of the next `count` messages, such as `status refresh-lock`.
async fn next_kinds(rig: &mut Rig, count: usize) -> Vec<String> {
    let mut kinds = Vec::new();
    while kinds.len() < count {
        kinds.push(match rig.next().await {
            AgentMessage::Heartbeat(_) => "heartbeat".to_owned(),
            AgentMessage::Status(status) => format!("status {}", status.command),
            AgentMessage::CommandRejected(rejected) => format!("rejected: {}", rejected.reason),
            other => panic!("{other:?}"),
        });
    }
    kinds
}

#[tokio::test(start_paused = true)]
async fn a_beat_follows_each_status_however_fast_they_come() {
    // One update of the facts answers both questions at once.
    let mut rig = Rig::live(HOUR, &[]).await;
    rig.command("refresh-lock", None).await;
    rig.command("refresh-lock", None).await;
    while rig.looks() < 2 {
        tokio::task::yield_now().await;
    }
    rig.looked(|_| {});
    assert_eq!(
        next_kinds(&mut rig, 4).await,
        ["status refresh-lock", "heartbeat", "status refresh-lock", "heartbeat"]
    );
    // In one packet.
    let unknown = r#"{"type":"command","payload":{"command":"nope"}}"#;
    rig.texts(&[unknown, unknown]).await;
    assert_eq!(next_kinds(&mut rig, 4).await, ["status nope", "heartbeat", "status nope", "heartbeat"]);
    // A status that is repeated.
    let job = rig.run_command_as("pull", Some("p1")).await;
    job.end(result(Outcome::Ok)).await;
    assert_eq!(next_kinds(&mut rig, 2).await, ["status pull", "heartbeat"]);
    rig.command("pull", Some("p1")).await;
    assert_eq!(next_kinds(&mut rig, 2).await, ["status pull", "heartbeat"]);
}

#[tokio::test(start_paused = true)]
async fn a_question_outlives_its_connection() {
    let mut rig = live(&[]).await;
    rig.command("refresh-system", None).await;
    rig.heartbeat().await;
    rig.drop_connection().await;
    rig.looked(|_| {});
    rig.reconnect().await;
    rig.accept_registration(&[]).await;
    assert_eq!(rig.status().await.command, "refresh-system");
}

#[tokio::test]
async fn check_version_compares_what_runs_with_what_is_installed() {
    let mut rig = live(&[]).await;
    rig.command("check-version", None).await;
    let message = concat!("Check version: ", env!("CARGO_PKG_VERSION"), " runs and is installed");
    check(&rig.status().await, "check-version", StatusKind::Ok, message);
}

#[tokio::test(start_paused = true)]
async fn a_reboot_is_refused_unless_the_operator_allowed_it() {
    let mut rig = live(&[]).await;
    rig.command("reboot", None).await;
    let message = "Reboot: this host is not rebooted from afar; \
                   set reboot.enable in its configuration to allow it";
    check(&rig.status().await, "reboot", StatusKind::Error, message);
    assert!(rig.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_reboot_is_told_before_it_begins_and_not_again_when_it_has() {
    let mut rig = live(REBOOT).await;
    rig.command("reboot", None).await;
    let status = rig.status().await;
    check(&status, "reboot", StatusKind::Ok, "Reboot: the machine is going down");
    rig.command("pull", None).await;
    assert!(rig.orders().is_empty(), "not before the status was read");
    rig.pong().await;
    let record = launched(&mut rig).await;
    assert_eq!((record.command.as_str(), record.announced), ("reboot", true));
    let job = rig.launched(&Order::Launch(record.clone()), Live { pid: Some(7), ended: false });
    assert_eq!(rig.heartbeat().await.pending_command.as_deref(), Some("reboot"));
    job.end(result(Outcome::Ok)).await;
    let forgotten = loop {
        match rig.next().await {
            AgentMessage::Heartbeat(heartbeat) if heartbeat.pending_command.is_none() => break rig.orders(),
            AgentMessage::Heartbeat(_) => {}
            other => panic!("{other:?}"),
        }
    };
    let of_this_job = |id: &JobId| *id == record.id;
    assert!(
        matches!(&forgotten[..], [Order::Save(saved), Order::Forget(id)] if of_this_job(&saved.id) && of_this_job(id)),
        "{forgotten:?}"
    );
}

async fn rejection(rig: &mut Rig) -> CommandRejected {
    match rig.next_but_heartbeats().await {
        AgentMessage::CommandRejected(rejected) => rejected,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_that_belongs_to_another_command_is_rejected_while_that_runs_and_when_it_has_ended() {
    let mut rig = live(&[]).await;
    let job = rig.run_command_as("pull", Some("a")).await;
    let clash = "the id of this request belongs to another one, for `pull`; each needs its own";
    let check = |rejected: CommandRejected| {
        assert_eq!(rejected.reason, clash);
        let named = (rejected.command.as_deref(), rejected.command_id.as_deref());
        assert_eq!(named, (Some("switch"), Some("a")));
        assert_eq!(rejected.current_command, None);
    };
    rig.command("switch", Some("a")).await;
    check(rejection(&mut rig).await);
    // A question and `stop` need no id, so it does not matter.
    rig.command("stop", Some("a")).await;
    while !rig.orders().iter().any(|order| matches!(order, Order::End(..))) {
        rig.heartbeat().await;
    }
    job.end(result(Outcome::Ok)).await;
    let first = rig.status().await;
    assert_eq!(first.command, "pull");
    rig.command("switch", Some("a")).await;
    check(rejection(&mut rig).await);
    rig.command("pull", Some("a")).await;
    assert_eq!(rig.status().await, first, "the same request");
    let orders = rig.orders();
    assert!(!orders.iter().any(|order| matches!(order, Order::Launch(_))), "{orders:?}");
}

#[tokio::test(start_paused = true)]
async fn an_empty_id_is_none() {
    let mut rig = live(&[]).await;
    for _ in 0..2 {
        let job = rig.run_command_as("pull", Some("")).await;
        let saved = rig.orders();
        assert!(saved.is_empty(), "{saved:?}");
        // Neither the same request nor one with the same id.
        for name in ["pull", "switch"] {
            rig.command(name, Some("")).await;
            let rejected = rejection(&mut rig).await;
            assert_eq!((rejected.reason.as_str(), rejected.command_id), (ALREADY_RUNNING, None), "{name}");
        }
        job.end(result(Outcome::Ok)).await;
        assert_eq!(rig.status().await.command, "pull");
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeat_of_a_reboot_is_not_another_one() {
    let mut rig = live(REBOOT).await;
    rig.command("reboot", Some("r1")).await;
    rig.status().await;
    rig.drop_connection().await;
    let record = launched(&mut rig).await;
    assert_eq!(record.command_id.as_deref(), Some("r1"));
    rig.reconnect().await;
    rig.accept_registration(&[]).await;
    rig.command("reboot", Some("r1")).await;
    let job = rig.launched(&Order::Launch(record.clone()), Live { pid: Some(7), ended: false });
    for _ in 0..5 {
        rig.heartbeat().await;
    }
    // Also after the job has ended.
    job.end(result(Outcome::Ok)).await;
    while rig.heartbeat().await.pending_command.is_some() {}
    rig.command("reboot", Some("r1")).await;
    check(&rig.status().await, "reboot", StatusKind::Ok, "Reboot: the machine is going down");
    let orders = rig.orders();
    assert!(!orders.iter().any(|order| matches!(order, Order::Launch(_))), "{orders:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reboot_that_was_told_comes_even_if_the_agent_is_to_end() {
    let mut rig = live(REBOOT).await;
    rig.command("reboot", None).await;
    rig.status().await;
    rig.shut_down();
    assert_eq!(rig.close_frame().await, (1000, "shutdown".to_owned()));
    assert!(matches!(rig.ended().await, Ended::Shutdown));
    assert_eq!(launched(&mut rig).await.command, "reboot");
}

#[tokio::test(start_paused = true)]
async fn before_a_reboot_commands_are_rejected_and_the_rest_is_answered() {
    let mut rig = live(REBOOT).await;
    rig.command("reboot", None).await;
    rig.status().await;
    rig.heartbeat().await;
    let command = |name: &str| format!(r#"{{"type":"command","payload":{{"command":"{name}"}}}}"#);
    let names = ["pull", "restart", "reboot", "stop", "nope"].map(command);
    rig.texts(&names.each_ref().map(String::as_str)).await;
    let about = "rejected: `reboot` was asked for and is about to happen";
    assert_eq!(
        next_kinds(&mut rig, 6).await,
        [about, about, "status stop", "heartbeat", "status nope", "heartbeat"]
    );
    // The dashboard has read the answer by now.
    assert_eq!(launched(&mut rig).await.command, "reboot");
    assert!(rig.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_goes_begins_no_clone_and_does_not_spin() {
    for command in ["restart", "reboot"] {
        let mut rig = Rig::with(HOUR, &[ISOLATED[0], REBOOT[0]]).await;
        rig.accept_registration(&[]).await;
        let first = launched(&mut rig).await;
        let job = rig.launched(&Order::Launch(first), Live::default());
        fastrand::seed(7);
        let random = fastrand::f64();
        fastrand::seed(7);
        job.end(result(Outcome::Failed)).await;
        rig.status().await;
        let due = Instant::now() + Duration::from_secs(30).mul_f64((1.0 + random) / 2.0);
        rig.pong().await;
        rig.orders();
        // The clone is due while the exit waits for a receipt, which never comes.
        tokio::time::sleep_until(due - EXIT_TIMEOUT / 2).await;
        rig.command(command, None).await;
        let held = rig.hold();
        tokio::time::sleep(2 * EXIT_TIMEOUT).await;
        let launched: Vec<_> = rig
            .orders()
            .into_iter()
            .filter_map(|order| match order {
                Order::Launch(record) => Some(record.command),
                _ => None,
            })
            .collect();
        let expected: &[&str] = if command == "reboot" { &["reboot"] } else { &[] };
        assert_eq!(launched, expected, "{command}");
        drop(held);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reboot_that_fails_is_told_after_all() {
    let mut rig = live(REBOOT).await;
    rig.command("reboot", None).await;
    rig.status().await;
    rig.pong().await;
    let record = launched(&mut rig).await;
    let job = rig.launched(&Order::Launch(record), Live { pid: Some(7), ended: false });
    job.end(result(Outcome::Failed)).await;
    check(&rig.status().await, "reboot", StatusKind::Error, "message");
}

#[tokio::test(start_paused = true)]
async fn a_reboot_does_not_wait_for_a_dashboard_that_answers_no_ping_or_goes() {
    let mut rig = live(REBOOT).await;
    rig.command("reboot", None).await;
    // A dashboard that is connected and does not read.
    let held = rig.hold();
    let begun = Instant::now();
    assert_eq!(launched(&mut rig).await.command, "reboot");
    assert_eq!(begun.elapsed(), EXIT_TIMEOUT);
    drop(held);

    let mut rig = live(REBOOT).await;
    rig.command("reboot", None).await;
    rig.status().await;
    rig.drop_connection().await;
    assert_eq!(launched(&mut rig).await.command, "reboot");
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_fails_is_answered_under_the_name_that_was_asked() {
    let mut rig = live(&[]).await;
    let job = rig.run_command("pull").await;
    for asked in ["kill", "stop", "kill_command"] {
        rig.not_ended(&job.id, asked, "Access denied");
        let status = rig.status().await;
        assert_eq!((status.command.as_str(), status.exit_code), (asked, 1));
        assert_eq!(status.message, "The command goes on: Access denied");
    }
}
