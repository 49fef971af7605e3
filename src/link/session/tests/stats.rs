//! The counters, and the agent's status.

use std::time::Duration;

use tokio::time::advance;

use nixfleet_jobs::spec::Outcome;
use nixfleet_protocol::AgentMessage;

use super::rig::{PID, Rig, entries, result};
use crate::link::ended::Ended;
use crate::observe::status::Queue;

const INTERVAL: Duration = Duration::from_secs(30);

const ACKS: &str = r#"{"type":"registered","payload":{"host_id":"test-host","ack":true}}"#;

/// Reads up to the next status and skips output and heartbeats.
async fn status(rig: &mut Rig) {
    while !matches!(rig.next_but_heartbeats().await, AgentMessage::Status(_)) {}
}

#[tokio::test(start_paused = true)]
async fn a_late_beat_is_in_the_bucket_of_its_lateness() {
    // So short that the test ends before an unanswered ping matters.
    let interval = Duration::from_secs(5);
    let mut rig = Rig::live(interval, &[]).await;
    rig.heartbeat().await;
    let before = rig.report().await.stats;
    assert_eq!((before.beats, before.beats_late), (2, 0));
    assert_eq!(
        before.lateness.counts,
        [1, 0, 0, 0, 0, 0, 0, 0],
        "the first heartbeat had no time to be due at"
    );
    // The whole runtime is suspended past the due time.
    for (late, counts) in [(300, [1, 0, 0, 0, 0, 1, 0, 0]), (1500, [1, 0, 0, 0, 0, 1, 1, 0])] {
        let next = rig.elapsed().as_millis() as u64 % 5000;
        advance(interval - Duration::from_millis(next) + Duration::from_millis(late)).await;
        rig.heartbeat().await;
        assert_eq!(rig.report().await.stats.lateness.counts, counts, "{late} ms late");
    }
    let stats = rig.report().await.stats;
    assert_eq!((stats.beats, stats.beats_late), (4, 1));
    assert!((stats.lateness.sum_s - 1.8).abs() < 0.01, "{}", stats.lateness.sum_s);
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_are_timed_and_those_passed_over_are_missing() {
    let mut rig = Rig::start(Duration::from_secs(1)).await;
    rig.next().await;
    rig.texts(&[ACKS]).await;
    rig.heartbeat().await;
    let second = rig.heartbeat().await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    rig.acknowledge(second.seq.unwrap(), r#"{"state":"degraded","reason":"slow"}"#).await;
    rig.heartbeat().await;
    let report = rig.report().await;
    assert_eq!(report.stats.ack_rtt.counts, [0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(report.stats.acks_missing, 1);
    assert!((30.0..32.0).contains(&report.ack_rtt_ms.unwrap()), "{:?}", report.ack_rtt_ms);
    let server = report.server.unwrap();
    assert_eq!((server.state.as_str(), server.reason.as_str()), ("degraded", "slow"));
    assert!(server.said_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn the_running_command_is_named_and_its_end_is_remembered_once() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    assert_eq!(rig.report().await.running, None);
    let job = rig.run_command("pull").await;
    let running = rig.report().await.running.unwrap();
    assert_eq!((running.command.as_str(), running.pid), ("pull", Some(PID)));
    assert_eq!(running.job_id, job.id.to_string());
    job.say(entries(1..=40)).await;
    let mut failed = result(Outcome::Failed);
    failed.dropped = 3;
    job.end(failed.clone()).await;
    status(&mut rig).await;
    // There is no receipt for it: it is sent again on the next connection.
    rig.drop_connection().await;
    rig.reconnect().await;
    rig.accept_registration(&[]).await;
    rig.job().end(failed).await;
    status(&mut rig).await;
    let report = rig.report().await;
    assert_eq!(report.running, None);
    let result = &report.results[..];
    assert_eq!(result.len(), 1, "{result:?}");
    assert_eq!(
        (result[0].command.as_str(), result[0].outcome.as_str(), result[0].exit_code),
        ("pull", "failed", 1)
    );
    let stats = report.stats;
    assert_eq!((stats.jobs_started, stats.jobs_ended["failed"], stats.jobs_ended["ok"]), (1, 1, 0));
    assert_eq!((stats.lines_sent, stats.lines_dropped), (40, 3));
    assert_eq!(stats.registrations, 2);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_told_and_replaced_beats_are_counted() {
    let mut rig = Rig::live(Duration::from_secs(1), &[]).await;
    let job = rig.run_command("pull").await;
    let flood = job.flood();
    let held = rig.hold();
    // The socket is full at once, and the writer gives up after ten seconds.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let report = rig.report().await;
    assert_ne!(report.queue, Queue::default());
    assert!(report.stats.beats_skipped >= 3, "{}", report.stats.beats_skipped);
    assert!(matches!(rig.ended().await, Ended::Stalled));
    drop(held);
    flood.abort();
}
