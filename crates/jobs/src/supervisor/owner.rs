//! Whose folder a checkout is, and what the system knows of them.
//!
//! `getent` and `id` are asked rather than a file read: accounts of a directory service or of systemd
//! are in no file.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::spec::User;
use nixfleet_os::subprocess;

/// Time for each answer. A directory service may be far away.
const PATIENCE: Duration = Duration::from_secs(10);

/// The owner of `dir`, if this is root and they are not. All that is not known of them is left out:
/// the ids alone are enough to leave their files theirs.
pub(super) fn of(dir: &Path) -> Option<User> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let meta = fs::metadata(dir).ok().filter(|meta| meta.uid() != 0)?;
    let uid = meta.uid();
    let found = asked("getent", &["passwd", &uid.to_string()]);
    let Some(mut user) = found.as_deref().and_then(|text| account(text, uid)) else {
        return Some(User { uid, gid: meta.gid(), groups: Vec::new(), name: None, home: None });
    };
    // A name that looks like an option is none that a system gives.
    if let Some(name) = user.name.as_deref().filter(|name| !name.starts_with('-')) {
        user.groups = asked("id", &["-G", name]).and_then(|text| ids(&text)).unwrap_or_default();
    }
    Some(user)
}

fn asked(program: &str, arguments: &[&str]) -> Option<String> {
    let answer = subprocess::output(Path::new(program), arguments, PATIENCE).ok()?;
    String::from_utf8(answer).ok()
}

/// The line of passwd(5) with this id.
fn account(text: &str, uid: u32) -> Option<User> {
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, id, gid, _, home, _] = fields[..] else { return None };
        let gid = gid.parse().ok()?;
        let home = Some(PathBuf::from(home)).filter(|home| home.is_absolute());
        let name = Some(name.to_owned()).filter(|name| !name.is_empty());
        (id.parse() == Ok(uid)).then_some(User { uid, gid, groups: Vec::new(), name, home })
    })
}

/// Group ids on one line.
fn ids(text: &str) -> Option<Vec<u32>> {
    text.split_whitespace().map(|id| id.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_id() {
        let text = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:100:Alice,,,:/home/alice:/bin/zsh\n";
        let alice = User {
            uid: 1000,
            gid: 100,
            groups: Vec::new(),
            name: Some("alice".to_owned()),
            home: Some("/home/alice".into()),
        };
        assert_eq!(account(text, 1000), Some(alice));
        for (text, uid) in [
            (text, 100),
            ("", 0),
            ("alice:x:1000", 1000),
            ("alice:x:1000:x::/home/alice:/bin/sh", 1000),
            ("a:x:-1:0::/:/bin/sh", u32::MAX),
        ] {
            assert_eq!(account(text, uid), None, "{text:?}");
        }
        let homeless = account("daemon:x:2:2:::/bin/false", 2).unwrap();
        assert_eq!((homeless.home, homeless.name.as_deref()), (None, Some("daemon")));
    }

    #[test]
    fn groups_are_read_as_id_writes_them() {
        assert_eq!(ids("100 10 4294967294\n"), Some(vec![100, 10, u32::MAX - 1]));
        assert_eq!(ids("100 wheel"), None);
    }

    #[test]
    fn what_the_system_knows_of_an_owner_is_found() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: giving a folder away needs root");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let daemon = asked("getent", &["passwd", "daemon"]).and_then(|line| {
            let id = line.split(':').nth(2)?.parse().ok()?;
            account(&line, id)
        });
        if let Some(daemon) = daemon {
            std::os::unix::fs::chown(folder.path(), Some(daemon.uid), Some(0)).unwrap();
            let found = of(folder.path()).unwrap();
            assert!(found.groups.contains(&daemon.gid), "{found:?}");
            assert_eq!(User { groups: Vec::new(), ..found }, daemon);
        }
        std::os::unix::fs::chown(folder.path(), Some(54_321), Some(54_322)).unwrap();
        let unknown = User { uid: 54_321, gid: 54_322, groups: Vec::new(), name: None, home: None };
        assert_eq!(of(folder.path()), Some(unknown));
    }

    #[test]
    fn roots_own_folder_has_no_other_owner() {
        assert_eq!(of(Path::new("/")), None);
        assert_eq!(of(Path::new("/no/such/folder")), None);
    }
}
