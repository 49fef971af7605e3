//! `contact.json`: the agent says that it is connected.

use std::io;
use std::path::Path;

use nixfleet_os::bounded_read;
use serde::{Deserialize, Serialize};

use crate::atomic_file;
use crate::format::{self, Format};

/// Longest file that is read, in bytes: four numbers and a boot id.
const MAX_FILE: u64 = 4096;

/// The agent's newest connection. The file belongs to the agent's user, so it proves no more than that whoever has the
/// rights of the agent says so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Contact {
    /// Boot in which it was opened.
    pub boot_id: Option<String>,
    /// When the attempt to connect began, in milliseconds since the boot.
    pub opened_ms: u64,
    /// When the dashboard accepted the registration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registered_ms: Option<u64>,
    /// When something was last received on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heard_ms: Option<u64>,
}

impl Format for Contact {
    const VERSION: u32 = 1;
    const MAX_BYTES: u64 = MAX_FILE;
}

impl Contact {
    /// Name of the file in the agent's own folder.
    pub const FILE: &str = "contact.json";

    /// Reads it as root from the folder of another user: a symbolic link is not followed. None if there is no such file,
    /// or if it cannot be understood.
    pub fn read(path: &Path) -> Option<Self> {
        let file = bounded_read::open_no_link(path).ok()?;
        format::parse(path, &bounded_read::read_open(file, MAX_FILE).ok()?).ok()
    }

    /// Writes it.
    ///
    /// # Errors
    /// As for [`atomic_file::store`].
    pub fn store(&self, path: &Path) -> io::Result<()> {
        atomic_file::store(path, self)
    }

    /// Whether the connection existed at that time, in milliseconds since the boot `boot_id`.
    pub fn is_alive_since(&self, boot_id: Option<&str>, time_ms: u64) -> bool {
        let heard = self.registered_ms.and(self.heard_ms);
        self.boot_id.as_deref() == boot_id && heard.is_some_and(|heard| heard >= time_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_a_small_file_of_this_form_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("contact.json");
        let said = Contact {
            boot_id: Some("this".to_owned()),
            opened_ms: 1,
            registered_ms: Some(2),
            heard_ms: Some(3),
        };
        assert_eq!(Contact::read(&path), None);
        said.store(&path).unwrap();
        let text = r#"{"version":1,"boot_id":"this","opened_ms":1,"registered_ms":2,"heard_ms":3}"#;
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(Contact::read(&path), Some(said.clone()));
        let link = folder.path().join("link.json");
        symlink(&path, &link).unwrap();
        assert_eq!(Contact::read(&link), None, "a link to a file that only root may read");
        let fifo = folder.path().join("fifo");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(Contact::read(&fifo), None, "nobody writes there");
        for text in [format!("{text}{}", " ".repeat(4096)), "7".to_owned(), r#"{"opened_ms":-1}"#.to_owned()]
        {
            fs::write(&path, text).unwrap();
            assert_eq!(Contact::read(&path), None);
        }
        fs::write(&path, r#"{"of_a_later_version":1}"#).unwrap();
        assert_eq!(Contact::read(&path), Some(Contact::default()));
    }

    #[test]
    fn a_sign_of_life_is_of_this_boot_and_of_a_registered_connection() {
        let said = |registered_ms, heard_ms| Contact {
            boot_id: Some("this".to_owned()),
            opened_ms: 1,
            registered_ms,
            heard_ms,
        };
        for (said, boot, alive) in [
            (said(Some(2), Some(5)), Some("this"), true),
            (said(Some(2), Some(4)), Some("this"), false),
            (said(Some(2), Some(5)), Some("another"), false),
            (said(None, Some(5)), Some("this"), false),
            (said(Some(5), None), Some("this"), false),
        ] {
            assert_eq!(said.is_alive_since(boot, 5), alive, "{said:?} {boot:?}");
        }
    }
}
