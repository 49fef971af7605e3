//! Merges defaults, file and environment as figment layers, and reports errors of names and types.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use figment::error::{Actual, Kind as ErrorKind};
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use nixfleet_os::bounded_read;
use nixfleet_os::text::is_utf_16;

use crate::file::File;
use crate::keys::{KEYS, Key, Kind, find};
use crate::problem::origin_of;
use crate::{Problem, Source, environment, names, syntax};

/// Longest configuration file read, in bytes. Usual files have at most a few thousand.
pub(super) const MAX_FILE: u64 = 1024 * 1024;

/// Longest part of a value that an error shows, in characters: more than a host name, which some errors show for
/// pasting.
const MAX_SHOWN: usize = 64;

/// The merged settings, and the origin of each value.
#[derive(Debug)]
pub(super) struct Layers {
    pub(super) settings: File,
    figment: Figment,
}

/// One layer: values, and how their origin is named.
#[derive(Debug, Clone)]
struct Layer {
    metadata: Metadata,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

impl Layers {
    /// Reads file and environment. Returns also the problems of names and types; values with a problem are
    /// removed from the settings.
    ///
    /// # Errors
    /// The file cannot be read or parsed, so there are no settings to check.
    pub(super) fn read(source: &Source) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        Self::of_bytes(source, read_file(source))
    }

    /// Like [`Self::read`], with what [`read_file`] has read.
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub(super) fn of_bytes(
        source: &Source,
        file: Result<Option<Vec<u8>>, Problem>,
    ) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let (path, _) = source.file();
        let values = file.and_then(|bytes| bytes.map_or(Ok(Dict::new()), |bytes| parse(&path, &bytes)));
        let metadata = Metadata::from("file", path.as_path());
        Self::merge(source, values.map(|values| Layer { metadata, values }))
    }

    /// The environment alone.
    ///
    /// # Errors
    /// There is a mistake in it that leaves no settings to check.
    pub(super) fn without_file(source: &Source) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        Self::of_bytes(source, Ok(None))
    }

    /// Like [`Self::read`], with a text instead of the file.
    ///
    /// # Errors
    /// The text cannot be parsed.
    pub(super) fn of_text(
        source: &Source,
        path: &Path,
        text: &str,
    ) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let metadata = Metadata::from("file", path);
        Self::merge(source, parse(path, text.as_bytes()).map(|values| Layer { metadata, values }))
    }

    fn merge(source: &Source, file: Result<Layer, Problem>) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let environment = environment::read(source);
        let mut problems = environment.problems;
        let mut above = Layer { metadata: metadata_of(environment.names), values: environment.values };
        let mut below = match file {
            Ok(layer) => layer,
            Err(problem) => {
                problems.insert(0, problem);
                return Err(problems);
            }
        };
        for path in unknown_keys(&below.values) {
            problems.push(unknown_key(&path, &below.metadata));
            remove(&mut below.values, &path);
        }
        // serde stops at the first value of a wrong type. So the value is reported and removed, and the
        // settings are read again. Each round removes a value, so the loop ends.
        loop {
            let figment = Figment::from(below.clone()).merge(above.clone());
            let error = match figment.extract::<File>() {
                Ok(settings) => return Ok((Self { settings, figment }, problems)),
                Err(error) => error,
            };
            let path = known_part(&error.path).to_vec();
            problems.push(wrong_type(&path, &error));
            if !(remove(&mut above.values, &path) || remove(&mut below.values, &path)) {
                return Err(problems);
            }
        }
    }

    /// Origin of the value of a key such as `repo.branch`: a file or a variable; empty for a default.
    pub(super) fn origin(&self, key: &str) -> String {
        let path: Vec<&str> = key.split('.').collect();
        self.figment.find_metadata(key).map_or_else(String::new, |metadata| origin(metadata, &path))
    }

    /// Whether a variable set the key.
    pub(super) fn set_by_variable(&self, key: &str) -> bool {
        self.figment.find_metadata(key).is_some_and(|metadata| metadata.source.is_none())
    }
}

/// Metadata that give the variable of each key.
fn metadata_of(variables: BTreeMap<environment::Path, String>) -> Metadata {
    Metadata::named("environment").interpolater(move |_: &Profile, keys: &[&str]| {
        let path: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        variables.get(&path).map_or_else(|| "environment".to_owned(), |name| origin_of(name))
    })
}

fn origin(metadata: &Metadata, path: &[&str]) -> String {
    match metadata.source.as_ref().and_then(figment::Source::file_path) {
        Some(file) => file.display().to_string(),
        None => metadata.interpolate(&Profile::Default, path),
    }
}

/// The content of the settings file; none if it is optional and does not exist.
///
/// # Errors
/// It cannot be read.
pub(super) fn read_file(source: &Source) -> Result<Option<Vec<u8>>, Problem> {
    let (path, named) = source.file();
    let error = match bounded_read::read(&path, MAX_FILE) {
        Ok(bytes) => return Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !named => return Ok(None),
        Err(error) => error,
    };
    let fix = match error.kind() {
        io::ErrorKind::NotFound => "check the path, or leave it out",
        io::ErrorKind::PermissionDenied => "let the agent's user read it",
        _ => "name a readable TOML file",
    };
    Err(Problem {
        key: path.display().to_string(),
        what: format!("cannot be read: {error}"),
        origin: if source.file.is_none() && named { origin_of("NIXFLEET_CONFIG") } else { String::new() },
        fix: fix.to_owned(),
    })
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Dict, Problem> {
    let problem = |at: usize, what: String, fix: &str| {
        let before = bytes.get(..at).unwrap_or(bytes);
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        Problem {
            key: format!("{}:{line}:{column}", path.display()),
            what,
            origin: String::new(),
            fix: fix.to_owned(),
        }
    };
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let what = if is_utf_16(bytes) { "UTF-16, not UTF-8" } else { "not UTF-8" };
        problem(error.valid_up_to(), what.to_owned(), "save the file as UTF-8")
    })?;
    Toml::from_str(text).map_err(|error| {
        let what = error.message().lines().collect::<Vec<_>>().join(", ");
        let at = error.span().map_or(0, |span| span.start);
        problem(at, what, syntax::hint(text, at, error.message()))
    })
}

