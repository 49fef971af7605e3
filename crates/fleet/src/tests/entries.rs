//! How messages become entries.

use std::time::Duration;

use async_nats::header::{NATS_MESSAGE_ID, NATS_MESSAGE_TTL};
use nixfleet_protocol::AgentMessage;

use crate::{Beat, BeatAt, said};

fn batch(job: &str, first: u64, last: u64) -> AgentMessage {
    let line =
        |seq| format!(r#"{{"seq":{seq},"at":"2026-07-14T12:00:00.000Z","stream":"stdout","line":"x"}}"#);
    let lines: Vec<_> = (first..=last).map(line).collect();
    let (job, lines) = (serde_json::to_string(job).unwrap(), lines.join(","));
    let text = format!(
        r#"{{"type":"output_batch","payload":{{"command":"pull","job_id":{job},"lines":[{lines}]}}}}"#
    );
    AgentMessage::decode(&text).unwrap()
}

fn id(message: &AgentMessage) -> Option<String> {
    said("web-1", 3, 9, message).unwrap().headers.get(NATS_MESSAGE_ID).map(ToString::to_string)
}

#[test]
fn an_id_belongs_to_some_lines_of_one_job() {
    let long = "a".repeat(65);
    let rows = [
        (("j", 1, 3), Some("web-1.j-1-3")),
        (("j", 3, 3), Some("web-1.j-3")),
        (("J", 3, 3), Some("web-1.J-3")),
        // They would be those of other lines.
        (("j-1", 3, 3), None),
        (("3", 7, 7), None),
        (("", 1, 1), None),
        (("a b", 1, 1), None),
        (("a\r\nNats-TTL: 1s", 1, 1), None),
        (("a.b", 1, 1), None),
        ((long.as_str(), 1, 1), None),
    ];
    for ((job, first, last), expected) in rows {
        assert_eq!(id(&batch(job, first, last)).as_deref(), expected, "{job:?} {first} {last}");
    }
}

#[test]
fn a_batch_without_lines_and_a_message_without_a_job_have_no_id() {
    let empty = r#"{"type":"output_batch","payload":{"command":"pull","job_id":"j","lines":[]}}"#;
    let alone = r#"{"type":"status","payload":{"command":"pull","status":"ok","exit_code":0,"message":""}}"#;
    for text in [empty, alone] {
        assert_eq!(id(&AgentMessage::decode(text).unwrap()), None, "{text}");
    }
}

#[test]
fn a_heartbeat_lives_for_three_intervals() {
    for (interval, life) in
        [(0.2, "1s"), (1.0, "3s"), (1.5, "5s"), (30.0, "90s"), (3600.0, "10800s"), (1e6, "86400s")]
    {
        let beat = Beat::new("web-1", 3, -9, Duration::from_secs_f64(interval));
        assert_eq!(beat.subject, "$KV.fleet_beats.web-1");
        assert_eq!(beat.headers.get(NATS_MESSAGE_TTL).unwrap().as_str(), life, "{interval}");
        assert_eq!(BeatAt::read(Some(&beat.headers)), Some(BeatAt { connection: 3, at_ms: -9 }));
    }
}
