//! Sessions in virtual time, over a socket in memory, with a scripted dashboard.

use std::time::Duration;

use tokio::time::Instant;

use nixfleet_jobs::Urgency;
use nixfleet_jobs::spec::Outcome;
use nixfleet_protocol::{AgentMessage, MAX_SENT_BYTES, StatusKind, Stream, encode};

use crate::jobs::follower::Live;
use crate::link::ended::Ended;
use rig::{Order, Rig, entries, result};

mod acks;
mod bursts;
mod first_clone;
mod log;
mod look;
mod proofs;
mod requests;
pub(in crate::link) mod rig;
mod rotation;
mod sleep;
mod slot;
mod slow_link;
mod stats;

const INTERVAL: Duration = Duration::from_secs(30);

#[tokio::test(start_paused = true)]
async fn the_first_beat_is_immediate_and_the_rest_keep_the_grid() {
    let mut rig = Rig::start(INTERVAL).await;
    let start = Instant::now();
    rig.accept_registration(&[]).await;
    for n in 0..20 {
        rig.heartbeat().await;
        assert_eq!(start.elapsed(), INTERVAL * n, "beat {n}");
    }
}

#[tokio::test(start_paused = true)]
async fn beats_keep_time_under_an_endless_noisy_command() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    let job = rig.run_command("pull").await;
    let flood = job.flood();
    let mut heartbeats = vec![rig.heartbeat_at().await];
    while heartbeats.len() < 6 {
        heartbeats.push(rig.heartbeat_at().await);
    }
    for pair in heartbeats.windows(2) {
        assert_eq!(pair[1] - pair[0], INTERVAL);
    }
    flood.abort();
}

#[tokio::test(start_paused = true)]
async fn beats_name_the_command_and_its_process_from_acceptance_to_the_end() {
    let mut rig = Rig::live(Duration::from_secs(1), &[]).await;
    rig.command("pull", None).await;
    let order = rig.order().await;
    let heartbeat = rig.heartbeat().await;
    assert_eq!(
        (heartbeat.pending_command.as_deref(), heartbeat.command_pid),
        (Some("pull"), None),
        "not started yet"
    );
    let job = rig.launched(&order, Live { pid: Some(4242), ended: false });
    for _ in 0..3 {
        let heartbeat = rig.heartbeat().await;
        assert_eq!((heartbeat.pending_command.as_deref(), heartbeat.command_pid), (Some("pull"), Some(4242)));
    }
    job.end(result(Outcome::Ok)).await;
    let status = rig.status().await;
    assert_eq!((status.status, status.exit_code), (StatusKind::Ok, 0));
    let heartbeat = rig.heartbeat().await;
    assert_eq!((heartbeat.pending_command, heartbeat.command_pid), (None, None));
}

#[tokio::test(start_paused = true)]
async fn nothing_but_register_is_said_before_registered() {
    let mut rig = Rig::start(Duration::from_secs(1)).await;
    assert!(matches!(rig.next().await, AgentMessage::Register(_)));
    rig.command("pull", None).await;
    assert!(matches!(rig.ended().await, Ended::NotRegistered));
    assert_eq!(rig.elapsed(), super::REGISTER_DEADLINE);
    assert!(rig.orders().is_empty(), "a command before `registered` is not run");
}

