//! Buckets and streams, and what is kept in them.

use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::header::{NATS_MARKER_REASON, NATS_MESSAGE_ID, NATS_MESSAGE_TTL};
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use async_nats::jetstream::{Context, consumer, stream};
use futures_util::StreamExt;
use nixfleet_fleet::names::{BEATS, GATEWAYS, LOG, LOG_SUBJECTS, STATUS};
use nixfleet_fleet::{Beat, BeatAt, Layout, Presence, Said, Sizes, names, presence, said};
use nixfleet_protocol::AgentMessage;
use nixfleet_testbed::Setup;

use crate::rig::{Rig, soon, until};

fn message(text: &str) -> AgentMessage {
    AgentMessage::decode(text).unwrap()
}

fn batch(first: u64, last: u64) -> (AgentMessage, String) {
    let line =
        |seq| format!(r#"{{"seq":{seq},"at":"2026-07-14T12:00:00.000Z","stream":"stdout","line":"x"}}"#);
    let lines: Vec<_> = (first..=last).map(line).collect();
    let text = format!(
        r#"{{"type":"output_batch","payload":{{"command":"pull","job_id":"j1","lines":[{}]}}}}"#,
        lines.join(",")
    );
    (message(&text), text)
}

async fn publish(jetstream: &Context, said: &Said, text: &str) -> bool {
    let mut new = false;
    for subject in &said.subjects {
        let sent =
            jetstream.publish_with_headers(subject.clone(), said.headers.clone(), text.to_owned().into());
        new |= !sent.await.unwrap().await.unwrap().duplicate;
    }
    new
}

async fn config(jetstream: &Context, name: &str) -> stream::Config {
    jetstream.get_stream(name).await.unwrap().cached_info().config.clone()
}

/// The reason of the next marker of this bucket, and when it came.
async fn next_marker(messages: &mut consumer::push::Ordered) -> (String, String, Instant) {
    loop {
        let message = soon("a marker", messages.next()).await.unwrap().unwrap();
        let reason = message.headers.as_ref().and_then(|headers| headers.get(NATS_MARKER_REASON));
        if let Some(reason) = reason {
            assert_eq!(BeatAt::read(message.headers.as_ref()), None, "a marker is no heartbeat");
            assert!(message.payload.is_empty());
            return (message.subject.to_string(), reason.to_string(), Instant::now());
        }
    }
}

async fn watch(rig: &Rig, bucket: &str) -> consumer::push::Ordered {
    let stream = rig.jetstream.get_stream(format!("KV_{bucket}")).await.unwrap();
    let config = consumer::push::OrderedConfig {
        deliver_subject: rig.client.new_inbox(),
        ..consumer::push::OrderedConfig::default()
    };
    stream.create_consumer(config).await.unwrap().messages().await.unwrap()
}

#[tokio::test]
async fn what_is_there_stays_as_an_operator_has_made_it() {
    let Some(rig) = Rig::start().await else { return };
    let own = Config {
        name: LOG.to_owned(),
        subjects: vec![LOG_SUBJECTS.to_owned()],
        max_bytes: 100_000,
        ..Config::default()
    };
    rig.jetstream.create_stream(own).await.unwrap();
    let sizes = Sizes { ends: 7, ends_age: Duration::from_secs(3600), ..Sizes::default() };
    Layout::ensure(&rig.jetstream, &sizes).await.unwrap();
    // By another gateway, with other settings.
    let layout = rig.layout().await;
    assert_eq!(config(&rig.jetstream, LOG).await.max_bytes, 100_000);
    let status = config(&rig.jetstream, STATUS).await;
    assert_eq!((status.max_messages_per_subject, status.max_age), (7, Duration::from_secs(3600)));
    assert_eq!(layout.beats.name, BEATS);
    let beats = config(&rig.jetstream, "KV_fleet_beats").await;
    assert!(beats.allow_message_ttl);
    assert_eq!((beats.storage, beats.max_messages_per_subject), (stream::StorageType::Memory, 1));
    assert_eq!(beats.subject_delete_marker_ttl, Some(Duration::from_secs(60)));
}

#[tokio::test]
async fn a_heartbeat_expires_with_a_marker() {
    let Some(rig) = Rig::start().await else { return };
    rig.layout().await;
    let mut beats = watch(&rig, BEATS).await;
    let gateways = rig.jetstream.get_stream(format!("KV_{GATEWAYS}")).await.unwrap();
    let begun = Instant::now();
    let gateway = Presence {
        id: "one".to_owned(),
        version: "0".to_owned(),
        started_ms: 0,
        connections: 1,
        draining: false,
    };
    gateway.renew(&rig.jetstream).await.unwrap();
    let beat = Beat::new("web-1", 4, 5, Duration::from_secs(1));
    rig.client.publish_with_headers(beat.subject, beat.headers, "{}".into()).await.unwrap();
    let first = soon("the heartbeat", beats.next()).await.unwrap().unwrap();
    assert_eq!(BeatAt::read(first.headers.as_ref()), Some(BeatAt { connection: 4, at_ms: 5 }));
    assert_eq!(names::host_of(&first.subject), Some("web-1"));
    let (subject, reason, at) = next_marker(&mut beats).await;
    assert_eq!((subject.as_str(), reason.as_str()), ("$KV.fleet_beats.web-1", "MaxAge"));
    assert!(at - begun >= Duration::from_secs(3), "{:?}", at - begun);
    // That of a gateway takes longer than a test should.
    let kept = gateways.get_last_raw_message_by_subject("$KV.fleet_gateways.one").await.unwrap();
    assert_eq!(
        kept.headers.get(NATS_MESSAGE_TTL).unwrap().as_str(),
        format!("{}s", presence::LIFE.as_secs())
    );
}

#[tokio::test]
async fn what_is_sent_again_is_kept_once_and_other_pieces_are_kept() {
    let Some(rig) = Rig::start().await else { return };
    rig.layout().await;
    let (three, text) = batch(1, 3);
    // Again on the next connection.
    for (connection, new) in [(1, true), (2, false)] {
        let said = said("web-1", connection, 9, &three).unwrap();
        assert_eq!(said.headers.get(NATS_MESSAGE_ID).unwrap().as_str(), "web-1.j1-1-3");
        assert_eq!(publish(&rig.jetstream, &said, &text).await, new);
    }
    let (other, text) = batch(2, 4);
    assert!(publish(&rig.jetstream, &said("web-1", 2, 9, &other).unwrap(), &text).await);
    // The same job id on another host.
    assert!(publish(&rig.jetstream, &said("web-2", 1, 9, &other).unwrap(), &text).await);
    let text = r#"{"type":"status","payload":{"command":"pull","status":"ok","exit_code":0,"message":"","job_id":"j1"}}"#;
    let end = said("web-1", 2, 9, &message(text)).unwrap();
    assert_eq!(end.subjects, ["fleet.up.web-1.status", "fleet.status.web-1"]);
    assert!(publish(&rig.jetstream, &end, text).await);
    assert!(!publish(&rig.jetstream, &end, text).await);
    let count = async |name: &str| rig.jetstream.get_stream(name).await.unwrap().cached_info().state.messages;
    assert_eq!((count(LOG).await, count(STATUS).await), (4, 1));
}

#[tokio::test]
async fn a_full_log_drops_its_oldest_and_refuses_only_if_an_operator_says_so() {
    let Some(rig) = Rig::start().await else { return };
    let sizes = Sizes { log_bytes: 20_000, ..Sizes::default() };
    Layout::ensure(&rig.jetstream, &sizes).await.unwrap();
    let payload = "x".repeat(1000);
    let send = async || {
        let sent =
            rig.jetstream.publish(names::said("web-1", "output"), payload.clone().into()).await.unwrap();
        sent.await
    };
    for _ in 0..40 {
        send().await.unwrap();
    }
    let state = rig.jetstream.get_stream(LOG).await.unwrap().cached_info().state.clone();
    assert!(state.bytes <= 20_000 && state.first_sequence > 1, "{state:?}");
    let refusing = Config { discard: DiscardPolicy::New, ..config(&rig.jetstream, LOG).await };
    rig.jetstream.update_stream(&refusing).await.unwrap();
    // Nothing expires, so one of the next messages has no room, and neither has it later.
    let refused = until("a full log refuses", async || send().await.err()).await;
    assert!(refused.to_string().contains("maximum bytes exceeded"), "{refused}");
    // A gateway that starts now still works with it, and the end of a command is kept.
    rig.layout().await;
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, "web-1.j1-end");
    let sent =
        rig.jetstream.publish_with_headers(names::status("web-1"), headers, "{}".into()).await.unwrap();
    sent.await.unwrap();
    // Room is made, and it takes lines again.
    rig.jetstream.get_stream(LOG).await.unwrap().purge().await.unwrap();
    send().await.unwrap();
}

#[tokio::test]
async fn a_server_without_jetstream_is_named() {
    // The last one of two blocks counts.
    let setup = Setup { config: "jetstream: false".to_owned(), name: None };
    let Some(rig) = Rig::with(&setup).await else { return };
    let err = Layout::ensure(&rig.jetstream, &Sizes::default()).await.unwrap_err().to_string();
    assert!(err.starts_with("cannot find or make ") && err.contains("JetStream must be on"), "{err}");
}
