//! The rules about `operation_progress`: parts, totals, results.

use serde_json::Value;

use nixfleet_protocol::MAX_TEST_RESULTS;

use super::violations::{Breach, Rule};

/// The known parts, with the count of their steps if it is fixed.
const PARTS: &[(&str, Option<u64>)] =
    &[("pull", Some(4)), ("lock", None), ("system", Some(3)), ("tests", None)];

/// Every value that must be an integer, with its path.
pub(super) fn integers(payload: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    for (name, part) in parts(payload) {
        for field in ["current", "total"] {
            found.extend(part.get(field).map(|value| (format!("{name}.{field}"), value)));
        }
    }
    found
}

pub(super) fn check(payload: &Value) -> Vec<Breach> {
    parts(payload)
        .filter_map(|(name, part)| check_part(name, part))
        .map(|why| (Rule::Progress, why))
        .collect()
}

/// What is wrong with a part. Types and words are correct already, because the message could be decoded.
fn check_part(name: &str, part: &Value) -> Option<String> {
    let Some((_, steps)) = PARTS.iter().find(|(known, _)| *known == name) else {
        return Some(format!("`{name}` is not a known part"));
    };
    let number = |field: &str| part.get(field).and_then(Value::as_u64).unwrap_or_default();
    let (current, total) = (number("current"), number("total"));
    if let Some(steps) = steps.filter(|steps| *steps != total) {
        return Some(format!("`{name}` has {total} steps, not {steps}"));
    }
    if current > total {
        return Some(format!("`{name}` is at {current} of {total}"));
    }
    let results = part.get("results").and_then(Value::as_array).map_or(0, Vec::len);
    (results > MAX_TEST_RESULTS)
        .then(|| format!("`{name}` has {results} results, of which {MAX_TEST_RESULTS} are shown"))
}

fn parts(payload: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let parts = payload.get("progress").and_then(Value::as_object);
    parts.into_iter().flatten().map(|(name, part)| (name.as_str(), part))
}
