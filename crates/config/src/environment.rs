//! The keys of the file as environment variables.
//!
//! A key at the top of the file is `NIXFLEET_<KEY>`, a key in a section is `NIXFLEET_<SECTION>__<KEY>`, and a
//! key of a command is `NIXFLEET_COMMANDS__<NAME>__<KEY>` with `_` for each `-` of the name. Some keys also
//! have a short name, for compatibility. An empty variable counts as unset.
//!
//! figment's own `Env` is not used: it reads `12345` as a number even where text is needed, and treats every
//! other variable as an unknown key.

use std::collections::BTreeMap;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Value};

use nixfleet_os::short;

use crate::keys::{KEYS, Kind, find};
use crate::source::VARIABLE_PREFIX;
use crate::{Problem, Source, names, token};

/// Short names of keys, with increasing precedence. `NIXFLEET_<SECTION>__<KEY>` takes precedence over all of
/// them.
pub(super) const SHORT_NAMES: &[(&str, &str)] = &[
    ("NIXFLEET_NIXCFG", "repo.dir"),
    ("NIXFLEET_REPO_DIR", "repo.dir"),
    ("NIXFLEET_REPO_URL", "repo.url"),
    ("NIXFLEET_BRANCH", "repo.branch"),
    ("NIXFLEET_SSH_KEY", "repo.ssh_key"),
    ("NIXFLEET_STASYSMO_DIR", "paths.stasysmo"),
];

/// Variables of other agents of NixFleet, and what to do about each. Hosts that come from there often still set
/// them, and the nearest name of a setting would be a wrong hint.
const OLD_NAMES: &[(&str, &str)] = &[
    ("NIXFLEET_NIXCFG", "is the old name of NIXFLEET_REPO_DIR; use that one."),
    (
        "NIXFLEET_TOKEN_CACHE",
        "named the file in which an old agent kept its token, and is ignored; unset it, and remove that file.",
    ),
];

/// Variables without a key in the file: the token must not be in the file, and the file cannot name itself.
pub(super) const NO_KEYS: &[&str] = &[token::TOKEN_VARIABLE, "NIXFLEET_CONFIG"];

/// A path into the file, such as `["repo", "branch"]`.
pub(super) type Path = Vec<String>;

/// The layer of the environment.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) values: Dict,
    /// The variable that set each key.
    pub(super) names: BTreeMap<Path, String>,
    pub(super) problems: Vec<Problem>,
}

/// The meaning of a variable's name.
enum Meaning {
    Key(Path, Kind),
    /// The name has the form of a key in a section, but the key does not exist.
    NoSuchKey,
    Ignored,
}

fn meaning(name: &str) -> Meaning {
    let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else { return Meaning::Ignored };
    if NO_KEYS.contains(&name) {
        return Meaning::Ignored;
    }
    let path: Path = match SHORT_NAMES.iter().find(|(short, _)| *short == name) {
        Some((_, key)) => key.split('.').map(str::to_owned).collect(),
        None => rest.to_ascii_lowercase().split("__").map(str::to_owned).collect(),
    };
    let path = match path.as_slice() {
        [commands, command, key] if commands == "commands" => {
            vec![commands.clone(), command.replace('_', "-"), key.clone()]
        }
        _ => path,
    };
    match find(&path) {
        Some(key) => Meaning::Key(path, key.kind),
        None if path.len() > 1 => Meaning::NoSuchKey,
        None => Meaning::Ignored,
    }
}

/// Precedence of a name among the names of the same key.
fn rank(name: &str) -> usize {
    SHORT_NAMES.iter().position(|(short, _)| *short == name).unwrap_or(SHORT_NAMES.len())
}

/// Reads all variables.
pub(super) fn read(source: &Source) -> Environment {
    let mut read = Environment::default();
    let mut variables: Vec<(&str, &str)> =
        source.environment.keys().filter_map(|name| Some((name.as_str(), source.variable(name)?))).collect();
    short::sort_by(&mut variables, |(one, _), (other, _)| rank(one).cmp(&rank(other)));
    for (name, text) in variables {
        match meaning(name) {
            Meaning::Key(path, kind) => {
                insert(&mut read.values, &path, value(kind, text));
                read.names.insert(path, name.to_owned());
            }
            Meaning::NoSuchKey => read.problems.push(Problem {
                key: name.to_owned(),
                what: "unknown variable".to_owned(),
                origin: String::new(),
                fix: match nearest(name) {
                    Some(near) => format!("did you mean {near}?"),
                    None => "unset it".to_owned(),
                },
            }),
            Meaning::Ignored => {}
        }
    }
    read
}

