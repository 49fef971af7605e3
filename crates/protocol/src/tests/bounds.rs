//! No message of the agent is longer than a dashboard accepts, whatever its texts are.

use proptest::prelude::*;

use super::*;

/// Every string and every array in the value, by its JSON pointer.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(at.to_owned()),
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                pointers(item, &format!("{at}/{n}"), found);
            }
            found.push(at.to_owned());
        }
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| pointers(member, &format!("{at}/{name}"), found));
        }
        _ => {}
    }
}

/// The message with endless texts and lists wherever their type allows it, and how many there are.
fn endless(name: &str, filler: &str, length: usize, count: usize) -> (AgentMessage, usize) {
    let mut value = value(name, &golden(name));
    let mut places = Vec::new();
    pointers(&value["payload"], "/payload", &mut places);
    let mut filled = 0;
    for place in places {
        let before = value.pointer(&place).unwrap().clone();
        let endless = match &before {
            Value::Array(items) if items.is_empty() => continue,
            // `load` has three values, always.
            Value::Array(_) if place.ends_with("/load") => continue,
            Value::Array(items) => items.iter().cycle().take(count).cloned().collect(),
            _ => Value::from(filler.repeat(length / filler.len())),
        };
        // Words of a fixed set stay.
        let fits = AgentMessage::decode(&golden_with(name, &place, "zz")).is_ok() || before.is_array();
        *value.pointer_mut(&place).unwrap() = if fits { endless } else { before };
        filled += usize::from(fits);
    }
    let text = value.to_string();
    (AgentMessage::decode(&text).unwrap_or_else(|err| panic!("{name}: {err:?}")), filled)
}

/// The golden file with this text in one place.
fn golden_with(name: &str, place: &str, text: &str) -> String {
    let mut value = value(name, &golden(name));
    *value.pointer_mut(place).unwrap() = Value::from(text);
    value.to_string()
}

/// The frames of a message.
fn frames(message: AgentMessage) -> Vec<String> {
    match message {
        AgentMessage::OutputBatch(batch) => {
            batch.split().into_iter().map(|batch| AgentMessage::OutputBatch(batch).encode()).collect()
        }
        message => vec![message.encode()],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn no_message_is_longer_than_a_dashboard_accepts(
        filler in prop_oneof![Just("\u{1}"), Just("\""), Just("x"), Just("\u{1f600}"), Just("\n\u{e4}")],
        length in 1_000_usize..12_000,
        count in 1_usize..200,
    ) {
        for (name, _) in from_agents() {
            let (message, filled) = endless(name, filler, length, count);
            prop_assert!(filled > 0 || name.starts_with("operation_progress") || name.starts_with("test_progress"));
            for frame in frames(message) {
                prop_assert!(frame.len() <= MAX_SENT_BYTES, "{} has {} bytes", name, frame.len());
                prop_assert!(AgentMessage::decode(&frame).is_ok());
            }
        }
    }
}

#[test]
fn three_mebibytes_of_message_are_cut_and_say_so() {
    let status = status(StatusKind::Error, "pull", 1, &"x".repeat(3 << 20));
    let text = AgentMessage::Status(status).encode();
    assert!(text.len() <= MAX_SENT_BYTES, "{}", text.len());
    let AgentMessage::Status(status) = AgentMessage::decode(&text).unwrap() else { panic!() };
    assert!(status.message.ends_with(&format!("x{}", crate::bounds::MARK)));
}

#[test]
fn a_thousand_commands_of_an_operator_are_not_all_offered() {
    let own = |number| OfferedCommand {
        name: format!("command-{number}"),
        description: "\u{1}".repeat(256),
        own: true,
    };
    let register = Register { commands: (0..1000).map(own).collect(), ..Register::default() };
    let text = AgentMessage::Register(Box::new(register)).encode();
    assert!(text.len() < MAX_SENT_BYTES, "{} bytes", text.len());
    let AgentMessage::Register(register) = AgentMessage::decode(&text).unwrap() else { panic!() };
    assert_eq!((register.commands.len(), &*register.commands[127].name), (128, "command-127"));
    assert!(register.commands[0].description.ends_with(crate::bounds::MARK));
}

#[test]
fn what_real_hosts_send_is_sent_to_the_letter() {
    for (name, message) in from_agents() {
        assert_eq!(message.clone().encode(), encode(&message), "{name}");
    }
    let line = worst_line();
    let output = AgentMessage::Output(Output {
        line: line.clone(),
        stream: Stream::Stdout,
        command: "pull".to_owned(),
        is_error: false,
        seq: Some(1),
        job_id: Some(JOB.to_owned()),
        at: None,
        cont: false,
    });
    assert_eq!(output.clone().encode(), encode(&output), "the longest line in its longest form");
}

fn worst_line() -> String {
    "\u{1}".repeat(MAX_LINE_BYTES)
}

#[test]
fn a_batch_is_split_where_it_would_be_too_long_and_loses_no_line() {
    let line = |seq| BatchLine {
        seq,
        at: "2026-01-01T00:00:00.000Z".to_owned(),
        stream: Stream::Stdout,
        line: worst_line(),
        cont: false,
    };
    let batch = OutputBatch {
        command: "pull".to_owned(),
        job_id: JOB.to_owned(),
        lines: (1..=5).map(line).collect(),
    };
    let batches = batch.split();
    assert_eq!(
        batches.iter().flat_map(|batch| &batch.lines).map(|line| line.seq).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
    for batch in batches {
        assert!(AgentMessage::OutputBatch(batch).encode().len() <= MAX_SENT_BYTES);
    }
    let short = |seq| BatchLine { line: "x".to_owned(), ..line(seq) };
    let batch = OutputBatch {
        command: "pull".to_owned(),
        job_id: JOB.to_owned(),
        lines: (1..=9).map(short).collect(),
    };
    assert_eq!(batch.clone().split(), [batch], "what fits stays together");
}
