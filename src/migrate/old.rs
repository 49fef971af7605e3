//! Reads what the Go agent of this host was told: its unit and its variables.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nixfleet_config::{TOKEN_VARIABLE, VARIABLE_PREFIX, environment_file};
use nixfleet_os::bounded_read;

use super::users;
use crate::unit::{self, AGENT_UNIT, EnvironmentFile, Unit};

/// Longest unit file or file with variables that is read, in bytes. Usual ones have less than four thousand.
const MAX_SETTINGS: u64 = 256 * 1024;

/// A variable that this agent's own unit sets, and no unit of the Go agent.
const MARK: &str = "NIXFLEET_JOBS__LAUNCHER";

/// What to look at.
#[derive(Debug, Clone)]
pub struct Places {
    /// Where the files of the host are: `/`, or a folder that contains another system.
    pub root: PathBuf,
    /// The old unit; `None`: the one that systemd has.
    pub unit: Option<PathBuf>,
    /// More files with variables.
    pub env_files: Vec<PathBuf>,
}

/// Where a variable was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// In the unit itself.
    Unit,
    /// In a file with variables.
    File { path: PathBuf, mode: u32 },
}

/// A variable of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variable {
    /// Its text. Empty for the token.
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// What the Go agent of this host was told.
#[derive(Debug, Clone, Default)]
pub struct Old {
    /// Variables that are not empty, by name.
    pub(super) variables: BTreeMap<String, Variable>,
    /// Variables that are left out because of control characters in their value.
    pub(super) garbled: Vec<String>,
    /// The user that the agent ran as; `None`: root.
    pub(super) user: Option<String>,
    /// Whether a person's service manager runs it, as with Home Manager.
    pub(super) is_user_unit: bool,
    /// Program and arguments that the unit starts.
    pub command: Vec<String>,
    /// Unit file and drop-ins.
    pub(super) unit_files: Vec<PathBuf>,
    /// What was read, for people.
    pub sources: Vec<String>,
    /// Files with variables that could not be read, and why.
    pub(super) unreadable: Vec<(PathBuf, String)>,
}

impl Old {
    /// Reads unit and variables.
    ///
    /// # Errors
    /// There is nothing of the Go agent, or a named file cannot be read; with what to do.
    pub fn read(places: &Places) -> Result<Self, String> {
        let mut old = Self::default();
        let mut own = false;
        let mut files = Vec::new();
        match &places.unit {
            Some(path) => {
                files = old.add_unit(read_unit(&places.root, path)?, path.display().to_string(), Some(path))
            }
            None => {
                if let Some(mut unit) = unit::find(AGENT_UNIT) {
                    own = unit.environment.remove(MARK).is_some();
                    if own {
                        unit.environment.remove("NIXFLEET_STATE_DIR");
                    }
                    files = old.add_unit(unit, AGENT_UNIT.to_owned(), None);
                }
            }
        }
        for EnvironmentFile { path, optional } in files {
            match read_below(&places.root, &path) {
                Ok(found) => old.add_file(path, &found),
                Err(err) if err.kind() == io::ErrorKind::NotFound && optional => {}
                Err(err) => old.unreadable.push((path, hint(&err))),
            }
        }
        for path in &places.env_files {
            let found = read_below(Path::new("/"), path)
                .map_err(|err| format!("cannot read {}: {}", path.display(), hint(&err)))?;
            old.add_file(path.clone(), &found);
        }
        if old.variables.is_empty() {
            return Err(old.nothing(places, own));
        }
        Ok(old)
    }

