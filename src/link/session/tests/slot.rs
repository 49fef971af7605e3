//! The slot for commands, and requests to end the command in it.

use std::time::Duration;

use tokio::time::Instant;

use nixfleet_jobs::Urgency;
use nixfleet_jobs::spec::Outcome;
use nixfleet_protocol::{AgentMessage, StatusKind};

use super::rig::{Job, Order, Rig, entries, result};
use crate::jobs::table::MAX_JOBS;
use crate::link::agent::STOP_MARGIN;

const HOUR: Duration = Duration::from_secs(3600);

const STOP: &str = r#"{"type":"command","payload":{"command":"stop"}}"#;

const KILL: &str = r#"{"type":"kill_command","payload":{"signal":"SIGKILL","pid":0}}"#;

/// The default grace period of a stop.
const GRACE: Duration = Duration::from_secs(10);

/// A session with a command that has ended, and whose output is still to be read.
async fn draining(interval: Duration, command: &str, id: Option<&str>) -> (Rig, Job) {
    let mut rig = Rig::live(interval, &[]).await;
    let job = rig.run_command_as(command, id).await;
    job.say(entries(1..=1)).await;
    assert!(matches!(rig.next_but_heartbeats().await, AgentMessage::Output(_)));
    job.command_ends();
    (rig, job)
}