/// The known name that is nearest to this one. The prefix, which all have, does not count as likeness.
fn nearest(name: &str) -> Option<String> {
    let known = known_names();
    let rests = known.iter().filter_map(|known| known.strip_prefix(VARIABLE_PREFIX));
    let near = names::nearest(name.strip_prefix(VARIABLE_PREFIX).unwrap_or(name), rests)?;
    Some(format!("{VARIABLE_PREFIX}{near}"))
}

/// One line for each variable that is unknown or has an old name.
pub(super) fn warnings(source: &Source) -> Vec<String> {
    let set = |name: &str| source.variable(name).is_some();
    let mut lines = Vec::new();
    for (name, advice) in OLD_NAMES.iter().filter(|(name, _)| set(name)) {
        lines.push(format!("{name} {advice}"));
    }
    for name in source.environment.keys().filter(|name| name.starts_with(VARIABLE_PREFIX) && set(name)) {
        let is_told = OLD_NAMES.iter().any(|(old, _)| old == name);
        if is_told || NO_KEYS.contains(&name.as_str()) || !matches!(meaning(name), Meaning::Ignored) {
            continue;
        }
        // Only the name is shown, because the value may be a secret in the wrong variable.
        let shown = name.escape_debug();
        lines.push(match nearest(name) {
            Some(near) => format!("{shown} is not a setting and is ignored; did you mean {near}?"),
            None => format!("{shown} is not a setting and is ignored."),
        });
    }
    lines
}

/// One line for each setting of jobs that is set by a variable. Jobs in units of their own do not see the
/// variable. The state folder and the launcher are excluded, because the units of agent and jobs set them.
pub(super) fn unseen_by_units(source: &Source) -> Vec<String> {
    const JOBS: &[&str] = &["repo", "rebuild", "rollback", "jobs", "commands", "hostname", "user"];
    let concerns =
        |path: &Path| JOBS.contains(&path[0].as_str()) && path.last().is_none_or(|key| key != "launcher");
    let names = read(source).names;
    let unseen = names.iter().filter(|(path, _)| concerns(path));
    unseen.map(|(path, name)| format!("jobs do not see {name}; set {} in the file", path.join("."))).collect()
}

/// All known names for hints: the short names and the names of all keys, except the keys of commands, which
/// contain names that the operator chose.
fn known_names() -> Vec<String> {
    let long = |path: &str| format!("{VARIABLE_PREFIX}{}", path.to_ascii_uppercase().replace('.', "__"));
    NO_KEYS
        .iter()
        .map(|name| (*name).to_owned())
        .chain(SHORT_NAMES.iter().skip(1).map(|(name, _)| (*name).to_owned()))
        .chain(KEYS.iter().filter(|key| !key.path.contains('*')).map(|key| long(key.path)))
        .collect()
}

/// Parses the text of a variable as the value of a key. Text of the wrong type is returned as text; the type
/// error that follows shows it.
fn value(kind: Kind, text: &str) -> Value {
    let trimmed = text.trim();
    let value = match kind {
        Kind::Text => None,
        Kind::Seconds | Kind::Bytes | Kind::Count | Kind::Percent | Kind::Degrees => {
            trimmed.parse::<i64>().ok().map(Value::from)
        }
        Kind::Flag => match trimmed.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Some(Value::from(true)),
            "0" | "false" | "no" | "off" => Some(Value::from(false)),
            _ => None,
        },
        Kind::Words if !trimmed.starts_with('[') => {
            Some(Value::from(trimmed.split_whitespace().collect::<Vec<_>>()))
        }
        Kind::Words | Kind::Steps | Kind::Checks | Kind::Table => toml(trimmed),
    };
    value.unwrap_or_else(|| Value::from(text))
}

/// Parses a list or a table as TOML. JSON lists of strings are valid TOML.
fn toml(text: &str) -> Option<Value> {
    let mut document: Dict = Toml::from_str(&format!("value = {text}")).ok()?;
    document.remove("value")
}

fn insert(dict: &mut Dict, path: &[String], value: Value) {
    let [section @ .., key] = path else { return };
    let mut dict = dict;
    for name in section {
        let entry = dict.entry(name.clone()).or_insert_with(|| Value::from(Dict::new()));
        match entry {
            Value::Dict(_, inner) => dict = inner,
            // Not reached, because no key is also a section.
            _ => return,
        }
    }
    dict.insert(key.clone(), value);
}