/// Unknown keys.
fn unknown_keys(values: &Dict) -> Vec<environment::Path> {
    fn walk(values: &Dict, path: &mut environment::Path, unknown: &mut Vec<environment::Path>) {
        for (name, value) in values {
            path.push(name.clone());
            if find(path).is_none() {
                match value {
                    Value::Dict(_, inner) if begins_a_key(path) => walk(inner, path, unknown),
                    // A section that is not a table: serde reports its type.
                    _ if begins_a_key(path) => {}
                    _ => unknown.push(path.clone()),
                }
            }
            path.pop();
        }
    }
    let mut unknown = Vec::new();
    walk(values, &mut Vec::new(), &mut unknown);
    unknown
}

fn begins_a_key(path: &[String]) -> bool {
    KEYS.iter().any(|key| {
        let mut parts = key.path.split('.');
        path.iter().all(|given| parts.next().is_some_and(|part| part == "*" || part == given))
    })
}

fn unknown_key(path: &[String], metadata: &Metadata) -> Problem {
    let (name, section) = path.split_last().map_or(("", path), |(name, section)| (name.as_str(), section));
    let fix = if path == ["token"] {
        "put the token into a file of its own and name that in token_file".to_owned()
    } else {
        // The known keys of the same section.
        let beside = KEYS.iter().filter_map(|key| {
            let parts: Vec<&str> = key.path.split('.').collect();
            let fits = parts.len() > section.len()
                && section.iter().zip(&parts).all(|(given, part)| *part == "*" || part == given);
            fits.then(|| parts[section.len()])
        });
        let elsewhere = KEYS.iter().find(|key| key.path.rsplit('.').next() == Some(name));
        match (names::nearest(name, beside), elsewhere) {
            (Some(near), _) => format!("did you mean \"{near}\"?"),
            (None, Some(key)) if !key.path.contains('*') => format!("did you mean \"{}\"?", key.path),
            _ => "remove it".to_owned(),
        }
    };
    Problem { key: path.join("."), what: "unknown key".to_owned(), origin: origin(metadata, &[]), fix }
}

/// The part of an error's path that is a key. An index or a name in a table may follow it.
fn known_part(path: &[String]) -> &[String] {
    (1..=path.len()).rev().map(|end| &path[..end]).find(|part| find(part).is_some()).unwrap_or(path)
}

fn wrong_type(path: &[String], error: &figment::Error) -> Problem {
    let key = find(path);
    let inside = error.path.len() > path.len();
    let noun = match key {
        Some(_) if inside => "text",
        Some(key) => key.kind.noun(),
        None => "a table",
    };
    let what = match &error.kind {
        ErrorKind::InvalidType(found, wanted) | ErrorKind::InvalidValue(found, wanted) => {
            let noun = if wanted.contains("string") { "text" } else { noun };
            match key.filter(|key| key.may_be_secret()) {
                Some(_) if inside => format!("a value in it is not {noun}"),
                Some(_) => format!("the value is not {noun}"),
                None => format!("{} is not {noun}", shown(found)),
            }
        }
        // The library writes its own marks around each name, and serde has written some already.
        other => other.to_string().replace("``", "`"),
    };
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    Problem {
        key: path.join("."),
        what,
        origin: error.metadata.as_ref().map_or_else(String::new, |metadata| origin(metadata, &parts)),
        fix: key.map_or_else(|| format!("write it as [{}] with keys below", path.join(".")), fix),
    }
}

/// How to fix the value of a key.
pub(super) fn fix(key: &Key) -> String {
    let noun = match key.kind {
        Kind::Seconds => "a number of seconds",
        Kind::Bytes => "a number of bytes",
        Kind::Count => "a number",
        Kind::Percent => "a number of percent",
        Kind::Degrees => "a number of degrees Celsius",
        Kind::Text => return format!("set it to text such as {}", key.example),
        Kind::Flag => return "set it to true or false".to_owned(),
        Kind::Words | Kind::Steps | Kind::Checks | Kind::Table => {
            return format!("write it as {}", key.example);
        }
    };
    format!("set it to {noun} such as {}", key.example)
}

fn shown(found: &Actual) -> String {
    match found {
        Actual::Str(text) => quoted(text),
        Actual::Char(letter) => quoted(&letter.to_string()),
        Actual::Bool(value) => value.to_string(),
        Actual::Unsigned(value) => value.to_string(),
        Actual::Signed(value) => value.to_string(),
        Actual::Float(value) => value.to_string(),
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}

/// Quotes text on one line, shortened if it is long.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{:?} and more", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// Removes a value; returns whether it existed.
fn remove(values: &mut Dict, path: &[String]) -> bool {
    match path {
        [] => false,
        [key] => values.remove(key).is_some(),
        [section, rest @ ..] => match values.get_mut(section) {
            Some(Value::Dict(_, inner)) => remove(inner, rest),
            _ => false,
        },
    }
}