#[tokio::test(start_paused = true)]
async fn two_commands_in_one_packet_one_runs_and_the_other_is_rejected_with_the_pid() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    rig.texts(&[
        r#"{"type":"command","payload":{"command":"switch"}}"#,
        r#"{"type":"command","payload":{"command":"test","id":"second"}}"#,
    ])
    .await;
    let order = rig.order().await;
    rig.launched(&order, Live { pid: Some(12345), ended: false });
    let AgentMessage::CommandRejected(rejected) = rig.next_but_heartbeats().await else { panic!() };
    assert_eq!(rejected.reason, "command already running");
    assert_eq!(rejected.current_command.as_deref(), Some("switch"));
    assert_eq!(rejected.current_pid, Some(12345));
    assert_eq!(rejected.command_id.as_deref(), Some("second"));
    assert!(rig.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_rejection_waits_for_the_pid_but_not_for_ever() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    rig.command("switch", None).await;
    rig.order().await;
    rig.command("test", None).await;
    let asked = Instant::now();
    let AgentMessage::CommandRejected(rejected) = rig.next_but_heartbeats().await else { panic!() };
    assert_eq!((asked.elapsed(), rejected.current_pid), (super::PID_TIMEOUT, None));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_commands_at_once_run_one_and_reject_the_rest() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    let one = r#"{"type":"command","payload":{"command":"pull"}}"#;
    rig.texts(&vec![one; 1000]).await;
    let order = rig.order().await;
    rig.launched(&order, Live { pid: Some(7), ended: false });
    for n in 0..999 {
        let message = rig.next_but_heartbeats().await;
        assert!(matches!(message, AgentMessage::CommandRejected(_)), "{n}: {message:?}");
    }
    assert!(rig.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_status_follows_all_output_and_a_beat_follows_the_status() {
    for capabilities in [&[][..], &["output_batch"]] {
        let mut rig = Rig::live(INTERVAL, capabilities).await;
        let job = rig.run_command("pull").await;
        job.say(entries(1..=3)).await;
        job.say(entries(4..=5)).await;
        job.end(result(Outcome::Failed)).await;
        let mut seqs = Vec::new();
        let status = loop {
            match rig.next_but_heartbeats().await {
                AgentMessage::Output(output) => {
                    assert_eq!(
                        (output.command.as_str(), output.is_error),
                        ("pull", output.stream == Stream::Stderr)
                    );
                    seqs.extend(output.seq);
                }
                AgentMessage::OutputBatch(batch) => seqs.extend(batch.lines.iter().map(|line| line.seq)),
                AgentMessage::Status(status) => break status,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(seqs, [1, 2, 3, 4, 5]);
        assert_eq!((status.status, status.command.as_str()), (StatusKind::Error, "pull"));
        assert_eq!(rig.heartbeat().await.pending_command, None);
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_no_proof_is_told_again_on_the_next_connection_and_what_has_is_not() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    let job = rig.run_command("pull").await;
    job.say(entries(1..=2)).await;
    let proven = [rig.next_but_heartbeats().await, rig.next_but_heartbeats().await];
    assert!(matches!(proven, [AgentMessage::Output(_), AgentMessage::Output(_)]));
    rig.pong().await;
    // The connection ends before the pong for these can arrive.
    job.say(entries(3..=4)).await;
    rig.drop_connection().await;
    let id = job.id.clone();
    assert_eq!(rig.followed(), [(id.clone(), 0), (id, 2)], "again from the proven position");

    rig.reconnect().await;
    let AgentMessage::Register(register) = rig.next().await else { panic!() };
    assert_eq!(register.running_job.map(|job| job.command), Some("pull".to_owned()));
    rig.registered(&[]).await;
    let heartbeat = rig.heartbeat().await;
    assert_eq!((heartbeat.pending_command.as_deref(), heartbeat.command_pid), (Some("pull"), Some(rig::PID)));
    let job = rig.job();
    job.say(entries(3..=4)).await;
    job.end(result(Outcome::Ok)).await;
    let AgentMessage::Output(third) = rig.next_but_heartbeats().await else { panic!() };
    assert_eq!(third.seq, Some(3));
    rig.next_but_heartbeats().await;
    assert!(matches!(rig.next_but_heartbeats().await, AgentMessage::Status(_)));

    // There is no receipt for its status: it is sent again, but the slot is free for another command.
    rig.drop_connection().await;
    rig.reconnect().await;
    rig.accept_registration(&[]).await;
    assert_eq!(rig.heartbeat().await.pending_command, None, "the command is over");
    rig.job().end(result(Outcome::Ok)).await;
    assert!(matches!(rig.next_but_heartbeats().await, AgentMessage::Status(_)));
    rig.pong().await;
    assert!(matches!(rig.orders()[..], [Order::Save(..) | Order::Forget(_), ..]));
    rig.drop_connection().await;
    rig.reconnect().await;
    rig.accept_registration(&[]).await;
    for _ in 0..3 {
        rig.heartbeat().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_dashboard_that_takes_no_data_is_left_and_beats_are_not_piled_up() {
    let mut rig = Rig::live(Duration::from_secs(1), &[]).await;
    let job = rig.run_command("pull").await;
    let flood = job.flood();
    let stalled = rig.without_reading().await;
    assert!(matches!(stalled, Ended::Stalled), "{stalled:?}");
    assert!(rig.elapsed() <= super::writer::WRITE_DEADLINE + Duration::from_secs(2), "{:?}", rig.elapsed());
    flood.abort();
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_connection_and_an_answered_ping_keeps_it() {
    let mut rig = Rig::live(Duration::from_secs(3600), &[]).await;
    for _ in 0..20 {
        rig.pong().await;
        tokio::time::sleep(super::PING_INTERVAL).await;
    }
    let begun = Instant::now();
    // A dashboard that reads everything and answers nothing.
    let ended = rig.swallow().await;
    assert!(matches!(ended, Ended::Silent), "{ended:?}");
    assert!(begun.elapsed() <= super::SILENCE, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn garbage_is_skipped_and_the_connection_lives() {
    let mut rig = Rig::live(Duration::from_secs(1), &[]).await;
    rig.texts(&[
        "",
        "nonsense",
        "{\"type\":17}",
        "[]",
        r#"{"type":"command"}"#,
        r#"{"type":"command","payload":{"command":5}}"#,
        r#"{"type":"kill_command","payload":{"pid":7}"#,
        r#"{"type":"from_the_future","payload":{"a":[1]}}"#,
        r#"{"type":"registered","payload":null}"#,
    ])
    .await;
    rig.binary(vec![0, 159, 146, 150]).await;
    for _ in 0..4 {
        rig.heartbeat().await;
    }
    assert!(rig.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_command_is_answered_with_a_status() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    for name in ["bump-flakes", "", "../x", "rm -rf /"] {
        rig.command(name, None).await;
        let status = rig.status().await;
        assert_eq!((status.status, status.exit_code, status.command.as_str()), (StatusKind::Error, 1, name));
        assert!(status.message.contains("unknown command"), "{}", status.message);
    }
    assert!(rig.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn no_answer_to_an_endless_name_or_id_is_longer_than_a_message_may_be() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    let endless = "x".repeat(MAX_SENT_BYTES);
    let all = async {
        rig.command(&endless, Some(&endless)).await;
        assert!(encode(&AgentMessage::Status(rig.status().await)).len() < 4096);
        rig.command("pull", Some(&endless)).await;
        assert!(rig.status().await.message.contains("at most"), "refused before anything runs");
        assert!(rig.orders().is_empty());
        rig.run_command("pull").await;
        rig.command("test", Some(&endless)).await;
        let answer = rig.next_but_heartbeats().await;
        assert!(encode(&answer).len() < 4096, "{}", encode(&answer).len());
    };
    tokio::time::timeout(INTERVAL * 10, all).await.expect("each is answered");
}

#[tokio::test(start_paused = true)]
async fn stop_and_kill_reach_the_running_job_only() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    rig.command("stop", None).await;
    let status = rig.status().await;
    assert_eq!((status.command.as_str(), status.message.as_str()), ("stop", "nothing is running"));

    let job = rig.run_command("pull").await;
    rig.texts(&[r#"{"type":"kill_command","payload":{"signal":"SIGKILL","pid":1}}"#]).await;
    assert_eq!(rig.status().await.command, "kill_command");
    assert!(rig.orders().is_empty(), "not its process");
    rig.command("stop", None).await;
    assert_eq!(rig.order().await, Order::End(job.id.clone(), Urgency::Stop));
    let own = format!(r#"{{"type":"kill_command","payload":{{"signal":"SIGKILL","pid":{}}}}}"#, rig::PID);
    rig.texts(&[&own]).await;
    assert_eq!(rig.order().await, Order::End(job.id.clone(), Urgency::Kill));
    job.end(result(Outcome::Stopped)).await;
    assert_eq!(rig.status().await.status, StatusKind::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_the_launch_is_not_lost() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    rig.command("pull", None).await;
    let launch = rig.order().await;
    rig.command("stop", None).await;
    let job = rig.launched(&launch, Live { pid: Some(rig::PID), ended: false });
    assert_eq!(rig.order().await, Order::End(job.id.clone(), Urgency::Stop));
}

#[tokio::test(start_paused = true)]
async fn a_command_that_cannot_be_started_is_a_status_and_frees_the_slot() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    rig.command("pull", None).await;
    let order = rig.order().await;
    rig.not_launched(&order, "cannot make /var: No space left on device");
    let status = rig.status().await;
    assert_eq!((status.status, status.exit_code), (StatusKind::Error, 1));
    assert!(status.message.contains("No space left"), "{}", status.message);
    rig.run_command("pull").await;
}

#[tokio::test(start_paused = true)]
async fn a_request_with_a_known_id_is_not_run_twice() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    rig.command("pull", Some("a")).await;
    let order = rig.order().await;
    let job = rig.launched(&order, Live { pid: Some(rig::PID), ended: false });
    rig.command("pull", Some("a")).await;
    job.end(result(Outcome::Ok)).await;
    let first = rig.status().await;
    rig.command("pull", Some("a")).await;
    assert_eq!(rig.status().await, first, "its state is told again");
    assert!(rig.orders().iter().all(|order| !matches!(order, Order::Launch(_))));
}

#[tokio::test(start_paused = true)]
async fn shutdown_closes_with_1000_and_leaves_the_job_alone() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    rig.run_command("pull").await;
    rig.shut_down();
    assert_eq!(rig.close_frame().await, (1000, "shutdown".to_owned()));
    assert!(matches!(rig.ended().await, Ended::Shutdown));
    assert!(rig.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_the_answer_to_its_close_frame() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    rig.shut_down();
    let held = rig.hold();
    let begun = Instant::now();
    assert!(matches!(rig.ended().await, Ended::Shutdown));
    assert_eq!(begun.elapsed(), super::CLOSE_TIMEOUT, "no answer came");
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_with_its_payload() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    assert_eq!(rig.answer_to_ping(b"54 s").await, b"54 s");
}

#[tokio::test(start_paused = true)]
async fn shutdown_does_not_wait_for_a_dashboard_that_hangs() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    let begun = Instant::now();
    rig.shut_down();
    assert!(matches!(rig.swallow().await, Ended::Shutdown));
    assert!(begun.elapsed() <= super::CLOSE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn restart_tells_its_status_before_it_leaves() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    rig.command("restart", None).await;
    let status = rig.status().await;
    assert_eq!((status.status, status.exit_code, status.command.as_str()), (StatusKind::Ok, 0, "restart"));
    assert_eq!(rig.close_frame().await, (1000, "restart".to_owned()));
    assert!(matches!(rig.ended().await, Ended::Restart));
}

#[tokio::test(start_paused = true)]
async fn a_close_by_the_dashboard_is_told_with_its_reason() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    rig.close(1008, "replaced").await;
    let Ended::Closed(Some((code, reason))) = rig.ended().await else { panic!() };
    assert_eq!((code, reason.as_str()), (1008, "replaced"));
}
