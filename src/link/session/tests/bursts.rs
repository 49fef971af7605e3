//! A dashboard that says more than it should: every request is answered, in bounded memory, and the log stays
//! short.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use tracing::dispatcher;

use nixfleet_jobs::spec::Outcome;
use nixfleet_protocol::{AgentMessage, MAX_SENT_BYTES};

use super::rig::{PID, Relay, Rig, result};
use crate::jobs::captured_log::CapturedLog;
use crate::jobs::follower::Live;
use crate::link::ended::Ended;
use crate::link::session::writer::WRITE_DEADLINE;

const INTERVAL: Duration = Duration::from_secs(30);

const COMMANDS: usize = 10_000;

fn command(name: &str, id: usize) -> Message {
    Message::text(format!(r#"{{"type":"command","payload":{{"command":"{name}","id":"q{id}"}}}}"#))
}

/// Sends so many commands as fast as the socket takes them while it reads the answers; returns those.
async fn burst(rig: &mut Rig, name: &'static str, answers: usize) -> Vec<AgentMessage> {
    let (mut sink, mut stream) = rig.hold().split();
    let sending = tokio::spawn(async move {
        for id in 0..answers {
            sink.feed(command(name, id)).await.unwrap();
        }
        sink.flush().await.unwrap();
        sink
    });
    let mut seen = Vec::new();
    while seen.len() < answers {
        if let Message::Text(text) = stream.next().await.unwrap().unwrap() {
            match AgentMessage::decode(&text).unwrap() {
                AgentMessage::Heartbeat(_) => {}
                message => seen.push(message),
            }
        }
    }
    let sink = sending.await.unwrap();
    rig.put_back(stream.reunite(sink).unwrap());
    seen
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_commands_at_once_get_ten_thousand_answers() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    let job = rig.run_command("pull").await;
    let answers = burst(&mut rig, "switch", COMMANDS).await;
    let mut ids: Vec<usize> = Vec::new();
    for answer in &answers {
        let AgentMessage::CommandRejected(rejected) = answer else { panic!("{answer:?}") };
        assert_eq!((rejected.current_pid, rejected.current_command.as_deref()), (Some(PID), Some("pull")));
        ids.push(rejected.command_id.as_ref().unwrap()[1..].parse().unwrap());
    }
    assert!(ids.into_iter().eq(0..COMMANDS), "in their order");
    assert_eq!(rig.report().await.stats.messages_dropped, 0);
    job.end(result(Outcome::Ok)).await;
    rig.status().await;
}

#[tokio::test(start_paused = true)]
async fn so_do_commands_that_wait_for_a_process_id() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    rig.command("pull", None).await;
    rig.order().await;
    let answers = burst(&mut rig, "switch", COMMANDS).await;
    assert!(answers.iter().all(|answer| matches!(answer, AgentMessage::CommandRejected(_))));
    let stats = rig.report().await.stats;
    assert_eq!(stats.messages_dropped, 0);
    assert!(rig.elapsed() < Duration::from_secs(3), "they wait for it once: {:?}", rig.elapsed());
}

#[tokio::test(start_paused = true)]
async fn so_do_unknown_commands_with_a_status_each() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    let answers = burst(&mut rig, "nope", COMMANDS).await;
    assert!(answers.iter().all(|answer| matches!(answer, AgentMessage::Status(_))));
    assert_eq!(rig.report().await.stats.messages_dropped, 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_link_carries_the_answers_to_a_burst_piece_by_piece() {
    const SECOND: Duration = Duration::from_secs(1);
    let mut rig = Rig::through(Relay { pongs: true, speed: 60_000 }, SECOND).await;
    rig.accept_registration(&[]).await;
    let answers = burst(&mut rig, "nope", COMMANDS / 4).await;
    assert!(answers.iter().all(|answer| matches!(answer, AgentMessage::Status(_))));
    assert!(rig.elapsed() > 2 * WRITE_DEADLINE, "{:?}", rig.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_dashboard_that_asks_and_never_reads_is_left_and_costs_no_memory() {
    let mut rig = Rig::live(Duration::from_secs(1), &[]).await;
    let (mut sink, stream) = rig.hold().split();
    let asking = tokio::spawn(async move {
        for id in 0.. {
            if sink.send(command("nope", id)).await.is_err() {
                break;
            }
        }
    });
    tokio::time::sleep(WRITE_DEADLINE / 2).await;
    let report = rig.report().await;
    assert!((512..3 * 1024).contains(&report.queue.control), "{}", report.queue.control);
    assert!(report.stats.beats >= 4, "heartbeats are made on time: {}", report.stats.beats);
    let ended = rig.ended().await;
    assert!(matches!(ended, Ended::Stalled), "{ended:?}");
    assert!(rig.elapsed() <= WRITE_DEADLINE + Duration::from_secs(2), "{:?}", rig.elapsed());
    drop(stream);
    asking.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_writer_has_its_turn_while_frames_pour_in() {
    // Fewer than the answers that may wait: then nothing is read any more.
    const FRAMES: usize = 1_000;
    let mut rig = Rig::live(INTERVAL, &[]).await;
    let before = rig.report().await.stats.beats;
    let (mut sink, mut stream) = rig.hold().split();
    // Each of them is followed by a status and a heartbeat.
    let pouring = tokio::spawn(async move {
        for _ in 0..FRAMES {
            sink.feed(Message::text(r#"{"type":"command","payload":{"command":"x"}}"#)).await.unwrap();
        }
        sink.flush().await.unwrap();
        sink
    });
    stream.next().await.unwrap().unwrap();
    let made = rig.report().await.stats.beats - before;
    assert!(made < FRAMES as u64 / 2, "{made} frames were handled before one answer was written");
    let mut written = 0;
    while let Ok(Some(Ok(message))) = tokio::time::timeout(INTERVAL / 2, stream.next()).await {
        written += usize::from(message.is_text());
    }
    assert!(written >= FRAMES, "{written}");
    drop(pouring.await.unwrap());
    drop(stream);
    assert_eq!(rig.report().await.stats.beats - before, FRAMES as u64);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_registered_is_no_flood_of_heartbeats() {
    let log = CapturedLog::default();
    let _capturing = dispatcher::set_default(&log.dispatch());
    let mut rig = Rig::live(INTERVAL, &[]).await;
    let before = rig.report().await.stats.beats;
    for _ in 0..20 {
        rig.texts(&[r#"{"type":"registered","payload":{"ack":true}}"#; 100]).await;
        rig.pong().await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let beats = rig.report().await.stats.beats - before;
    assert!((4..=6).contains(&beats), "{beats} heartbeats in 5 s");
    let text = log.text();
    let lines = text.lines().filter(|line| line.contains("says `registered` again and again")).count();
    assert_eq!(lines, 5, "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_nonsense_is_a_few_lines_and_a_count() {
    let log = CapturedLog::default();
    let _capturing = dispatcher::set_default(&log.dispatch());
    let mut rig = Rig::live(INTERVAL, &[]).await;
    rig.run_command("pull").await;
    let nonsense = [
        "nonsense\nERROR forged",
        r#"{"type":"command","payload":{"command":"nope\nERROR forged"}}"#,
        r#"{"type":"command","payload":{"command":"switch"}}"#,
        r#"{"type":"kill_command","payload":{"pid":1}}"#,
        r#"{"type":"kill_command","payload":{"pid":"x"}}"#,
        r#"{"type":"registered","payload":{"heartbeat_interval":0}}"#,
        r#"{"type":"heartbeat_ack","payload":{"server_status":{"state":"degraded","reason":"a\nERROR forged"}}}"#,
        r#"{"type":"heartbeat_ack","payload":{"server_status":{"state":"degraded","reason":"b"}}}"#,
        r#"{"type":"command","payload":{"command":"stop"}}"#,
    ];
    for _ in 0..100 {
        rig.texts(&nonsense).await;
        rig.pong().await;
    }
    let stats = rig.report().await.stats;
    assert_eq!(stats.messages_ignored["malformed"], 100);
    assert!(stats.log_lines_left_out > 600, "{}", stats.log_lines_left_out);
    assert!(log.text().lines().count() < 70, "{}", log.text());
    assert!(!log.text().lines().any(|line| line.starts_with("ERROR")), "{}", log.text());
    // The stop had no effect.
    assert_eq!(rig.status().await.command, "stop");
    // Each minute tells what it left out.
    for _ in 0..4 {
        rig.heartbeat().await;
        rig.pong().await;
    }
    let about = "More lines about malformed messages were left out in the last minute.";
    assert!(log.line(about).ends_with("left_out=95"));
}

#[tokio::test(start_paused = true)]
async fn an_odd_field_is_named_once_for_the_whole_process() {
    let log = CapturedLog::default();
    let _capturing = dispatcher::set_default(&log.dispatch());
    let mut rig = Rig::start(INTERVAL).await;
    for _ in 0..3 {
        rig.next().await;
        rig.texts(&[
            r#"{"type":"registered","payload":{"host_id":5,"capabilities":null,"heartbeat_interval":30.0,"ack":null}}"#,
            r#"{"type":"command","payload":{"command":"nope","id":5}}"#,
        ])
        .await;
        assert_eq!(rig.status().await.command, "nope");
        rig.drop_connection().await;
        rig.reconnect().await;
    }
    assert_eq!(
        log.line("registered.heartbeat_interval"),
        "WARN Ignored a field of the dashboard that cannot be read: the interval that is set on the host holds. \
         field=\"registered.heartbeat_interval\" value=\"30.0\""
    );
    log.line("registered.host_id");
    log.line("command.id");
    assert!(!log.text().contains("capabilities"), "null is the same as absent");
}

#[tokio::test(start_paused = true)]
async fn a_time_out_of_bounds_is_named_once_for_the_whole_process() {
    let log = CapturedLog::default();
    let _capturing = dispatcher::set_default(&log.dispatch());
    let mut rig = Rig::start(INTERVAL).await;
    for seconds in [0, 3601, u64::MAX] {
        rig.next().await;
        rig.texts(&[
            &format!(
                r#"{{"type":"registered","payload":{{"heartbeat_interval":{seconds},"reconnect_window_s":{seconds}}}}}"#
            ),
            r#"{"type":"command","payload":{"command":"nope"}}"#,
        ])
        .await;
        assert_eq!(rig.status().await.command, "nope");
        assert_eq!(rig.report().await.interval_s, INTERVAL.as_secs(), "{seconds}");
        rig.drop_connection().await;
        rig.reconnect().await;
    }
    assert_eq!(
        log.line("heartbeat_interval"),
        "WARN The dashboard asks for a time that is not between 1 and 3600 s, so the interval that is set on the \
         host holds. field=\"heartbeat_interval\" seconds=0"
    );
    assert_eq!(
        log.line("reconnect_window_s"),
        "WARN The dashboard asks for a time that is more than 600 s, so it counts as 600 s. \
         field=\"reconnect_window_s\" seconds=3601"
    );
}

#[tokio::test(start_paused = true)]
async fn a_result_with_megabytes_of_message_is_told_once_and_the_connection_lives() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    let job = rig.run_command("pull").await;
    let mut endless = result(Outcome::Failed);
    endless.message = "x".repeat(3 << 20);
    job.end(endless).await;
    let status = rig.status().await;
    assert!(status.message.len() < MAX_SENT_BYTES && status.message.ends_with('…'));
    rig.heartbeat().await;
    rig.heartbeat().await;
}

#[tokio::test(start_paused = true)]
async fn an_odd_process_id_ends_nothing_and_is_answered() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    rig.run_command("pull").await;
    for payload in [r#"{"pid":-1}"#, r#"{"signal":"SIGKILL","pid":"7"}"#, r#""7""#] {
        rig.texts(&[&format!(r#"{{"type":"kill_command","payload":{payload}}}"#)]).await;
        let status = rig.status().await;
        let message = "what was sent as `pid` is not the running command";
        assert_eq!(
            (status.command.as_str(), status.message.as_str()),
            ("kill_command", message),
            "{payload}"
        );
    }
    assert!(rig.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_close_frame_is_the_last_one_and_rejections_that_wait_go_before_it() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    rig.command("pull", None).await;
    let order = rig.order().await;
    rig.command("switch", None).await;
    rig.yield_now().await;
    rig.shut_down();
    assert!(matches!(rig.next_but_heartbeats().await, AgentMessage::CommandRejected(_)));
    assert_eq!(rig.close_frame().await, (1000, "shutdown".to_owned()));
    drop(rig.launched(&order, Live::default()));
    assert!(matches!(rig.ended().await, Ended::Shutdown));
}

#[tokio::test(start_paused = true)]
async fn the_reason_of_a_close_is_one_line() {
    let mut rig = Rig::live(INTERVAL, &[]).await;
    rig.close(1008, "gone\nWATCHDOG=trigger\x1b[2J\u{202e}").await;
    let Ended::Closed(Some((1008, reason))) = rig.ended().await else { panic!() };
    assert_eq!(reason, "gone WATCHDOG=trigger");
}
