//! Acknowledgements, and what a dashboard asks of its agents: intervals and maintenance.

use std::time::Duration;

use tokio::time::Instant;

use nixfleet_protocol::{AgentMessage, UpdateState};
use nixfleet_vitals::prewarm::{Load, Notice, Phase, Signal};

use super::rig::{Order, Rig};
use crate::link::ended::Ended;

const SECOND: Duration = Duration::from_secs(1);

const ACKS: &str = r#"{"type":"registered","payload":{"host_id":"test-host","ack":true}}"#;

#[tokio::test(start_paused = true)]
async fn an_acknowledged_beat_tells_how_long_it_took() {
    let mut rig = Rig::start(SECOND).await;
    rig.next().await;
    rig.texts(&[ACKS]).await;
    let first = rig.heartbeat().await;
    assert_eq!(first.ack_rtt_ms, None);
    tokio::time::sleep(Duration::from_millis(250)).await;
    rig.acknowledge(first.seq.unwrap(), "{}").await;
    let rtt = rig.heartbeat().await.ack_rtt_ms.unwrap();
    assert!((250.0..260.0).contains(&rtt), "{rtt}");
}

#[tokio::test(start_paused = true)]
async fn three_beats_without_acknowledgement_end_a_connection_that_promised_them() {
    let mut rig = Rig::start(SECOND).await;
    rig.next().await;
    rig.texts(&[ACKS]).await;
    let first = rig.heartbeat().await;
    rig.acknowledge(first.seq.unwrap(), "{}").await;
    let begun = Instant::now();
    let ended = rig.listening().await;
    assert!(matches!(ended, Ended::Unacknowledged), "{ended:?}");
    // Three heartbeats at 1, 2 and 3 s, and ten seconds for the acknowledgement of the last one.
    assert!((13.0..13.1).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());

    let mut rig = Rig::live(SECOND, &[]).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(120) {
        rig.heartbeat().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_beat_that_was_replaced_before_it_was_written_does_not_count_as_unacknowledged() {
    let mut rig = Rig::start(SECOND).await;
    rig.next().await;
    rig.texts(&[ACKS]).await;
    let first = rig.heartbeat().await;
    rig.acknowledge(first.seq.unwrap(), "{}").await;
    // The socket is full for eight seconds, in which each heartbeat replaces the one before.
    let job = rig.run_command("pull").await;
    let flood = job.flood();
    let socket = rig.hold();
    tokio::time::sleep(SECOND * 8).await;
    assert!(rig.report().await.stats.beats_skipped >= 5);
    rig.put_back(socket);
    let begun = Instant::now();
    while begun.elapsed() < SECOND * 20 {
        let heartbeat = rig.heartbeat().await;
        rig.acknowledge(heartbeat.seq.unwrap(), "{}").await;
    }
    assert_eq!(rig.report().await.stats.acks_missing, 0);
    flood.abort();
}

#[tokio::test(start_paused = true)]
async fn maintenance_stretches_the_interval_and_rejects_commands_until_it_is_over() {
    let mut rig = Rig::start(SECOND).await;
    rig.next().await;
    rig.texts(&[ACKS]).await;
    let heartbeat = rig.heartbeat().await;
    let status = r#"{"state":"maintenance","reason":"upgrade","until":"2026-01-01T00:00:10Z"}"#;
    rig.acknowledge(heartbeat.seq.unwrap(), status).await;
    let begun = Instant::now();
    rig.command("pull", Some("r1")).await;
    let AgentMessage::CommandRejected(rejected) = rig.next_but_heartbeats().await else { panic!() };
    assert_eq!(rejected.reason, "the dashboard is in maintenance until 2026-01-01T00:00:10Z: upgrade");
    assert_eq!((rejected.command.as_deref(), rejected.current_command), (Some("pull"), None));
    assert_eq!(rejected.command_id.as_deref(), Some("r1"));
    // `stop` is never rejected.
    rig.command("stop", None).await;
    assert_eq!(rig.status().await.exit_code, 1);
    let mut heartbeats = Vec::new();
    while heartbeats.len() < 8 {
        let heartbeat = rig.heartbeat().await;
        rig.acknowledge(heartbeat.seq.unwrap(), status).await;
        heartbeats.push(begun.elapsed().as_secs_f64().round());
    }
    // The first follows the status; the others come at twice the interval.
    assert_eq!(heartbeats[..4], [0.0, 2.0, 4.0, 6.0], "{heartbeats:?}");
    rig.acknowledge(0, r#"{"state":"healthy"}"#).await;
    rig.command("pull", None).await;
    assert!(matches!(rig.order().await, Order::Launch(_)));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_maintenance_makes_no_pause_longer_than_its_interval() {
    let mut rig = Rig::start(SECOND * 30).await;
    rig.next().await;
    rig.texts(&[ACKS]).await;
    let heartbeat = rig.heartbeat().await;
    let mut last = Instant::now();
    // It ends a moment before the heartbeat of the longer interval is due.
    let status = r#"{"state":"maintenance","until":"2026-01-01T00:00:59Z"}"#;
    rig.acknowledge(heartbeat.seq.unwrap(), status).await;
    for _ in 0..5 {
        let heartbeat = rig.heartbeat().await;
        assert!(last.elapsed() <= SECOND * 60, "{:?}", last.elapsed());
        last = Instant::now();
        rig.acknowledge(heartbeat.seq.unwrap(), r#"{"state":"healthy"}"#).await;
    }
    assert_eq!(
        rig.report().await.stats.beats_late,
        0,
        "one was due since the end of the maintenance, not before"
    );
}

#[tokio::test(start_paused = true)]
async fn the_interval_is_the_one_that_the_dashboard_wants_and_goes_with_the_wish() {
    let mut rig = Rig::start(Duration::from_secs(30)).await;
    rig.next().await;
    let wish = |seconds: &str| {
        format!(r#"{{"type":"registered","payload":{{"host_id":"h","heartbeat_interval":{seconds}}}}}"#)
    };
    rig.texts(&[&wish("5")]).await;
    rig.heartbeat().await;
    let begun = Instant::now();
    rig.heartbeat().await;
    assert_eq!(begun.elapsed().as_secs(), 5);
    rig.texts(&[&wish("null")]).await;
    rig.heartbeat().await;
    let begun = Instant::now();
    rig.heartbeat().await;
    assert_eq!(begun.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_pre_warm_signal_is_told_at_once_and_again_on_the_next_connection() {
    let mut rig = Rig::live(SECOND, &[]).await;
    let load = Load { usage: Some(0.93), temperature: None };
    let signal = Signal { phase: Phase::Start, load, reason: "busy".to_owned() };
    let notice = Notice { signal, at: "2026-01-01T00:00:00.000Z".to_owned() };
    rig.prewarm(notice.clone());
    let AgentMessage::Prewarm(first) = rig.next_but_heartbeats().await else { panic!() };
    assert_eq!((first.phase.as_str(), first.gpu_usage, first.gpu_temp), ("start", Some(0.93), None));
    assert_eq!((first.device_id.as_str(), first.timestamp.as_str()), ("test-host", notice.at.as_str()));
    rig.drop_connection().await;
    rig.reconnect().await;
    rig.accept_registration(&[]).await;
    rig.heartbeat().await;
    let AgentMessage::Prewarm(again) = rig.next_but_heartbeats().await else { panic!() };
    assert_eq!(again, first);
}

/// Dashboards accept the state `working` for four minutes, and only the next heartbeat can end it.
#[tokio::test(start_paused = true)]
async fn work_is_shown_only_where_the_next_beat_is_near() {
    for (seconds, shown) in [(60, true), (300, false)] {
        let mut rig = Rig::start(SECOND).await;
        rig.next().await;
        let wish =
            format!(r#"{{"type":"registered","payload":{{"host_id":"h","heartbeat_interval":{seconds}}}}}"#);
        rig.texts(&[&wish]).await;
        rig.heartbeat().await;
        rig.run_command("switch").await;
        let heartbeat = rig.heartbeat().await;
        assert_eq!(heartbeat.pending_command.as_deref(), Some("switch"));
        let light = heartbeat.update_status.unwrap().system;
        assert_eq!(light.status == UpdateState::Working, shown, "{seconds} s: {light:?}");
    }
}
