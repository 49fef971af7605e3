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
