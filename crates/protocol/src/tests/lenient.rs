//! Optional fields of a dashboard that cannot be read.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::lenient::Payload;

/// Message, payload without the field, and the optional fields.
fn messages() -> [(&'static str, Value, Vec<&'static str>); 4] {
    fn names<T: Payload>() -> Vec<&'static str> {
        T::OPTIONAL.iter().map(|(name, _)| *name).collect()
    }
    [
        ("registered", json!({}), names::<Registered>()),
        ("command", json!({ "command": "pull" }), names::<CommandRequest>()),
        ("kill_command", json!({}), names::<KillCommand>()),
        ("heartbeat_ack", json!({}), names::<HeartbeatAck>()),
    ]
}

fn with(payload: &Value, field: &str, value: Value) -> Value {
    let mut payload = payload.clone();
    match field.split_once('.') {
        Some((outer, inner)) => payload[outer][inner] = value,
        None => payload[field] = value,
    }
    payload
}

fn text(kind: &str, payload: &Value) -> String {
    json!({ "type": kind, "payload": payload }).to_string()
}

#[test]
fn every_field_with_a_default_is_known_as_optional() {
    let complete = [
        (
            "registered",
            json!(Registered {
                heartbeat_interval: Some(1),
                reconnect_window_s: Some(1),
                ack: true,
                server_time: Some("x".into()),
                capabilities: vec!["x".into()],
                ..Registered::default()
            }),
        ),
        ("command", json!(CommandRequest { command: "pull".into(), id: Some("x".into()) })),
        ("kill_command", json!(KillCommand::default())),
        ("heartbeat_ack", json!(HeartbeatAck { server_time: Some("x".into()), ..HeartbeatAck::default() })),
    ];
    for ((kind, complete), (same, required, optional)) in complete.iter().zip(messages()) {
        assert_eq!(*kind, same);
        for field in complete.as_object().unwrap().keys() {
            assert!(required.get(field).is_some() || optional.contains(&field.as_str()), "{kind}.{field}");
        }
    }
    let status = json!(ServerStatus { state: ServerState::Degraded, reason: "x".into(), until: "x".into() });
    for field in status.as_object().unwrap().keys() {
        assert!(messages()[3].2.contains(&format!("server_status.{field}").as_str()), "{field}");
    }
}

#[test]
fn an_odd_field_is_ignored_alone() {
    let good = json!({
        "host_id": "h", "capabilities": ["output_batch"], "heartbeat_interval": 60, "ack": true,
        "reconnect_window_s": 5, "server_time": "2026-01-01T00:00:00Z",
    });
    let whole = DashboardMessage::decode(&text("registered", &good)).unwrap();
    for (field, value) in [
        ("host_id", json!(5)),
        ("capabilities", json!({})),
        ("capabilities", json!([null])),
        ("heartbeat_interval", json!(30.0)),
        ("heartbeat_interval", json!(-1)),
        ("heartbeat_interval", json!("30")),
        ("ack", json!("yes")),
        ("reconnect_window_s", json!(1.5)),
        ("server_time", json!(1_700_000_000)),
    ] {
        let odd = with(&good, field, value.clone());
        let (message, ignored) = DashboardMessage::decode_noting(&text("registered", &odd)).unwrap();
        let mut without = good.clone();
        without.as_object_mut().unwrap().remove(field);
        assert_eq!(message, DashboardMessage::decode(&text("registered", &without)).unwrap(), "{field}");
        assert_ne!(message, whole);
        let [OddField { message: "registered", field: named, value: shown, then }] = &ignored[..] else {
            panic!("{ignored:?}")
        };
        assert_eq!((*named, shown), (field, &value.to_string()));
        assert!(!then.is_empty());
    }
    let (_, ignored) = DashboardMessage::decode_noting(&text("registered", &good)).unwrap();
    assert_eq!(ignored, []);
}

