//! What proves that the dashboard has read something.

use std::time::Duration;

use nixfleet_jobs::spec::Outcome;
use nixfleet_protocol::AgentMessage;

use super::rig::{Relay, Rig, entries, result};
use crate::jobs::table::MAX_JOBS;
use crate::link::session::PING_INTERVAL;

const SECOND: Duration = Duration::from_secs(1);

const HOUR: Duration = Duration::from_secs(3600);

const ACKS: &str = r#"{"type":"registered","payload":{"host_id":"test-host","ack":true}}"#;

/// A dashboard that answers no ping.
const MUTE: Relay = Relay { pongs: false, speed: 100_000_000 };

/// Reads up to the next heartbeat; returns its number.
async fn next_beat(rig: &mut Rig) -> u64 {
    loop {
        if let AgentMessage::Heartbeat(heartbeat) = rig.next().await {
            return heartbeat.seq.unwrap();
        }
    }
}

/// A session with a dashboard that answers no ping, and acknowledges heartbeats if it announces that.
async fn mute(registered: &str) -> Rig {
    let mut rig = Rig::through(MUTE, HOUR).await;
    assert!(matches!(rig.next().await, AgentMessage::Register(_)));
    rig.texts(&[registered]).await;
    let seq = next_beat(&mut rig).await;
    rig.acknowledge(seq, "{}").await;
    rig
}

/// Runs a command to its status; returns the number of the heartbeat behind that.
async fn told(rig: &mut Rig, name: &str) -> u64 {
    let job = rig.run_command(name).await;
    job.end(result(Outcome::Ok)).await;
    rig.status().await;
    next_beat(rig).await
}

#[tokio::test(start_paused = true)]
async fn an_acknowledged_heartbeat_is_the_proof_for_a_dashboard_that_answers_no_ping() {
    let mut rig = mute(ACKS).await;
    for _ in 0..2 * MAX_JOBS {
        let seq = told(&mut rig, "pull").await;
        rig.acknowledge(seq, "{}").await;
    }
    rig.yield_now().await;
    // What is proven is not told again.
    rig.drop_connection().await;
    rig.reconnect().await;
    rig.accept_registration(&[]).await;
    let next = tokio::time::timeout(30 * SECOND, rig.next_but_heartbeats()).await;
    assert!(next.is_err(), "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn only_the_heartbeat_behind_a_status_proves_it() {
    let mut rig = mute(ACKS).await;
    let first = told(&mut rig, "pull").await;
    let second = told(&mut rig, "pull").await;
    assert_eq!(second, first + 1);
    // Those of a heartbeat in front of them, of the first one, and of one that was never sent.
    for seq in [first - 1, first, second + 1] {
        rig.acknowledge(seq, "{}").await;
    }
    rig.yield_now().await;
    rig.drop_connection().await;
    assert_eq!(rig.followed().len(), 3, "the second one is followed again");
    // Nor does the number of a heartbeat of the connection before.
    rig.reconnect().await;
    assert!(matches!(rig.next().await, AgentMessage::Register(_)));
    rig.texts(&[ACKS]).await;
    rig.job().end(result(Outcome::Ok)).await;
    rig.status().await;
    rig.acknowledge(second, "{}").await;
    rig.yield_now().await;
    rig.drop_connection().await;
    assert_eq!(rig.followed().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn without_the_announcement_an_acknowledgement_proves_nothing() {
    let mut rig = mute(r#"{"type":"registered","payload":{"host_id":"test-host"}}"#).await;
    for _ in 0..MAX_JOBS {
        let seq = told(&mut rig, "pull").await;
        rig.acknowledge(seq, "{}").await;
    }
    rig.command("pull", None).await;
    let message = rig.next_but_heartbeats().await;
    assert!(matches!(message, AgentMessage::CommandRejected(_)), "{message:?}");
}

#[tokio::test(start_paused = true)]
async fn a_ping_that_overtakes_output_proves_nothing_of_it() {
    let mut rig = Rig::live(HOUR, &[]).await;
    let job = rig.run_command("pull").await;
    tokio::time::sleep(PING_INTERVAL - SECOND).await;
    // The first piece fills the socket, so the second one waits, and the ping that is due goes before it.
    let mut long = entries(1..=1);
    long[0].line = "x".repeat(5_000);
    job.say(long).await;
    job.say(entries(2..=3)).await;
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(rig.report().await.queue.output, 3, "two lines and a ping");
    rig.pong_to_next_ping().await;
    rig.pong_to_next_ping().await;
    rig.drop_connection().await;
    let from: Vec<u64> = rig.followed().into_iter().map(|(_, after)| after).collect();
    assert_eq!(from, [0, 1], "the second piece was not read");
}
