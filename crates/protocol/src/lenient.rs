//! Messages of the dashboard with fields of a wrong type. A required field stays required. Any other field that
//! cannot be read is ignored by itself, so that it never costs the whole message: an agent that refused such a
//! `registered` would never be registered.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{DecodeError, HeartbeatAck, KillCommand, Registered};

/// Characters of the value that [`OddField::value`] keeps: enough to recognize what it is.
const SHOWN: usize = 60;

/// [`KillCommand::pid`] if the dashboard's number could not be read. No process has this id: Linux has none
/// above 2^22.
pub const NO_PROCESS: u32 = u32::MAX;

/// An optional field that could not be read and was ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OddField {
    /// Type of the message.
    pub message: &'static str,
    /// Name of the field, such as `server_status.reason`; `payload` for the payload as a whole.
    pub field: &'static str,
    /// The beginning of the value, as JSON.
    pub value: String,
    /// What the agent does without it, for people.
    pub then: &'static str,
}

/// A field that may be left out: its name, and what the agent does without it. The name of a field inside
/// another one contains a dot.
type Optional = (&'static str, &'static str);

/// What may be missing in a message.
pub(crate) trait Payload: DeserializeOwned {
    const MESSAGE: &'static str;
    const REQUIRED: &'static [&'static str] = &[];
    /// What the agent does without any payload.
    const WITHOUT: &'static str = "it counts as empty";
    const OPTIONAL: &'static [Optional];
}

impl Payload for Registered {
    const MESSAGE: &'static str = "registered";
    const OPTIONAL: &'static [Optional] = &[
        ("host_id", "the log does not name the host"),
        ("capabilities", "the dashboard gets what every dashboard can read"),
        ("heartbeat_interval", "the interval that is set on the host holds"),
        ("ack", "no acknowledgements are expected"),
        ("reconnect_window_s", "reconnects are spread as usual"),
        ("server_time", "the clocks are not compared"),
    ];
}

impl Payload for HeartbeatAck {
    const MESSAGE: &'static str = "heartbeat_ack";
    const OPTIONAL: &'static [Optional] = &[
        ("seq", "it acknowledges no heartbeat"),
        ("server_time", "times in it are compared with the clock of the host"),
        ("pending_messages", "it counts as 0"),
        ("server_status", "the dashboard counts as healthy"),
        ("server_status.state", "the dashboard counts as healthy"),
        ("server_status.reason", "no reason is shown"),
        ("server_status.until", "its end is not known"),
    ];
}

impl Payload for crate::CommandRequest {
    const MESSAGE: &'static str = "command";
    const REQUIRED: &'static [&'static str] = &["command"];
    const OPTIONAL: &'static [Optional] = &[("id", "the request counts as one without an id")];
}

impl Payload for KillCommand {
    const MESSAGE: &'static str = "kill_command";
    const WITHOUT: &'static str = "nothing is ended";
    const OPTIONAL: &'static [Optional] = &[("signal", "SIGTERM is sent"), ("pid", "nothing is ended")];
}

/// The members of an object in their order, also those that are there twice.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// An object of the members that can be read.
#[derive(Default)]
struct Kept<'a>(BTreeMap<&'static str, KeptValue<'a>>);

#[derive(Serialize)]
#[serde(untagged)]
enum KeptValue<'a> {
    Given(&'a RawValue),
    Part(BTreeMap<&'static str, &'a RawValue>),
}

impl Kept<'_> {
    fn read<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(&serde_json::to_string(&self.0)?)
    }
}

/// Reads a payload; tells which optional fields were ignored.
pub(crate) fn read<T: Payload>(payload: Option<&RawValue>) -> Result<(T, Vec<OddField>), DecodeError> {
    let text = payload.map_or("{}", RawValue::get);
    let strict = match serde_json::from_str(text) {
        // serde also reads an array as the fields in their order, which nobody means.
        Ok(message) if text.starts_with('{') => return Ok((message, Vec::new())),
        Ok(_) => DecodeError::Malformed(serde::de::Error::custom("the payload is no object")),
        Err(err) => DecodeError::Malformed(err),
    };
    let Ok(Members(members)) = serde_json::from_str(text) else {
        let nothing = serde_json::from_str("{}").map_err(|_| strict)?;
        return Ok((nothing, vec![odd::<T>(("payload", T::WITHOUT), text)]));
    };
    let mut kept = Kept::default();
    for name in T::REQUIRED {
        let mut given = members.iter().filter(|(given, _)| given == name);
        match (given.next(), given.next()) {
            (Some((_, value)), None) => drop(kept.0.insert(name, KeptValue::Given(value))),
            _ => return Err(strict),
        }
    }
    kept.read::<T>()?;
    let mut ignored = Vec::new();
    for field in T::OPTIONAL.iter().filter(|(name, _)| !name.contains('.')) {
        // Of a field that is there twice, the last one counts, as in most libraries.
        if let Some((_, value)) = members.iter().rev().find(|(given, _)| given == field.0) {
            keep::<T>(&mut kept, *field, value, &mut ignored);
        }
    }
    Ok((kept.read()?, ignored))
}

/// Keeps what can be read of a field.
fn keep<'a, T: Payload>(
    kept: &mut Kept<'a>,
    field: Optional,
    value: &'a RawValue,
    ignored: &mut Vec<OddField>,
) {
    kept.0.insert(field.0, KeptValue::Given(value));
    if kept.read::<T>().is_ok() {
        return;
    }
    let inner: Vec<(&'static str, Optional)> = T::OPTIONAL
        .iter()
        .filter_map(|inner| Some((inner.0.strip_prefix(field.0)?.strip_prefix('.')?, *inner)))
        .collect();
    let members = if inner.is_empty() { None } else { serde_json::from_str(value.get()).ok() };
    let Some(Members(members)) = members else {
        kept.0.remove(field.0);
        return ignored.push(odd::<T>(field, value.get()));
    };
    let mut part = BTreeMap::new();
    for (name, inner) in inner {
        let Some((_, value)) = members.iter().rev().find(|(given, _)| given == name) else { continue };
        part.insert(name, *value);
        kept.0.insert(field.0, KeptValue::Part(part.clone()));
        if kept.read::<T>().is_err() {
            part.remove(name);
            ignored.push(odd::<T>(inner, value.get()));
        }
    }
    kept.0.insert(field.0, KeptValue::Part(part));
}

fn odd<T: Payload>((field, then): Optional, value: &str) -> OddField {
    let mut shown: String = value.chars().take(SHOWN).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    OddField { message: T::MESSAGE, field, value: shown, then }
}
