//! Who may log in: a file of names and passwords.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use nixfleet_os::bounded_read;
use tokio::sync::watch;
use tracing::{info, warn};

use super::password;

/// The longest file, in bytes: some 8,000 people.
const MAX_FILE: u64 = 1024 * 1024;

/// Writing for group and others: whoever can write the file lets himself in.
const FORBIDDEN_MODE: u32 = 0o022;

/// Longest name, in characters.
pub(super) const MAX_NAME: usize = 64;

/// Names, and how their passwords are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct People(BTreeMap<String, String>);

/// Why it is not known who may log in.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// The file cannot be read.
    #[error("cannot read the logins in {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Others may write it.
    #[error("{}: its mode is {mode:03o}, so others could write a login into it: chmod 600", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It had logins, and has none any more.
    #[error(
        "{}: it has no logins any more; if nobody may log in from now on, stop the dashboard, or start it again",
        path.display()
    )]
    Emptied {
        /// The file.
        path: PathBuf,
    },
    /// A line is wrong.
    #[error("{}, line {line}: {why}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1 on.
        line: usize,
        /// What is wrong, and the fix.
        why: &'static str,
    },
}

/// Whether somebody can have this name.
pub(super) fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte);
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(fits)
}

impl People {
    /// Reads lines such as `NAME HASH`.
    ///
    /// # Errors
    /// The number of the first wrong line, and what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let mut people = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let Some(name) = words.next() else { continue };
            let wrong = |why| (index + 1, why);
            if !is_name(name) {
                return Err(wrong("the first word must be a name, 1 to 64 of A-Z a-z 0-9 . _ @ + -"));
            }
            let kept = words.next().unwrap_or_default();
            password::check(kept).map_err(wrong)?;
            if words.next().is_some() {
                return Err(wrong("nothing is expected after the hash; write a remark after #"));
            }
            if people.insert(name.to_owned(), kept.to_owned()).is_some() {
                return Err(wrong("this name is in the file twice; remove one of the lines"));
            }
        }
        Ok(Self(people))
    }

    /// How the password of somebody is kept.
    pub(super) fn kept(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The password of somebody, for a name that is not there: always the same one for the same number. Hashes of
    /// other programs may take another time to check, so one for all those names would tell them apart.
    pub(super) fn kept_of_another(&self, number: u64) -> Option<&str> {
        let count = u64::try_from(self.0.len()).ok()?;
        let at = usize::try_from(number.checked_rem(count)?).ok()?;
        self.0.values().nth(at).map(String::as_str)
    }

    /// Names that are in these people and not, or with another password, in those.
    fn missing_in<'a>(&'a self, those: &'a Self) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(|(name, kept)| those.0.get(*name) != Some(*kept)).map(|(name, _)| name.as_str())
    }
}

/// The file, and what was last read from it.
#[derive(Debug)]
pub(super) struct PeopleFile {
    path: PathBuf,
    current: watch::Sender<Arc<People>>,
    /// What was wrong at the last look, which is said once.
    trouble: Mutex<String>,
}

impl PeopleFile {
    /// Reads the file.
    ///
    /// # Errors
    /// [`PeopleError`].
    pub(super) fn open(path: PathBuf) -> Result<Self, PeopleError> {
        let file = Self { path, current: watch::Sender::default(), trouble: Mutex::default() };
        let people = file.read()?;
        if people.0.is_empty() {
            warn!(
                file = %file.path.display(),
                "nobody can log in, because the file is empty; `nixfleet-dashboard password NAME` makes lines"
            );
        }
        file.current.send_replace(Arc::new(people));
        Ok(file)
    }

