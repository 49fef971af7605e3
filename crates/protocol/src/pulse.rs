//! What a server needs of a heartbeat that it only passes on.

use std::borrow::Cow;

use serde::Deserialize;

use crate::{HEARTBEAT, Heartbeat};

/// A heartbeat, as far as whoever passes it on has to know it. Its other fields are for those who read it in the end.
///
/// To read all of them costs several times as much, and most of that is memory for texts that are dropped at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulse {
    /// As in [`Heartbeat`].
    pub seq: Option<u64>,
    /// As in [`Heartbeat`].
    pub pending_command: Option<String>,
}

/// The fields without which it is no heartbeat, and those of [`Pulse`].
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "generation")]
    _generation: Cow<'a, str>,
    #[serde(borrow, rename = "nixpkgs_version")]
    _nixpkgs_version: Cow<'a, str>,
    pending_command: Option<String>,
    #[serde(default)]
    seq: Option<u64>,
}

impl Pulse {
    /// Reads a text frame that is written as agents write heartbeats. None for any other frame, which may be a heartbeat
    /// as well: [`AgentMessage::decode`](crate::AgentMessage::decode) knows.
    ///
    /// The text is JSON, and the fields of this type are right. Others may be wrong.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let payload = text.strip_prefix(HEARTBEAT)?.strip_suffix('}')?;
        let Fields { seq, pending_command, .. } = serde_json::from_str(payload).ok()?;
        Some(Self { seq, pending_command })
    }
}

impl From<&Heartbeat> for Pulse {
    fn from(heartbeat: &Heartbeat) -> Self {
        Self { seq: heartbeat.seq, pending_command: heartbeat.pending_command.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AgentMessage;

    #[test]
    fn a_heartbeat_of_an_agent_has_the_same_pulse_read_either_way() {
        for pending_command in [None, Some("switch".to_owned()), Some("a \"b\" \u{e4}\n".to_owned())] {
            let heartbeat = Heartbeat {
                generation: "a\\\"b".to_owned(),
                seq: Some(7),
                pending_command,
                ..Heartbeat::default()
            };
            let text = AgentMessage::Heartbeat(Box::new(heartbeat.clone())).encode();
            assert_eq!(Pulse::read(&text), Some(Pulse::from(&heartbeat)), "{text}");
        }
    }

    #[test]
    fn what_is_no_heartbeat_has_none() {
        let good =
            r#"{"generation":"a","nixpkgs_version":"b","pending_command":null,"seq":1,"new":[{"c":1e9}]}"#;
        let frame = |payload: &str| format!("{HEARTBEAT}{payload}}}");
        assert!(Pulse::read(&frame(good)).is_some());
        for payload in [
            good.replace("\"a\"", "1"),
            good.replace("\"nixpkgs_version\":\"b\",", ""),
            good.replace("null", "3"),
            good.replace(":1,", ":-1,"),
            good.replace("1e9", "1e"),
            good.replace("}]}", "}]}}"),
            good.replace("}]}", "]}"),
            format!("{good},\"trace\":1"),
        ] {
            assert_eq!(Pulse::read(&frame(&payload)), None, "{payload}");
        }
        assert_eq!(Pulse::read(&frame(good).replace("heartbeat", "status")), None);
    }
}
