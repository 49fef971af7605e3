//! Messages of the wire.

use nixfleet_protocol::{
    AgentMessage, DashboardMessage, DecodeError, MAX_SENT_BYTES, OddField, Registered, encode,
};
use serde_json::{Map, Value, json};

/// Most fields of one message that may be ignored: the longest list in `docs/protocol.md` has seven.
const MAX_ODD: usize = 8;

/// Longest text about one ignored field, in characters.
const MAX_SHOWN: usize = 64;

/// Shortest text that is repeated, in bytes. Shorter ones are words that have a meaning.
const LONG_TEXT: usize = 24;

/// Longest list that is repeated.
const LONG_LIST: usize = 4;

/// Longest text that is made by repeating one, in bytes: longer than any message.
const MAX_ENLARGED: usize = 300 * 1024;

/// Shortest list that may be cut: results of tests.
const SHORT_LIST: usize = 8;

/// What a text may lose beside what is behind its bound, in bytes of JSON: the mark at its end, and a character in front
/// of that which has no room.
const LOST: usize = 3 + 6;

/// The bounds of texts, in bytes of JSON, as docs/protocol.md has them.
const BOUNDS: [usize; 5] = [256, 1024, 2048, 4096, 6 * 32 * 1024];

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
    if let Ok(mut frame) = serde_json::from_str(text) {
        // No input is long enough for the longest message, but a part of it may be.
        enlarge(&mut frame, [1, 40, 400][data.len() % 3], [1, 1, 40][data.len() / 3 % 3]);
        if let Ok(message) = AgentMessage::decode(&frame.to_string()) {
            sent(message);
        }
    }
}

/// Repeats texts that are no single words, and lists.
fn enlarge(value: &mut Value, texts: usize, lists: usize) {
    match value {
        Value::String(text) if text.len() >= LONG_TEXT => {
            *text = text.repeat(texts.min(1 + MAX_ENLARGED / text.len()));
        }
        Value::Array(list) => {
            list.iter_mut().for_each(|element| enlarge(element, texts, lists));
            if (1..=LONG_LIST).contains(&list.len()) {
                *list = std::iter::repeat_n(list.clone(), lists).flatten().collect();
            }
        }
        Value::Object(fields) => fields.values_mut().for_each(|field| enlarge(field, texts, lists)),
        _ => {}
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
        let before: Vec<Value> = batch.lines.iter().map(|line| json!(line)).collect();
        let batches = batch.split();
        let after = batches.iter().flat_map(|batch| &batch.lines).map(|line| json!(line));
        before.iter().zip(after).for_each(|(before, after)| only_cut(before, &after));
        let split: Vec<u64> = batches.iter().flat_map(|batch| &batch.lines).map(|line| line.seq).collect();
        assert_eq!(lines, split, "a line was lost or moved");
        batches.into_iter().for_each(|batch| bounded(AgentMessage::OutputBatch(batch)));
    } else {
        bounded(message);
    }
}

fn bounded(message: AgentMessage) {
    let given = json!(message);
    let text = message.encode();
    only_cut(&given, &serde_json::from_str(&text).expect("a message is JSON"));
    assert!(text.len() <= MAX_SENT_BYTES, "{} bytes", text.len());
    match AgentMessage::decode(&text) {
        // Numbers with a fraction are written in the shortest form, which serde_json reads to the last digit but one.
        Ok(again) => assert_eq!(again.encode().len().abs_diff(text.len()) / 64, 0, "of {text}"),
        Err(DecodeError::UnknownType(_) | DecodeError::Malformed(_)) => panic!("cannot be read: {text}"),
    }
}

/// Nothing else is changed than that a text or a list with no room lost its end: neither lost more than it had to.
fn only_cut(before: &Value, after: &Value) {
    match (before, after) {
        (Value::String(before), Value::String(after)) if before != after => {
            let kept = after.strip_suffix('…').expect("a mark at the end of a text that was cut");
            assert!(before.starts_with(kept), "{after:?} is no beginning");
            let (given, left) = (in_json(before), in_json(after));
            let bound = BOUNDS.into_iter().find(|bound| left <= *bound).expect("a bound");
            assert!(given > bound && left + LOST > bound, "{given} bytes became {left}");
        }
        (Value::Array(before), Value::Array(after)) => {
            assert!(after.len() >= before.len().min(SHORT_LIST) && after.len() <= before.len());
            before.iter().zip(after).for_each(|(before, after)| only_cut(before, after));
        }
        (Value::Object(before), Value::Object(after)) => {
            assert!(before.keys().eq(after.keys()), "{after:?}");
            before.values().zip(after.values()).for_each(|(before, after)| only_cut(before, after));
        }
        // As above: to the last digit but one.
        (Value::Number(before), Value::Number(after)) if before.is_f64() && after.is_f64() => {
            let (before, after) = (before.as_f64().unwrap_or(f64::NAN), after.as_f64().unwrap_or(f64::NAN));
            let digit = 4.0 * f64::EPSILON * before.abs();
            assert!((before - after).abs() <= digit, "{before} became {after}");
        }
        _ => assert_eq!(before, after),
    }
}

fn in_json(text: &str) -> usize {
    Value::from(text).to_string().len() - 2
}

/// The fields of `registered`, from the input in order, separated by 0xff: each as JSON, or else as text. Every
/// field that can be read is taken, whatever the others are, and serde alone reads the same of it. Of one that is there
/// twice the last one counts.
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
    let twice: Vec<String> = given.keys().map(|name| format!("{:?}:[[]],", name)).collect();
    let whole = Value::from(given.clone()).to_string();
    let repeated = whole.replacen('{', &format!("{{{}", twice.concat()), 1);
    let repeated = if given.is_empty() { whole } else { repeated };
    assert_eq!(read_text(&repeated), (all.clone(), odd), "the last one of two counts");
    let mut alone = Registered::default();
    for (name, value) in given {
        let by_serde: Option<Registered> = serde_json::from_value(json!({&name: value})).ok();
        let (read, odd) = read_registered(&Map::from_iter([(name.clone(), value)]));
        assert_eq!(odd.len(), usize::from(by_serde.is_none()), "{odd:?}");
        assert_eq!(read, by_serde.unwrap_or_default());
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
    read_text(&Value::from(payload.clone()).to_string())
}

fn read_text(payload: &str) -> (Registered, Vec<OddField>) {
    let text = format!(r#"{{"type":"registered","payload":{payload}}}"#);
    match DashboardMessage::decode_noting(&text) {
        Ok((DashboardMessage::Registered(registered), odd)) => (registered, odd),
        other => panic!("{other:?} of {text}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn messages_of_the_corpus_are_understood() {
        for file in fs::read_dir(crate::mutate::corpus("messages")).unwrap() {
            let path = file.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let is_message = AgentMessage::decode(&text).is_ok() || DashboardMessage::decode(&text).is_ok();
            let is_odd = path.ends_with("null") || path.ends_with("odd");
            assert!(is_message || is_odd, "{} is refused", path.display());
        }
    }
}