    fn read(&self) -> Result<People, PeopleError> {
        let path = || self.path.clone();
        let failed = |source| PeopleError::File { path: path(), source };
        let file = bounded_read::open(&self.path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.mode() & 0o777;
        if mode & FORBIDDEN_MODE != 0 {
            return Err(PeopleError::Mode { path: path(), mode });
        }
        let bytes = bounded_read::read_open(&file, MAX_FILE).map_err(failed)?;
        People::parse(&String::from_utf8_lossy(&bytes)).map_err(|(line, why)| PeopleError::Line {
            path: path(),
            line,
            why,
        })
    }

    /// Reads the file again. It must not be empty now if it was not: somebody is just writing it.
    fn read_again(&self) -> Result<People, PeopleError> {
        let people = self.read()?;
        if people.0.is_empty() && !self.current().0.is_empty() {
            return Err(PeopleError::Emptied { path: self.path.clone() });
        }
        Ok(people)
    }

    /// Reads the file again. If that fails, everything stays as it was, and the log says why.
    pub(super) fn look(&self) {
        let (people, trouble) = match self.read_again() {
            Ok(people) => (Some(people), String::new()),
            Err(err) => (None, err.to_string()),
        };
        let mut before = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if *before != trouble {
            if !trouble.is_empty() {
                warn!("{trouble}; the logins stay as they were");
            }
            *before = trouble;
        }
        let Some(people) = people else { return };
        self.current.send_if_modified(|current| {
            if **current == people {
                return false;
            }
            for name in people.missing_in(current) {
                info!(name, "this login is new or has another password");
            }
            for name in current.missing_in(&people) {
                info!(name, "the sessions of this login have ended");
            }
            *current = Arc::new(people);
            true
        });
    }

    /// The newest people.
    pub(super) fn current(&self) -> Arc<People> {
        Arc::clone(&self.current.borrow())
    }

    /// The newest people, now and after each change.
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<People>> {
        self.current.subscribe()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;

    /// Hashes that are cheap to parse and fit no password.
    pub(in crate::login) const KEPT: [&str; 2] = [
        "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo",
        "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx1$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo",
    ];

    /// Writes a file that others cannot write, whatever the umask is.
    pub(in crate::login) fn write(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
        set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    }

    #[test]
    fn people_are_lines_with_a_name_and_a_hash() {
        let [one, two] = KEPT;
        let text = format!("# on call\nanna {one}\n\n  ben@example.org {two} # until May\n");
        let people = People::parse(&text).unwrap();
        assert_eq!((people.kept("anna"), people.kept("ben@example.org")), (Some(one), Some(two)));
        assert_eq!((people.kept("Anna"), people.kept("")), (None, None));
        for (text, line, part) in [
            (format!("anna {one}\nb/n {two}"), 2, "A-Z a-z"),
            (format!("{} {one}", "x".repeat(65)), 1, "1 to 64"),
            ("anna".to_owned(), 1, "hash of a password"),
            ("\nanna secret".to_owned(), 2, "hash of a password"),
            (format!("anna {one} {two}"), 1, "nothing is expected"),
            (format!("anna {one}\nanna {two}"), 2, "twice"),
        ] {
            let (at, why) = People::parse(&text).expect_err(&text);
            assert!(at == line && why.contains(part), "{text}: {at} {why}");
        }
    }

    #[test]
    fn a_file_that_has_become_wrong_changes_nothing() {
        let [one, two] = KEPT;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logins");
        write(&path, &format!("anna {one}\nben {two}"));
        let file = PeopleFile::open(path.clone()).unwrap();
        let mut changes = file.subscribe();
        for wrong in ["anna", "anna plain", "", "# nobody"] {
            write(&path, wrong);
            file.look();
            assert!(file.current().kept("ben").is_some());
        }
        write(&path, &format!("carl {one}"));
        set_permissions(&path, Permissions::from_mode(0o620)).unwrap();
        file.look();
        assert!(file.current().kept("carl").is_none(), "others can write it");
        std::fs::remove_file(&path).unwrap();
        file.look();
        assert!(file.current().kept("ben").is_some() && !changes.has_changed().unwrap());
        write(&path, &format!("anna {two}"));
        file.look();
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        assert_eq!((file.current().kept("anna"), file.current().kept("ben")), (Some(two), None));
        file.look();
        assert!(!changes.has_changed().unwrap(), "nothing has changed");
    }

    #[test]
    fn the_file_must_be_right_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logins");
        let why = PeopleFile::open(path.clone()).unwrap_err().to_string();
        assert!(why.contains("cannot read the logins in "), "{why}");
        write(&path, "");
        assert!(PeopleFile::open(path.clone()).is_ok(), "nobody needs be in it");
        for mode in [0o620, 0o602] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let why = PeopleFile::open(path.clone()).unwrap_err().to_string();
            assert!(why.contains("chmod 600"), "{mode:o} {why}");
        }
        write(&path, "anna");
        let why = PeopleFile::open(path).unwrap_err().to_string();
        assert!(why.contains("logins, line 1: after the name"), "{why}");
    }

    #[test]
    fn names_that_are_not_there_cost_what_the_others_do() {
        let [one, two] = KEPT;
        let people = People::parse(&format!("anna {one}\nben {two}")).unwrap();
        let kept = [0, 1, 2, u64::MAX].map(|number| people.kept_of_another(number).unwrap());
        assert_eq!(kept, [one, two, one, two]);
        assert_eq!(People::default().kept_of_another(7), None);
    }
}