#[tokio::test(start_paused = true)]
async fn a_command_that_ended_keeps_no_other_one_waiting_and_is_told_first() {
    let (mut rig, first) = draining(Duration::from_secs(1), "pull", None).await;
    let heartbeat = rig.heartbeat().await;
    assert_eq!((heartbeat.pending_command, heartbeat.command_pid), (None, None));
    let second = rig.run_command("test").await;
    assert_ne!(first.id, second.id);
    assert_eq!(rig.heartbeat().await.pending_command.as_deref(), Some("test"));
    // The second one is through before the first.
    second.say(entries(1..=1)).await;
    second.command_ends();
    second.end(result(Outcome::Ok)).await;
    first.say(entries(2..=2)).await;
    first.end(result(Outcome::Failed)).await;
    let mut told = Vec::new();
    while told.len() < 4 {
        told.push(match rig.next_but_heartbeats().await {
            AgentMessage::Output(output) => format!("{} {}", output.command, output.seq.unwrap()),
            AgentMessage::Status(status) => format!("{} {}", status.command, status.exit_code),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(told, ["pull 2", "pull 1", "test 1", "test 0"]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_answered_while_the_output_of_an_ended_command_drains() {
    let (mut rig, _job) = draining(HOUR, "pull", None).await;
    for (message, asked) in [(STOP, "stop"), (KILL, "kill_command")] {
        rig.texts(&[message]).await;
        let status = rig.status().await;
        assert_eq!((status.command.as_str(), status.status, status.exit_code), (asked, StatusKind::Error, 1));
        let expected = "nothing is running; `pull` has ended, its output and its status are still to come";
        assert_eq!(status.message, expected);
    }
    assert!(!rig.orders().iter().any(|order| matches!(order, Order::End(..))));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_could_be_taken_for_the_ended_one_is_not_run() {
    let (mut rig, job) = draining(HOUR, "pull", Some("a")).await;
    rig.orders();
    rig.command("pull", Some("a")).await;
    rig.command("pull", None).await;
    let AgentMessage::CommandRejected(rejected) = rig.next_but_heartbeats().await else { panic!() };
    assert_eq!((rejected.current_command.as_deref(), rejected.command_id), (Some("pull"), None));
    assert!(!rig.orders().iter().any(|order| matches!(order, Order::Launch(_))));
    job.end(result(Outcome::Ok)).await;
    assert_eq!(rig.status().await.command, "pull");
    rig.run_command("pull").await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_has_no_effect_is_answered_in_bounded_time() {
    let mut rig = Rig::live(HOUR, &[]).await;
    let job = rig.run_command("pull").await;
    for (message, asked, limit) in [(STOP, "stop", GRACE + STOP_MARGIN), (KILL, "kill_command", STOP_MARGIN)]
    {
        let begun = Instant::now();
        rig.texts(&[message]).await;
        let status = rig.status().await;
        assert_eq!((status.command.as_str(), status.exit_code), (asked, 1));
        assert!(status.message.starts_with("The command goes on: it has not ended in time;"), "{status:?}");
        assert_eq!(begun.elapsed(), limit);
    }
    let urgencies: Vec<Urgency> = rig
        .orders()
        .into_iter()
        .filter_map(|order| if let Order::End(id, urgency) = order { Some((id, urgency)) } else { None })
        .map(|(id, urgency)| {
            assert_eq!(id, job.id);
            urgency
        })
        .collect();
    assert_eq!(urgencies, [Urgency::Stop, Urgency::Kill]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_worked_is_answered_although_the_status_waits_for_other_output() {
    let (mut rig, _first) = draining(HOUR, "pull", None).await;
    let second = rig.run_command("test").await;
    rig.texts(&[STOP]).await;
    while !matches!(rig.order().await, Order::End(..)) {}
    second.command_ends();
    second.end(result(Outcome::Stopped)).await;
    let begun = Instant::now();
    let status = rig.status().await;
    assert_eq!(begun.elapsed(), GRACE + STOP_MARGIN);
    let message = "`test` has ended, its output and its status are still to come";
    assert_eq!((status.command.as_str(), status.exit_code, status.message.as_str()), ("stop", 0, message));
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_a_launch_that_hangs_is_answered() {
    let mut rig = Rig::live(HOUR, &[]).await;
    rig.command("pull", None).await;
    rig.order().await;
    let begun = Instant::now();
    rig.texts(&[STOP]).await;
    let status = rig.status().await;
    assert_eq!(begun.elapsed(), GRACE + STOP_MARGIN);
    let message = "The command goes on: it is still being started, and ends as soon as it runs";
    assert_eq!((status.command.as_str(), status.message.as_str()), ("stop", message));
}

#[tokio::test(start_paused = true)]
async fn a_stop_of_a_command_that_had_just_ended_is_answered() {
    let mut rig = Rig::live(HOUR, &[]).await;
    let job = rig.run_command("pull").await;
    rig.texts(&[STOP]).await;
    rig.ended_before(&job.id, "stop");
    let status = rig.status().await;
    let message = "nothing is running: the command had just ended by itself";
    assert_eq!((status.command.as_str(), status.exit_code, status.message.as_str()), ("stop", 1, message));
}

#[tokio::test(start_paused = true)]
async fn a_command_beyond_the_results_without_proof_is_refused_and_none_is_lost() {
    let mut rig = Rig::live(HOUR, &[]).await;
    for n in 0..MAX_JOBS {
        let job = rig.run_command_as("pull", Some(&n.to_string())).await;
        job.end(result(Outcome::Ok)).await;
        job.command_ends();
    }
    rig.orders();
    // Nothing was read so far, so no ping was answered.
    rig.command("test", Some("x")).await;
    let (mut rejected, mut told) = (None, 0);
    while told < MAX_JOBS {
        match rig.next_but_heartbeats().await {
            AgentMessage::CommandRejected(message) => rejected = Some(message),
            AgentMessage::Status(_) => told += 1,
            other => panic!("{other:?}"),
        }
    }
    let rejected = rejected.unwrap();
    assert!(rejected.reason.starts_with("16 results wait for proof"), "{rejected:?}");
    assert_eq!((rejected.current_command, rejected.command_id.as_deref()), (None, Some("x")));
    assert!(!rig.orders().iter().any(|order| matches!(order, Order::Launch(_))));
    rig.pong().await;
    rig.run_command_as("test", Some("y")).await;
}

#[tokio::test(start_paused = true)]
async fn a_dashboard_in_maintenance_neither_restarts_nor_reboots() {
    let mut rig = Rig::with(HOUR, &[("NIXFLEET_REBOOT__ENABLE", "1")]).await;
    rig.accept_registration(&[]).await;
    let seq = rig.heartbeat().await.seq.unwrap();
    rig.acknowledge(seq, r#"{"state":"maintenance","reason":"upgrade","until":""}"#).await;
    for name in ["restart", "reboot", "pull"] {
        rig.command(name, None).await;
        let AgentMessage::CommandRejected(rejected) = rig.next_but_heartbeats().await else { panic!() };
        assert_eq!(rejected.reason, "the dashboard is in maintenance: upgrade", "{name}");
    }
    assert!(rig.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_failed_between_two_connections_is_answered_on_the_next_one() {
    let mut rig = Rig::live(HOUR, &[]).await;
    let job = rig.run_command("pull").await;
    rig.texts(&[STOP]).await;
    while !matches!(rig.order().await, Order::End(..)) {}
    rig.drop_connection().await;
    rig.not_ended(&job.id, "stop", "no rights");
    rig.reconnect().await;
    // The session is not registered yet when it takes the event.
    rig.yield_now().await;
    rig.accept_registration(&[]).await;
    let status = rig.status().await;
    assert_eq!((status.command.as_str(), status.exit_code), ("stop", 1));
    assert!(status.message.starts_with("The command goes on: "), "{status:?}");
}
