//! What counts as a message: unknown, malformed, nested, damaged and very long frames.

use proptest::prelude::*;

use super::*;

/// The kind of result, for the tables below.
fn verdict<T>(result: Result<T, DecodeError>) -> &'static str {
    match result {
        Ok(_) => "message",
        Err(DecodeError::UnknownType(_)) => "unknown",
        Err(DecodeError::Malformed(_)) => "malformed",
    }
}

#[test]
fn unknown_types_and_malformed_frames_from_a_dashboard_are_told_apart() {
    let table = [
        ("message", r#"{"type":"command","payload":{"command":"pull"}}"#),
        // The order of fields, white space and escapes make no difference.
        ("message", " {\"payload\" : {\"command\":\"pull\"},\n\"type\":\"\\u0063ommand\"} \n"),
        // Unknown fields, in the payload and in the envelope.
        ("message", r#"{"type":"command","payload":{"command":"pull","new":[1,{}]},"trace":"x"}"#),
        ("message", r#"{"type":"registered","payload":{"host_id":"h","server_time":"x","ack":true}}"#),
        ("message", r#"{"type":"command","payload":{"command":"pull","id":null}}"#),
        // All fields of these types are optional, and so is the payload.
        ("message", r#"{"type":"registered"}"#),
        ("message", r#"{"type":"registered","payload":null}"#),
        ("message", r#"{"type":"kill_command"}"#),
        ("message", r#"{"type":"heartbeat_ack","payload":{"seq":1}}"#),
        ("message", r#"{"type":"heartbeat_ack","payload":{"seq":1,"server_status":{"state":"on fire"}}}"#),
        ("message", r#"{"type":"heartbeat_ack","payload":{"seq":1.0}}"#),
        ("unknown", r#"{"type":"heartbeat","payload":{}}"#),
        ("unknown", r#"{"type":"","payload":{}}"#),
        ("unknown", r#"{"type":"Command","payload":{"command":"pull"}}"#),
        ("unknown", r#"{"type":"new","payload":"text"}"#),
        ("unknown", r#"{"type":"new"}"#),
        ("malformed", ""),
        ("malformed", "command"),
        ("malformed", "null"),
        ("malformed", "[]"),
        ("malformed", r#""command""#),
        ("malformed", r#"{}"#),
        ("malformed", r#"{"payload":{"command":"pull"}}"#),
        ("malformed", r#"{"type":17}"#),
        ("malformed", r#"{"type":null}"#),
        ("malformed", r#"{"type":"command"}"#),
        ("malformed", r#"{"type":"command","payload":null}"#),
        ("malformed", r#"{"type":"command","payload":{}}"#),
        ("malformed", r#"{"type":"command","payload":"pull"}"#),
        ("malformed", r#"{"type":"command","payload":{"command":5}}"#),
        ("message", r#"{"type":"command","payload":{"command":"pull","id":5}}"#),
        ("malformed", r#"{"type":"command","payload":{"command":"pull"}"#),
        ("malformed", r#"{"type":"command","payload":{"command":"pull"}}{}"#),
        ("message", r#"{"type":"kill_command","payload":{"pid":-1}}"#),
        ("message", r#"{"type":"kill_command","payload":{"pid":1.0}}"#),
        ("message", r#"{"type":"kill_command","payload":{"pid":4294967296}}"#),
        ("message", r#"{"type":"kill_command","payload":{"signal":"SIGHUP"}}"#),
        ("malformed", "\u{feff}{\"type\":\"registered\"}"),
    ];
    for (expected, text) in table {
        assert_eq!(verdict(DashboardMessage::decode(text)), expected, "{text}");
    }
}

/// A Go program writes null for an empty slice, and many JSON libraries write it for anything that is not
/// set.
#[test]
fn null_in_an_optional_field_is_the_same_as_no_field() {
    let messages = [
        r#"{"type":"registered","payload":{"host_id":null,"capabilities":null,"heartbeat_interval":null,"ack":null,
            "reconnect_window_s":null,"server_time":null}}"#,
        r#"{"type":"heartbeat_ack","payload":{"seq":null,"server_time":null,"pending_messages":null,
            "server_status":null}}"#,
        r#"{"type":"heartbeat_ack","payload":{"server_status":{"state":null,"reason":null,"until":null}}}"#,
        r#"{"type":"kill_command","payload":{"signal":null,"pid":null}}"#,
    ];
    for text in messages {
        let message: Value = serde_json::from_str(text).unwrap();
        let without = format!(r#"{{"type":{}}}"#, message["type"]);
        assert_eq!(
            DashboardMessage::decode(text).unwrap(),
            DashboardMessage::decode(&without).unwrap(),
            "{text}"
        );
    }
    // A required field has no default.
    assert_eq!(
        verdict(DashboardMessage::decode(r#"{"type":"command","payload":{"command":null}}"#)),
        "malformed"
    );
}

#[test]
fn unknown_types_and_malformed_frames_from_an_agent_are_told_apart() {
    let beat = |metrics: &str| {
        format!(
            r#"{{"type":"heartbeat","payload":{{"generation":"a","nixpkgs_version":"b","metrics":{metrics}}}}}"#
        )
    };
    let table = [
        ("message", beat("null")),
        // Another agent may write a whole percentage without a decimal point.
        ("message", beat(r#"{"cpu":15,"ram":42,"swap":0,"load":1,"gpu":3}"#)),
        ("malformed", beat(r#"{"cpu":15.5,"ram":42.0,"swap":0.0}"#)),
        ("malformed", beat(r#"{"cpu":"15.5","ram":42.0,"swap":0.0,"load":0.5}"#)),
        ("malformed", beat(r#"{"cpu":1e999,"ram":42.0,"swap":0.0,"load":0.5}"#)),
        ("malformed", r#"{"type":"heartbeat"}"#.to_owned()),
        ("malformed", r#"{"type":"register","payload":{"heartbeat_interval":30.0}}"#.to_owned()),
        ("malformed", r#"{"type":"register","payload":{"heartbeat_interval":-1}}"#.to_owned()),
        (
            "malformed",
            r#"{"type":"output","payload":{"line":"x","stream":"stdin","command":"pull","is_error":false}}"#
                .to_owned(),
        ),
        (
            "malformed",
            r#"{"type":"status","payload":{"status":"fine","command":"pull","exit_code":0}}"#.to_owned(),
        ),
        (
            "message",
            r#"{"type":"status","payload":{"status":"ok","command":"pull","exit_code":0}}"#.to_owned(),
        ),
        ("message", r#"{"type":"register"}"#.to_owned()),
        ("unknown", r#"{"type":"telepathy","payload":{"progress":{}}}"#.to_owned()),
        ("unknown", r#"{"type":"command","payload":{"command":"pull"}}"#.to_owned()),
    ];
    for (expected, text) in table {
        assert_eq!(verdict(AgentMessage::decode(&text)), expected, "{text}");
    }
}

/// A heartbeat as agents write it is read in another way than one with other white space.
#[test]
fn a_heartbeat_is_the_same_however_its_frame_is_written() {
    let payload = r#"{"generation":"a}","nixpkgs_version":"b","seq":7,"new":[{}]}"#;
    let usual = format!(r#"{{"type":"heartbeat","payload":{payload}}}"#);
    let AgentMessage::Heartbeat(beat) = AgentMessage::decode(&usual).unwrap() else { panic!("a heartbeat") };
    assert_eq!((beat.generation.as_str(), beat.seq), ("a}", Some(7)));
    let table = [
        ("message", format!(r#" {{"type":"heartbeat","payload":{payload}}} "#)),
        ("message", format!(r#"{{"payload":{payload},"type":"heartbeat"}}"#)),
        ("message", format!(r#"{{"type":"heartbeat","payload":{payload},"trace":{{}}}}"#)),
        ("message", format!("{{\"type\":\"heartbeat\",\"payload\":\n{payload}\n}}")),
        ("malformed", format!(r#"{{"type":"heartbeat","payload":{payload}"#)),
        ("malformed", format!(r#"{{"type":"heartbeat","payload":{payload}}}}}"#)),
        ("malformed", format!(r#"{{"type":"heartbeat","payload":{payload}}} x"#)),
        ("malformed", format!(r#"{{"type":"heartbeat","payload":{payload},"payload":{payload}}}"#)),
        ("malformed", format!(r#"{{"type":"heartbeat","payload":{payload},"type":"output"}}"#)),
        ("malformed", r#"{"type":"heartbeat","payload":}"#.to_owned()),
    ];
    for (expected, text) in table {
        let decoded = AgentMessage::decode(&text);
        if let Ok(message) = &decoded {
            assert_eq!(*message, AgentMessage::Heartbeat(beat.clone()), "{text}");
        }
        assert_eq!(verdict(decoded), expected, "{text}");
    }
}

#[test]
fn an_unknown_type_is_named_and_a_malformed_one_says_where() {
    let unknown = DashboardMessage::decode(r#"{"type":"from_the_future"}"#).unwrap_err();
    assert_eq!(unknown.to_string(), "unknown message type `from_the_future`");
    let malformed = DashboardMessage::decode(r#"{"type":"command","payload":{}}"#).unwrap_err();
    let cause = std::error::Error::source(&malformed).unwrap().to_string();
    assert!(cause.contains("missing field `command`"), "{cause}");
}

#[test]
fn a_frame_nested_beyond_reason_is_no_crash() {
    let depth = 100_000;
    let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let frame = |kind: &str| format!(r#"{{"type":"{kind}","payload":{nested}}}"#);
    assert_eq!(verdict(DashboardMessage::decode(&frame("command"))), "malformed");
    assert_eq!(verdict(DashboardMessage::decode(&frame("new"))), "unknown");
    let field = format!(r#"{{"type":"command","payload":{{"command":"pull","new":{nested}}}}}"#);
    drop(DashboardMessage::decode(&field));
    assert_eq!(verdict(DashboardMessage::decode(&nested)), "malformed");
}

/// The longest name of a command that an agent accepts, in bytes.
const MAX_COMMAND_NAME: usize = 32;

/// Repeats the character that JSON makes longest: one byte becomes six.
fn worst(bytes: usize) -> String {
    "\u{1}".repeat(bytes)
}

#[test]
fn the_longest_line_and_the_longest_name_of_a_command_fit_into_one_message() {
    let command = "x".repeat(MAX_COMMAND_NAME);
    let lines = [worst(MAX_LINE_BYTES), "\u{fffd}".repeat(MAX_LINE_BYTES), "\"".repeat(MAX_LINE_BYTES)];
    for line in lines {
        let output = AgentMessage::Output(Output {
            line: line.clone(),
            stream: Stream::Stderr,
            command: command.clone(),
            is_error: true,
            seq: Some(u64::MAX),
            job_id: Some(JOB.to_owned()),
            at: Some("2026-01-01T00:00:00.000Z".to_owned()),
            cont: true,
        });
        // The message of a status may quote the last line of the output.
        let status = AgentMessage::Status(Status {
            job_id: Some(JOB.to_owned()),
            signal: Some(i32::MIN),
            outcome: Some("interrupted_by_reboot".to_owned()),
            duration_ms: Some(u64::MAX),
            lines: Some(u64::MAX),
            dropped_lines: Some(u64::MAX),
            ..status(StatusKind::Error, &command, i32::MIN, &line)
        });
        for text in [encode(&output), encode(&status)] {
            assert!(text.len() <= MAX_SENT_BYTES, "{}", text.len());
            assert_eq!(
                value("longest", &text),
                value("again", &encode(&AgentMessage::decode(&text).unwrap()))
            );
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_decoder_panic(text in any::<String>()) {
        drop(AgentMessage::decode(&text));
        drop(DashboardMessage::decode(&text));
    }

    /// Damages a real message, which gets further into the decoder than arbitrary text.
    #[test]
    fn no_damage_to_a_message_makes_the_decoder_panic(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        length in 0_usize..40,
        part in r#"[\[\]{}:,"\\0-9.eE\-a-z\u{0}-\u{1f}\u{fffd}]{0,12}"#,
    ) {
        let names: Vec<&str> = from_agents().iter().map(|(name, _)| *name)
            .chain(from_dashboards().iter().map(|(name, _)| *name)).collect();
        let letters: Vec<char> = golden(names[which.index(names.len())]).chars().collect();
        let begin = at.index(letters.len());
        let end = (begin + length).min(letters.len());
        let damaged: String =
            letters[..begin].iter().copied().chain(part.chars()).chain(letters[end..].iter().copied()).collect();
        if let Ok(message) = AgentMessage::decode(&damaged) {
            prop_assert!(AgentMessage::decode(&encode(&message)).is_ok());
        }
        if let Ok(message) = DashboardMessage::decode(&damaged) {
            prop_assert!(DashboardMessage::decode(&encode(&message)).is_ok());
        }
    }

    #[test]
    fn any_line_arrives_as_it_was_sent(line in any::<String>(), seq in any::<u64>(), cont in any::<bool>()) {
        let message = AgentMessage::Output(Output {
            line, stream: Stream::Stdout, command: "pull".to_owned(), is_error: false,
            seq: Some(seq), job_id: Some(JOB.to_owned()), at: None, cont,
        });
        let text = encode(&message);
        prop_assert!(!text.contains(['\n', '\r', '\0']));
        prop_assert_eq!(AgentMessage::decode(&text).unwrap(), message);
    }
}

#[test]
fn disk_traffic_of_an_older_agent_is_read_by_its_older_names() {
    let text = |disk_io: &str| {
        format!(
            r#"{{"type":"heartbeat","payload":{{"generation":"a","nixpkgs_version":"b","pending_command":null,
            "command_pid":null,"metrics":null,"vitals":{{"device_id":"web-1","disk_io":{disk_io}}}}}}}"#
        )
    };
    for disk_io in [r#"{"read":1.0,"written":2.0}"#, r#"{"received":1.0,"sent":2.0}"#] {
        let AgentMessage::Heartbeat(heartbeat) = AgentMessage::decode(&text(disk_io)).unwrap() else {
            panic!()
        };
        assert_eq!(heartbeat.vitals.unwrap().disk_io, Some(DiskIo { read: 1.0, written: 2.0 }), "{disk_io}");
    }
}

#[test]
fn a_light_with_a_new_word_is_unknown_and_costs_nothing_else() {
    let beat = r#"{"type":"heartbeat","payload":{"generation":"abc1234","nixpkgs_version":"x","update_status":{
        "git":{"status":"ok"},"lock":{"status":"paused","message":"until Monday"},"system":{},"tests":{"status":""}}}}"#;
    let Ok(AgentMessage::Heartbeat(beat)) = AgentMessage::decode(beat) else {
        panic!("the whole heartbeat was lost")
    };
    let lights = beat.update_status.unwrap();
    assert_eq!(lights.git.status, UpdateState::Ok);
    assert_eq!((lights.lock.status, lights.lock.message.as_str()), (UpdateState::Unknown, "until Monday"));
    assert_eq!((lights.system.status, lights.tests.status), (UpdateState::None, UpdateState::None));
}
