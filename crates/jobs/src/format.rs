//! The rule for files that several versions of the agent read: [`Format`].
//!
//! A host's agent, its supervisors and the files between them are updated and rolled back at different
//! moments. A supervisor of one version writes what an agent of another version reads, in both directions.
//! So all versions follow one rule:
//!
//! * Every file holds one JSON object with the field `version`. A file without it has version 0: it was
//!   written before the field existed.
//! * A reader ignores fields that it does not know.
//! * A new field is optional and has a default, which a reader uses when the field is absent.
//! * A field never changes its meaning, its type or its unit. A change that an older reader cannot survive
//!   needs a new file name.
//! * A file of a newer version is read in the same way. The number informs people and later migrations;
//!   no reader refuses a file because of it.
//! * A new word for an existing field, such as a new [`Outcome`](crate::spec::Outcome), counts as such a
//!   change while readers of version 0 are in use: they refuse the whole file. Later readers replace a
//!   word that they do not know by a documented fallback.
//!
//! The files are listed in `docs/formats.md`.

use std::path::Path;
use std::sync::Once;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

/// The content of a file that [`atomic_file`](crate::atomic_file) reads and writes.
pub trait Format: Serialize + DeserializeOwned {
    /// The version that is written. It is raised when fields are added; see the rule of this module.
    const VERSION: u32;
    /// Longest file that is read, in bytes. Such files hold a few short texts.
    const MAX_BYTES: u64 = 1024 * 1024;
}

/// The object that is written: the version, followed by the fields of the value.
#[derive(Serialize)]
struct Versioned<'a, T> {
    version: u32,
    #[serde(flatten)]
    value: &'a T,
}

/// The text of a file with this content.
///
/// # Errors
/// The value cannot be written as a JSON object.
pub fn to_vec<T: Format>(value: &T) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Versioned { version: T::VERSION, value })
}

/// The one field that all files have.
#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    version: u32,
}

/// Reads the content of the file `path`. The path is for the log only.
///
/// # Errors
/// The bytes are not JSON, or lack a field that is not optional.
pub fn parse<T: Format>(path: &Path, bytes: &[u8]) -> serde_json::Result<T> {
    let value = serde_json::from_slice(bytes)?;
    note_version(path, bytes, T::VERSION);
    Ok(value)
}

/// Logs once that a file is of a newer version. Apart from [`parse`], because it is the same code for all types.
fn note_version(path: &Path, bytes: &[u8], known: u32) {
    if let Ok(Header { version }) = serde_json::from_slice(bytes)
        && version > known
    {
        // State files are read several times a second while a job runs.
        static LOGGED: Once = Once::new();
        LOGGED.call_once(|| {
            tracing::debug!(
                "{} has version {version}, newer than the known version {known}; unknown fields are ignored.",
                path.display()
            );
        });
    }
}

/// For `deserialize_with`: a value that this version cannot read becomes the default instead of making the
/// whole file unreadable.
///
/// # Errors
/// The text is not JSON.
pub fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}