    /// The text of a variable.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|variable| variable.text.as_str())
    }

    /// The text of `NIXFLEET_REPO_DIR`, or else of its older name.
    pub(super) fn folder(&self) -> Option<&str> {
        self.text("NIXFLEET_REPO_DIR").or_else(|| self.text("NIXFLEET_NIXCFG"))
    }

    /// The person whose keys and rights the agent had; `None`: it was root.
    pub(super) fn person(&self) -> Option<&str> {
        self.user.as_deref().filter(|user| !["root", "0"].contains(user))
    }

    /// Adds what the unit says; returns its files with more variables.
    fn add_unit(&mut self, unit: Unit, name: String, file: Option<&Path>) -> Vec<EnvironmentFile> {
        self.sources.push(name);
        for (name, text) in unit.environment {
            self.add(name, text, Origin::Unit);
        }
        self.user = unit.user;
        self.command = unit.command;
        self.unit_files = unit.files;
        if let Some(file) = file {
            self.is_user_unit = is_of_person(file);
            if self.unit_files.is_empty() {
                self.unit_files.push(file.to_owned());
            }
        }
        unit.environment_files
    }

    fn add_file(&mut self, path: PathBuf, (mode, text): &(u32, Vec<u8>)) {
        self.sources.push(path.display().to_string());
        for line in environment_file::assignments(text) {
            let [name, text] =
                [line.name, line.value].map(|part| String::from_utf8_lossy(&part).into_owned());
            self.add(name, text, Origin::File { path: path.clone(), mode: *mode });
        }
    }

    /// Later variables replace earlier ones, and an empty one unsets.
    fn add(&mut self, name: String, text: String, origin: Origin) {
        if !name.starts_with(VARIABLE_PREFIX) {
            return;
        }
        self.variables.remove(&name);
        if text.is_empty() {
            return;
        }
        // Where the token is matters here, and not the token.
        let text = if name == TOKEN_VARIABLE { String::new() } else { text };
        if text.chars().any(char::is_control) {
            self.garbled.push(name);
        } else {
            self.variables.insert(name, Variable { text, origin });
        }
    }

    fn nothing(&self, places: &Places, own: bool) -> String {
        let found = match (&places.unit, self.sources.first()) {
            _ if own => format!("{AGENT_UNIT} is already that of this agent"),
            (_, None) => format!("systemctl shows no {AGENT_UNIT}"),
            (_, Some(_)) => format!("no setting in {}", self.sources.join(", ")),
        };
        let mut lines = vec![format!("found nothing of the Go agent: {found}")];
        let closed = self.unreadable.iter();
        lines.extend(closed.map(|(path, why)| format!("cannot read {}: {why}", path.display())));
        let units = users::user_units(&places.root);
        lines.extend(
            units.iter().map(|path| format!("there is a unit of a person: --unit {}", path.display())),
        );
        lines.push(
            "name its unit with --unit FILE, or a file with its variables (NAME=value) with --env-file FILE"
                .to_owned(),
        );
        lines.join("\n")
    }
}

fn read_unit(root: &Path, path: &Path) -> Result<Unit, String> {
    let cannot = |why: String| format!("cannot read {}: {why}", path.display());
    let bytes = bounded_read::read(path, MAX_SETTINGS).map_err(|err| cannot(hint(&err)))?;
    let text = String::from_utf8_lossy(&bytes);
    if bytes.starts_with(b"bplist") || text.contains("<plist") {
        return Err(cannot(
            "it is a property list of launchd, which this command does not read; write its variables as lines \
             NAME=value to a file, and name that with --env-file"
                .to_owned(),
        ));
    }
    let mut unit = unit::parse(&text);
    if is_of_person(path) {
        // Home Manager links such a unit into the Nix store. The link belongs to the person.
        unit.user = fs::symlink_metadata(path).ok().and_then(|link| users::name_of(root, link.uid()));
    }
    Ok(unit)
}

/// Whether a unit file belongs to the service manager of a person.
fn is_of_person(path: &Path) -> bool {
    path.to_string_lossy().contains("/systemd/user/")
}

/// Mode and text of a file of the host.
fn read_below(root: &Path, path: &Path) -> io::Result<(u32, Vec<u8>)> {
    let path = users::below(root, path);
    let file: File = bounded_read::open(&path)?;
    let mode = file.metadata()?.permissions().mode() & 0o7777;
    Ok((mode, bounded_read::read_open(&file, MAX_SETTINGS)?))
}

fn hint(err: &io::Error) -> String {
    match err.kind() {
        io::ErrorKind::PermissionDenied => "this user may not; run it as root".to_owned(),
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        _ => err.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (unit, file) = (folder.path().join("unit"), folder.path().join("env"));
        fs::write(&unit, "[Service]\nEnvironment=NIXFLEET_TOKEN=s3cret NIXFLEET_URL=wss://x/ws\n").unwrap();
        fs::write(&file, "NIXFLEET_TOKEN=s3cret\n").unwrap();
        for env_files in [vec![], vec![file]] {
            let old = Old::read(&Places { root: "/".into(), unit: Some(unit.clone()), env_files }).unwrap();
            assert_eq!((old.text(TOKEN_VARIABLE), old.text("NIXFLEET_URL")), (Some(""), Some("wss://x/ws")));
            assert!(!format!("{old:?}").contains("s3cret"), "{old:?}");
        }
    }
}
