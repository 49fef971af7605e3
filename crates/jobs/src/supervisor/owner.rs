//! The owner of a checkout, and the owner's account.
//!
//! The account comes from `getent` and `id` and not from a file, because accounts of a directory service or
//! of systemd are in no file.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nixfleet_os::subprocess;

use crate::spec::User;

/// Timeout of each query. A directory service may be slow.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The owner of `dir`, if this process is root and the owner is not. Unknown parts of the account are left
/// out: the ids alone are enough to keep the ownership of the files.
pub(super) fn of(dir: &Path) -> Option<User> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let meta = fs::metadata(dir).ok().filter(|meta| meta.uid() != 0)?;
    let uid = meta.uid();
    let found = query("getent", &["passwd", &uid.to_string()]);
    let Some(mut user) = found.as_deref().and_then(|text| account(text, uid)) else {
        return Some(User { uid, gid: meta.gid(), groups: Vec::new(), name: None, home: None });
    };
    // A name that looks like an option is not passed to a program. No system has such names.
    if let Some(name) = user.name.as_deref().filter(|name| !name.starts_with('-')) {
        user.groups = query("id", &["-G", name]).and_then(|text| ids(&text)).unwrap_or_default();
    }
    Some(user)
}

fn query(program: &str, arguments: &[&str]) -> Option<String> {
    let answer = subprocess::output(Path::new(program), arguments, TIMEOUT).ok()?;
    String::from_utf8(answer).ok()
}

/// Parses the line of passwd(5) with this id.
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

/// Parses group ids on one line.
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
        let daemon = query("getent", &["passwd", "daemon"]).and_then(|line| {
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
