//! Output on a slow link, and the heartbeats among it.

use std::time::Duration;

use nixfleet_jobs::spec::Outcome;
use nixfleet_protocol::{AgentMessage, CAPABILITY_OUTPUT_BATCH};

use super::rig::{Relay, Rig, entries, result};

const SECOND: Duration = Duration::from_secs(1);

/// A link of 20 kB/s.
const SLOW: Relay = Relay { pongs: true, speed: 20_000 };

/// How late a heartbeat may be. The relay carries ten times a second.
const LATE: Duration = Duration::from_millis(600);

#[tokio::test(start_paused = true)]
async fn no_heartbeat_waits_for_more_than_half_a_second_of_output() {
    for capabilities in [&[][..], &[CAPABILITY_OUTPUT_BATCH]] {
        let mut rig = Rig::through(SLOW, SECOND).await;
        rig.accept_registration(capabilities).await;
        let first = rig.heartbeat_at().await;
        let flood = rig.run_command("pull").await.flood();
        // Longer than a measured round trip counts.
        for beat in 1..=90 {
            let late = rig.heartbeat_at().await.saturating_duration_since(first + beat * SECOND);
            assert!(late <= LATE, "beat {beat} with {capabilities:?}: {late:?}");
        }
        assert!(rig.report().await.stats.lines_sent > 90 * 60, "the link is used");
        flood.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn output_in_pieces_arrives_whole_in_order_and_before_the_end() {
    let mut rig = Rig::through(SLOW, SECOND).await;
    rig.accept_registration(&[CAPABILITY_OUTPUT_BATCH]).await;
    let job = rig.run_command("pull").await;
    job.say(entries(1..=300)).await;
    job.say(entries(301..=302)).await;
    job.end(result(Outcome::Ok)).await;
    let (mut seen, mut messages) = (Vec::new(), 0);
    loop {
        match rig.next_but_heartbeats().await {
            AgentMessage::OutputBatch(batch) => {
                messages += 1;
                seen.extend(batch.lines.into_iter().map(|line| line.seq));
            }
            AgentMessage::Status(status) => break assert_eq!(status.exit_code, 0),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, (1..=302).collect::<Vec<_>>());
    assert!(messages > 10, "{messages}");
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_piece_is_told_on_the_next_connection() {
    let mut rig = Rig::through(SLOW, 3600 * SECOND).await;
    rig.accept_registration(&[CAPABILITY_OUTPUT_BATCH]).await;
    let job = rig.run_command("pull").await;
    job.say(entries(1..=300)).await;
    let AgentMessage::OutputBatch(first) = rig.next_but_heartbeats().await else { panic!("no output") };
    rig.pong().await;
    rig.drop_connection().await;
    let (_, after) = *rig.followed().last().unwrap();
    assert!((first.lines.last().unwrap().seq..300).contains(&after), "{after}");
    // A rest of the old connection would come again.
    rig.reconnect().await;
    rig.accept_registration(&[CAPABILITY_OUTPUT_BATCH]).await;
    rig.job().say(entries(after + 1..=after + 1)).await;
    let AgentMessage::OutputBatch(next) = rig.next_but_heartbeats().await else { panic!("no output") };
    assert_eq!(next.lines[0].seq, after + 1);
}
