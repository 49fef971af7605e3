//! How programs of the fleet read their settings: a file, variables over it, options over those. And the table that all
//! of them have, the way to NATS.

use std::path::{Path, PathBuf};

use figment::Figment;
use figment::error::{Actual, Kind};
use figment::providers::{Format, Toml};
use nixfleet_os::bounded_read;
use nixfleet_os::text::one_line;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::connect::{Login, Options};

/// The longest file, in bytes.
const MAX_FILE: u64 = 256 * 1024;

/// Longest quotation of a bad setting, in characters.
const QUOTED: usize = 300;

/// How to reach NATS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nats {
    /// Addresses of servers.
    pub servers: Vec<String>,
    /// File with credentials.
    pub credentials_file: Option<PathBuf>,
    /// File with the seed of an NKey.
    pub nkey_file: Option<PathBuf>,
    /// Certificates to trust in addition.
    pub ca_file: Option<PathBuf>,
    /// Client certificate.
    pub certificate_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// First part of the subjects of replies, which this login may read; none means `_INBOX`.
    pub inbox_prefix: Option<String>,
}

impl Nats {
    /// What cannot be as it is, each with the fix.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let checks = [
            (
                !self.servers.is_empty(),
                "`nats.servers` is missing: name the NATS servers, like [\"nats://10.0.0.1:4222\"]",
            ),
            (
                self.servers.iter().all(|address| !address.trim().is_empty()),
                "`nats.servers` has an empty address: write it like \"nats://10.0.0.1:4222\"",
            ),
            (
                self.credentials_file.is_none() || self.nkey_file.is_none(),
                "`nats.credentials_file` and `nats.nkey_file` are both set: leave one of them out",
            ),
            (
                self.certificate_file.is_some() == self.key_file.is_some(),
                "`nats.certificate_file` and `nats.key_file` belong together: set both or none",
            ),
        ];
        checks.into_iter().filter(|(good, _)| !good).map(|(_, fix)| fix.to_owned()).collect()
    }

    /// How to connect, under this name.
    #[must_use]
    pub fn options(&self, name: &str) -> Options {
        let login = match (&self.credentials_file, &self.nkey_file) {
            (Some(file), _) => Login::Credentials(file.clone()),
            (None, Some(file)) => Login::Nkey(file.clone()),
            (None, None) => Login::None,
        };
        Options {
            servers: self.servers.clone(),
            login,
            ca_file: self.ca_file.clone(),
            client_certificate: self.certificate_file.clone().zip(self.key_file.clone()),
            name: name.to_owned(),
            inbox_prefix: self.inbox_prefix.clone(),
        }
    }
}

/// The settings of a program.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a> {
    /// Where the file is, if none is named.
    pub default_file: &'a str,
    /// Beginning of the names of variables, such as `NIXFLEET_GATEWAY_`. `__` behind it goes into a table:
    /// `NIXFLEET_GATEWAY_NATS__SERVERS` is `nats.servers`.
    pub variables: &'a str,
    /// Keys of lists. In a variable they may be words.
    pub lists: &'a [&'a str],
}

/// A value that goes over those of the file.
#[derive(Debug)]
struct Over {
    /// What errors name.
    place: String,
    /// It, as a line of the file.
    line: String,
}

impl Layers<'_> {
    /// Reads the file, the variables over it, and the options over those: each the name that people know, a key and its
    /// value. A file that is not there is an error only if it was named.
    ///
    /// # Errors
    /// All that is wrong with the first layer that cannot be read, one in a line, each with the place.
    pub fn read<T: DeserializeOwned>(
        &self,
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
        options: &[(&str, &str, serde_json::Value)],
    ) -> Result<T, Vec<String>> {
        let path = file.unwrap_or(Path::new(self.default_file));
        let toml = match bounded_read::read(path, MAX_FILE) {
            Ok(bytes) => Toml::string(&String::from_utf8_lossy(&bytes)),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound && file.is_none() => Toml::string(""),
            Err(err) => return Err(vec![format!("cannot read {}: {err}", path.display())]),
        };
        let variables = variables.into_iter().filter_map(|(name, value)| {
            let key = name.strip_prefix(self.variables)?.to_ascii_lowercase().replace("__", ".");
            Some(Over { line: self.assignment(&key, &value), place: name })
        });
        // A value of JSON is one of TOML as well, if it has no table.
        let options = options
            .iter()
            .map(|(name, key, value)| Over { place: (*name).to_owned(), line: format!("{key} = {value}") });
        let (mut figment, mut settings) = extracted(Figment::from(toml), &path.display().to_string())?;
        for Over { place, line } in variables.chain(options) {
            (figment, settings) = extracted(figment.merge(Toml::string(&line)), &place)?;
        }
        Ok(settings)
    }

    /// A value as a line of the file. It is written as in the file, where text needs no quotes, and a list may be words.
    fn assignment(&self, key: &str, value: &str) -> String {
        let plain = format!("{key} = {value}");
        if Figment::from(Toml::string(&plain)).extract::<IgnoredAny>().is_ok() {
            return plain;
        }
        if self.lists.contains(&key) {
            let words: Vec<&str> = value.split_whitespace().collect();
            return format!("{key} = {}", serde_json::Value::from(words));
        }
        // Text of JSON is text of TOML as well.
        format!("{key} = {}", serde_json::Value::from(value))
    }
}

fn extracted<T: DeserializeOwned>(figment: Figment, place: &str) -> Result<(Figment, T), Vec<String>> {
    let said = |err: figment::Error| {
        let key = err.path.join(".");
        let at = if key.is_empty() { String::new() } else { format!(", `{key}`") };
        format!("{place}{at}: {}{}", one_line(&said(&err.kind), QUOTED), hint(&err.kind))
    };
    match figment.extract() {
        Ok(settings) => Ok((figment, settings)),
        Err(errors) => Err(errors.into_iter().map(said).collect()),
    }
}

/// The setting that may have been meant.
fn hint(error: &Kind) -> String {
    let Kind::UnknownField(name, known) = error else { return String::new() };
    near(name, known).map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// The one of these names that may have been meant by `name`.
#[must_use]
pub fn near<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let (distance, near) = known.iter().map(|other| (strsim::osa_distance(name, other), *other)).min()?;
    // At most a third of its letters differ.
    (distance <= 1.max(near.len() / 3)).then_some(near)
}

/// An error without the values that it is about: an address of NATS may have a password.
fn said(kind: &Kind) -> String {
    match kind {
        Kind::InvalidType(Actual::Str(_), expected) | Kind::InvalidValue(Actual::Str(_), expected) => {
            format!("a text, where {expected} is expected")
        }
        // Between the place and the reason, the parser quotes the line.
        Kind::Message(text) => {
            let mut lines = text.lines();
            let first = lines.next().unwrap_or_default();
            lines.next_back().map_or_else(|| first.to_owned(), |last| format!("{first}: {last}"))
        }
        other => other.to_string(),
    }
}
