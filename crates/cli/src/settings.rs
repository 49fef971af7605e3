//! How to reach NATS: files, variables over them, and options over those.

use std::path::{Path, PathBuf};

use nixfleet_fleet::Options;
use nixfleet_fleet::settings::{Layers, Nats, near};
use serde::Deserialize;

use crate::args::Connection;

/// The settings of the machine.
const FILE: &str = "/etc/nixfleet/cli.toml";

/// Those of a person, below the folder for such files.
const OWN_FILE: &str = "nixfleet/cli.toml";

/// Beginning of the names of variables: `NIXFLEET_NATS_NKEY_FILE` is `nkey_file`.
const VARIABLES: &str = "NIXFLEET_NATS_";

/// A variable with such a name that tests of this project read. It names a program and no server.
const PROGRAM: &str = "NIXFLEET_NATS_SERVER";

/// What the servers show of this connection.
const NAME: &str = "nixfleet";

/// A file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    nats: Nats,
}

/// The names of settings, as they are in files.
const KEYS: [&str; 7] =
    ["servers", "credentials_file", "nkey_file", "ca_file", "certificate_file", "key_file", "inbox_prefix"];

/// Where settings come from, but for the options.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    /// The variables of the environment.
    pub(crate) variables: Vec<(String, String)>,
    /// The settings of the machine.
    machine: PathBuf,
}

impl Surroundings {
    /// Those of this process. What is not UTF-8 is none of ours.
    pub(crate) fn own() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self { variables: variables.collect(), machine: FILE.into() }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        let found = self.variables.iter().find(|(other, value)| other == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    fn home(&self) -> Option<PathBuf> {
        self.variable("HOME").map(PathBuf::from)
    }

    /// The settings of the person.
    fn own_file(&self) -> Option<PathBuf> {
        // A relative folder is none, says the XDG Base Directory Specification.
        let named = self.variable("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        Some(named.or_else(|| Some(self.home()?.join(".config")))?.join(OWN_FILE))
    }
}

/// How to connect: `options` over variables, over the settings of the person, over those of the machine.
///
/// # Errors
/// What is wrong, one line for each problem, with what to do.
pub(crate) fn read(options: &Connection, surroundings: &Surroundings) -> Result<Options, String> {
    let mut nats = Nats::default();
    let mut put = |layer| put(&mut nats, layer);
    if let Some(path) = &options.config {
        let named = file(path, surroundings)?;
        put(named.ok_or_else(|| format!("cannot read {}: there is no such file", path.display()))?);
    } else {
        for path in [Some(surroundings.machine.clone()), surroundings.own_file()].into_iter().flatten() {
            if let Some(layer) = file(&path, surroundings)? {
                put(layer);
            }
        }
    }
    put(variables(surroundings)?);
    put(Nats {
        servers: options.server.clone(),
        credentials_file: options.credentials.clone(),
        nkey_file: options.nkey.clone(),
        ca_file: options.ca.clone(),
        certificate_file: options.certificate.clone(),
        key_file: options.key.clone(),
        inbox_prefix: options.inbox_prefix.clone(),
    });
    options_of(&nats, surroundings)
}

/// Takes what a more important layer says. A login replaces a login of the other kind as well: each layer means one.
fn put(nats: &mut Nats, layer: Nats) {
    if !layer.servers.is_empty() {
        nats.servers = layer.servers;
    }
    if layer.credentials_file.is_some() || layer.nkey_file.is_some() {
        nats.credentials_file = layer.credentials_file;
        nats.nkey_file = layer.nkey_file;
    }
    if layer.certificate_file.is_some() || layer.key_file.is_some() {
        nats.certificate_file = layer.certificate_file;
        nats.key_file = layer.key_file;
    }
    nats.ca_file = layer.ca_file.or(nats.ca_file.take());
    nats.inbox_prefix = layer.inbox_prefix.or(nats.inbox_prefix.take());
}

fn options_of(nats: &Nats, surroundings: &Surroundings) -> Result<Options, String> {
    if nats.servers.is_empty() {
        let place = surroundings.own_file().unwrap_or_else(|| surroundings.machine.clone());
        return Err(format!(
            "no NATS server is named: give --server nats://10.0.0.1:4222, or set NIXFLEET_NATS_SERVERS, or write \
             servers = [\"nats://10.0.0.1:4222\"] below [nats] into {}",
            place.display()
        ));
    }
    let problems = nats.problems();
    if problems.is_empty() { Ok(nats.options(NAME)) } else { Err(problems.join("\n")) }
}

/// The settings in a file. None if there is none.
fn file(path: &Path, surroundings: &Surroundings) -> Result<Option<Nats>, String> {
    match path.try_exists() {
        Ok(false) => return Ok(None),
        Err(err) if err.kind() == std::io::ErrorKind::NotADirectory => return Ok(None),
        // What cannot be looked at cannot be read either, which says why.
        Ok(true) | Err(_) => {}
    }
    let layers = Layers { default_file: "", variables: "", lists: &[] };
    let read: File = layers.read(Some(path), [], &[]).map_err(|problems| problems.join("\n"))?;
    let mut nats = read.nats;
    // A file means the same wherever its reader is.
    let folder = path.parent().unwrap_or(Path::new("/"));
    for path in [
        &mut nats.credentials_file,
        &mut nats.nkey_file,
        &mut nats.ca_file,
        &mut nats.certificate_file,
        &mut nats.key_file,
    ]
    .into_iter()
    .flatten()
    {
        *path = match (path.strip_prefix("~"), surroundings.home()) {
            (Ok(below), Some(home)) => home.join(below),
            _ => folder.join(&*path),
        };
    }
    Ok(Some(nats))
}

/// The settings in variables.
fn variables(surroundings: &Surroundings) -> Result<Nats, String> {
    let mut nats = Nats::default();
    let mut problems = Vec::new();
    for (variable, value) in &surroundings.variables {
        let Some(key) = variable.strip_prefix(VARIABLES) else { continue };
        let key = key.to_ascii_lowercase();
        if value.is_empty() || (variable == PROGRAM && !value.contains("://")) {
            continue;
        }
        let path = || Some(PathBuf::from(value));
        match key.as_str() {
            "servers" => nats.servers = words(value),
            "credentials_file" => nats.credentials_file = path(),
            "nkey_file" => nats.nkey_file = path(),
            "ca_file" => nats.ca_file = path(),
            "certificate_file" => nats.certificate_file = path(),
            "key_file" => nats.key_file = path(),
            "inbox_prefix" => nats.inbox_prefix = Some(value.clone()),
            _ => {
                let meant = near(&key, &KEYS)
                    .map(|near| format!("; did you mean {VARIABLES}{}?", near.to_ascii_uppercase()));
                problems.push(format!("there is no setting {variable}{}", meant.unwrap_or_default()));
            }
        }
    }
    if problems.is_empty() { Ok(nats) } else { Err(problems.join("\n")) }
}

/// A list of addresses: words, with blanks or commas between them, or a list as in a file.
fn words(value: &str) -> Vec<String> {
    if let Ok(list) = serde_json::from_str::<Vec<String>>(value) {
        return list;
    }
    let words = value.split(|letter: char| letter.is_whitespace() || letter == ',');
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
