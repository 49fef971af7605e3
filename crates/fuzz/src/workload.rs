//! The report of a local program about its workload.

use std::time::SystemTime;

use nixfleet_vitals::workload as parser;
use serde_json::Value;

use crate::terminal_text::unsafe_in_line;

/// Longest name of a model, in characters.
const MAX_MODEL: usize = 128;

/// A report is one object. Its counts are what the JSON says; the name of a model is a bounded part of one line.
pub fn workload(data: &[u8]) {
    let now = SystemTime::UNIX_EPOCH;
    let Ok(found) = parser::parse(data, now) else { return };
    assert_eq!(found.said_at, now);
    let Ok(Value::Object(said)) = serde_json::from_slice(data) else { panic!("{found:?} of no object") };
    for (name, count) in
        [("active_sessions", found.active_sessions), ("pending_queries", found.pending_queries)]
    {
        let wanted = said.get(name).filter(|value| !value.is_null());
        assert_eq!(count.map(Value::from).as_ref(), wanted, "{name}");
    }
    let said = said.get("loaded_model").and_then(Value::as_str).unwrap_or_default();
    let is_plain = !said.contains(unsafe_in_line);
    match found.loaded_model {
        Some(model) => {
            assert!(is_plain && !model.is_empty(), "{model:?}");
            assert_eq!(model, said.chars().take(MAX_MODEL).collect::<String>());
        }
        None => assert!(!is_plain || said.is_empty(), "{said:?} is not reported"),
    }
}