#[test]
fn fields_inside_others_payloads_and_repeats_are_handled_alike() {
    let status = r#"{"state":"maintenance","reason":7,"until":"x"}"#;
    let ack = format!(r#"{{"type":"heartbeat_ack","payload":{{"seq":3,"server_status":{status}}}}}"#);
    let (message, ignored) = DashboardMessage::decode_noting(&ack).unwrap();
    let DashboardMessage::HeartbeatAck(HeartbeatAck { seq: 3, server_status, .. }) = message else {
        panic!()
    };
    assert_eq!((server_status.state, server_status.until.as_str()), (ServerState::Maintenance, "x"));
    assert_eq!(ignored.iter().map(|odd| odd.field).collect::<Vec<_>>(), ["server_status.reason"]);

    for (text, fields) in [
        (r#"{"type":"registered","payload":"text"}"#, &["payload"][..]),
        (r#"{"type":"registered","payload":[]}"#, &["payload"]),
        (r#"{"type":"registered","payload":{"ack":true,"ack":true}}"#, &[]),
        (r#"{"type":"registered","payload":{"ack":1,"host_id":1}}"#, &["host_id", "ack"]),
        (r#"{"type":"command","payload":{"command":"pull","id":5}}"#, &["id"]),
    ] {
        let (_, ignored) = DashboardMessage::decode_noting(text).unwrap();
        assert_eq!(ignored.iter().map(|odd| odd.field).collect::<Vec<_>>(), fields, "{text}");
    }
    for text in [
        r#"{"type":"command","payload":{"command":"pull","command":"switch","id":5}}"#,
        r#"{"type":"command","payload":{"command":null,"id":5}}"#,
        r#"{"type":"command","payload":"pull"}"#,
    ] {
        assert!(DashboardMessage::decode(text).is_err(), "{text}");
    }
    let long = format!(r#"{{"type":"registered","payload":{{"host_id":[{}1]}}}}"#, "1,".repeat(10_000));
    let (_, ignored) = DashboardMessage::decode_noting(&long).unwrap();
    assert!(ignored[0].value.len() < 100, "{}", ignored[0].value);
}

#[test]
fn an_odd_process_id_means_no_process_and_not_any() {
    for payload in [r#"{"pid":-1}"#, r#"{"pid":"7"}"#, r#"{"pid":4294967296}"#, r#""pid 7""#] {
        let text = format!(r#"{{"type":"kill_command","payload":{payload}}}"#);
        let DashboardMessage::KillCommand(kill) = DashboardMessage::decode(&text).unwrap() else { panic!() };
        assert_eq!(kill.pid, NO_PROCESS, "{payload}");
    }
    let text = r#"{"type":"kill_command","payload":{"signal":"SIGHUP","pid":7}}"#;
    let kill = KillCommand { signal: KillSignal::Term, pid: 7 };
    assert_eq!(DashboardMessage::decode(text).unwrap(), DashboardMessage::KillCommand(kill));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_value_of_an_optional_field_costs_the_message(values in prop::collection::vec(any_json(), 7)) {
        for (kind, required, optional) in messages() {
            let mut all = required.clone();
            for (field, value) in optional.iter().zip(&values) {
                let one = with(&required, field, value.clone());
                let decoded = DashboardMessage::decode_noting(&text(kind, &one));
                prop_assert!(decoded.is_ok(), "{} {}: {:?}", kind, one, decoded);
                if !field.contains('.') {
                    all = with(&all, field, value.clone());
                }
            }
            prop_assert!(DashboardMessage::decode(&text(kind, &all)).is_ok(), "{} {}", kind, all);
        }
    }
}

#[test]
fn depth_and_numbers_beyond_reason_in_an_optional_field_cost_the_field_only() {
    for value in ["[".repeat(100_000) + &"]".repeat(100_000), "1e999".to_owned(), "-0".to_owned()] {
        for (kind, required, optional) in messages() {
            for field in optional.iter().filter(|field| !field.contains('.')) {
                let payload = with(&required, field, json!("HERE")).to_string().replace("\"HERE\"", &value);
                let text = format!(r#"{{"type":"{kind}","payload":{payload}}}"#);
                assert!(DashboardMessage::decode(&text).is_ok(), "{kind}.{field}");
            }
        }
    }
}
