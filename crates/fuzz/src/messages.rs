//! Messages of the wire.

use nixfleet_protocol::{
    AgentMessage, DashboardMessage, DecodeError, MAX_SENT_BYTES, OddField, Registered, encode,
};
use serde_json::{Map, Value, json};

/// Most fields of one message that may be ignored: the longest list in `docs/protocol.md` has seven.
const MAX_ODD: usize = 8;

/// Longest text about one ignored field, in characters.
const MAX_SHOWN: usize = 64;

/// A frame of either side. What is understood is the same after it was written and read again; what is not required
/// never costs the message; what the agent writes is within the limit of the wire.
pub fn messages(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok((message, odd)) = DashboardMessage::decode_noting(text) {
        check_odd(&odd);
        let written = encode(&message);
        let (again, odd) = DashboardMessage::decode_noting(&written).expect("a message that was written");
        assert_eq!((encode(&again), odd), (written, Vec::new()), "of {text:?}");
    }
    if let Ok(Value::Object(frame)) = serde_json::from_str(text) {
        optional_fields_cost_nothing(&frame);
    }
    if let Ok(message) = AgentMessage::decode(text) {
        sent(message);
    }
}

/// A frame without members that are there twice: those are no message.
fn optional_fields_cost_nothing(frame: &Map<String, Value>) {
    let Some(kind) = frame.get("type").and_then(Value::as_str) else { return };
    let payload = frame.get("payload").unwrap_or(&Value::Null);
    let complete = match kind {
        "registered" | "heartbeat_ack" | "kill_command" => true,
        "command" => payload.get("command").is_some_and(Value::is_string),
        _ => return,
    };
    let text = json!({"type": kind, "payload": payload}).to_string();
    let decoded = DashboardMessage::decode(&text);
    assert_eq!(decoded.is_ok(), complete, "{decoded:?} of {text}");
}

fn check_odd(odd: &[OddField]) {
    assert!(odd.len() <= MAX_ODD, "{odd:?}");
    assert!(odd.iter().all(|odd| odd.value.chars().count() <= MAX_SHOWN), "{odd:?}");
}

/// Whatever an agent sends is short enough, can be read, and is not cut a second time.
pub(crate) fn sent(message: AgentMessage) {
    if let AgentMessage::OutputBatch(batch) = message {
        let lines: Vec<u64> = batch.lines.iter().map(|line| line.seq).collect();
        let batches = batch.split();
        let split: Vec<u64> = batches.iter().flat_map(|batch| &batch.lines).map(|line| line.seq).collect();
        assert_eq!(lines, split, "a line was lost or moved");
        batches.into_iter().for_each(|batch| bounded(AgentMessage::OutputBatch(batch)));
    } else {
        bounded(message);
    }
}

fn bounded(message: AgentMessage) {
    let text = message.encode();
    assert!(text.len() <= MAX_SENT_BYTES, "{} bytes", text.len());
    match AgentMessage::decode(&text) {
        // Numbers with a fraction are written in the shortest form, which serde_json reads to the last digit but one.
        Ok(again) => assert_eq!(again.encode().len().abs_diff(text.len()) / 64, 0, "of {text}"),
        Err(DecodeError::UnknownType(_) | DecodeError::Malformed(_)) => panic!("cannot be read: {text}"),
    }
}

/// The fields of `registered`, from the input in order, separated by 0xff: each as JSON, or else as text. Every
/// field that can be read is taken, whatever the others are.
pub fn registered(data: &[u8]) {
    const FIELDS: [&str; 7] = [
        "host_id",
        "capabilities",
        "heartbeat_interval",
        "ack",
        "reconnect_window_s",
        "server_time",
        "of_a_later_version",
    ];
    let given: Map<String, Value> = FIELDS
        .iter()
        .zip(data.split(|byte| *byte == 0xff))
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| {
            let text = String::from_utf8_lossy(value);
            ((*name).to_owned(), serde_json::from_str(&text).unwrap_or_else(|_| json!(text)))
        })
        .collect();
    let (all, odd) = read_registered(&given);
    check_odd(&odd);
    let mut alone = Registered::default();
    for (name, value) in given {
        let (read, odd) = read_registered(&Map::from_iter([(name.clone(), value)]));
        assert!(odd.len() <= 1, "{odd:?}");
        match name.as_str() {
            "host_id" => alone.host_id = read.host_id,
            "capabilities" => alone.capabilities = read.capabilities,
            "heartbeat_interval" => alone.heartbeat_interval = read.heartbeat_interval,
            "ack" => alone.ack = read.ack,
            "reconnect_window_s" => alone.reconnect_window_s = read.reconnect_window_s,
            "server_time" => alone.server_time = read.server_time,
            _ => assert_eq!((read, odd), (Registered::default(), Vec::new())),
        }
    }
    assert_eq!(all, alone);
}

fn read_registered(payload: &Map<String, Value>) -> (Registered, Vec<OddField>) {
    let text = json!({"type": "registered", "payload": payload}).to_string();
    match DashboardMessage::decode_noting(&text) {
        Ok((DashboardMessage::Registered(registered), odd)) => (registered, odd),
        other => panic!("{other:?} of {text}"),
    }
}
