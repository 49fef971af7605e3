//! Validates the log level.

use crate::check::Checker;
use crate::layers::quoted;
use crate::names;

/// Log levels.
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// Words of other programs, and the level that is probably meant. They are hints in an error; of such words only
/// `warning` is accepted.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("disabled", "off"),
    ("none", "off"),
    ("quiet", "off"),
    ("critical", "error"),
    ("err", "error"),
    ("fatal", "error"),
    ("panic", "error"),
    ("information", "info"),
    ("notice", "info"),
    ("dbg", "debug"),
    ("verbose", "debug"),
    ("all", "trace"),
];

/// The crates of this program: the targets whose levels are usually set.
pub const LOG_TARGETS: [&str; 6] = [
    "nixfleet_agent",
    "nixfleet_config",
    "nixfleet_jobs",
    "nixfleet_os",
    "nixfleet_protocol",
    "nixfleet_vitals",
];

/// A level or `target=level`, or several of them separated by commas, in upper or lower case. `warning` is
/// accepted for `warn`. The result is in lower case.
pub(super) fn log_level(check: &mut Checker<'_>) -> String {
    let given = check.layers.settings.log_level.to_ascii_lowercase();
    let mut parts = Vec::new();
    for part in given.split(',').map(str::trim) {
        let (target, level) =
            part.split_once('=').map_or((None, part), |(target, level)| (Some(target), level));
        let level = if level == "warning" { "warn" } else { level };
        let named = target.is_none_or(|target| {
            !target.is_empty()
                && target.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:-".contains(&byte))
        });
        if !named || !LEVELS.contains(&level) {
            let all = LEVELS.join(", ");
            let fix = match nearest_level(level).filter(|_| named) {
                Some(near) => format!("did you mean {near}? The levels are {all}"),
                None => format!("set it to one of {all}"),
            };
            check.refuse("log_level", format!("{} is not a level", quoted(part)), fix);
            break;
        }
        if let Some((target, near)) = target.and_then(|target| Some((target, nearest_target(target)?))) {
            let what = format!("{} is no part of the agent, so this level changes nothing", quoted(target));
            check.warn("log_level", what, format!("did you mean {near}={level}?"));
        }
        parts.push(target.map_or_else(|| level.to_owned(), |target| format!("{target}={level}")));
    }
    parts.join(",")
}

fn nearest_level(word: &str) -> Option<&'static str> {
    let other = OTHER_WORDS.iter().find(|(other, _)| *other == word).map(|(_, level)| *level);
    other.or_else(|| names::nearest(word, LEVELS.iter().copied()))
}

/// The crate that is probably meant. `None` for a crate of this program, and for all other names: libraries
/// are targets, too, and a list of them would be out of date soon.
fn nearest_target(target: &str) -> Option<&'static str> {
    let name = target.split("::").next().unwrap_or_default();
    if LOG_TARGETS.contains(&name) {
        return None;
    }
    if ["nixfleet", "agent"].contains(&name) {
        return Some(LOG_TARGETS[0]);
    }
    names::nearest(name, LOG_TARGETS)
}
