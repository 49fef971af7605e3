//! Paths and users of the host.

use std::path::{Path, PathBuf};

use nixfleet_os::{bounded_read, short};

use crate::unit::AGENT_UNIT;

/// Longest system file that is read, in bytes: enough for a passwd file with ten thousand users.
pub(super) const MAX_FILE: u64 = 1 << 20;

/// A path of the host whose files are below `root`.
pub fn below(root: &Path, path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// A user of the host.
struct User {
    name: String,
    home: PathBuf,
}

/// The users in /etc/passwd.
fn users(root: &Path, fits: impl Fn(&[&str]) -> bool) -> Vec<User> {
    let bytes = bounded_read::read(&below(root, "/etc/passwd"), MAX_FILE).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let fields = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let known = fields.filter(|fields| fields.len() >= 6 && fits(fields));
    known.map(|fields| User { name: fields[0].to_owned(), home: PathBuf::from(fields[5]) }).collect()
}

fn user(root: &Path, fits: impl Fn(&[&str]) -> bool) -> Option<User> {
    users(root, fits).into_iter().next()
}

/// The home of a user.
pub(super) fn home_of(root: &Path, name: &str) -> Option<PathBuf> {
    user(root, |fields| fields[0] == name).map(|user| user.home)
}

/// The name of a user.
pub(super) fn name_of(root: &Path, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    user(root, |fields| fields[2] == uid).map(|user| user.name)
}

/// The owner of a file, by name where it is known.
pub(super) fn owner(root: &Path, uid: u32) -> String {
    if uid == 0 { "root".to_owned() } else { name_of(root, uid).unwrap_or_else(|| uid.to_string()) }
}

/// Units of the agent that a person's service manager runs, as Home Manager installs them.
pub(super) fn user_units(root: &Path) -> Vec<PathBuf> {
    let unit = |user: User| below(root, user.home.join(".config/systemd/user").join(AGENT_UNIT));
    let mut units: Vec<PathBuf> = users(root, |_| true).into_iter().map(unit).collect();
    units.retain(|unit| unit.exists());
    short::sort(&mut units);
    units.dedup();
    units
}
