//! What the next boot of this machine runs, as the files of its boot loader say.
//!
//! ```text
//! boot_entry.rs       which boot loader it is, and its files
//! systemd_boot.rs     the default entry of systemd-boot, no I/O
//! version_order.rs    how systemd-boot sorts versions, no I/O
//! grub.rs             the default entry of GRUB, no I/O
//! ```
//!
//! A file that is missing, cannot be read or says something that is not understood makes the answer unknown. Nothing
//! is guessed: people decide by it whether a machine comes back.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use nixfleet_os::{Disk, bounded_read};

use crate::settings::SystemPaths;
use grub::Environment;
use systemd_boot::{Entry, Variables};

mod grub;
pub(crate) mod systemd_boot;
mod version_order;

#[cfg(feature = "test-util")]
pub mod fuzzing;
#[cfg(test)]
mod tests;

/// Longest file of systemd-boot that is read, in bytes. Such files have some lines.
const MAX_CONF: u64 = 64 * 1024;

/// Longest `grub.cfg` that is read, in bytes: ten thousand generations with half a KiB each.
const MAX_GRUB: u64 = 5 * 1024 * 1024;

/// Longest variable of the firmware that is read, in bytes. They hold a name.
const MAX_VARIABLE: u64 = 4 * 1024;

/// Most entries of systemd-boot that are read. Other boot loaders' menus have tens of them.
const MAX_ENTRIES: usize = 1024;

/// The vendor of the variables by which boot loader and system talk (Boot Loader Interface of systemd).
const VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// Why nobody can say what the next boot runs.
#[derive(Debug, thiserror::Error)]
pub enum Unknown {
    /// The machine has no boot loader that is known here: a container, or another boot loader.
    #[error("there is neither loader/loader.conf nor grub/grub.cfg in {}", .0.display())]
    NoLoader(PathBuf),
    /// There are files of two boot loaders, and the firmware does not say which one started this system.
    #[error("there are files of systemd-boot and of GRUB in {}", .0.display())]
    TwoLoaders(PathBuf),
    /// A file cannot be read. In most cases only root may read it.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The files say something that is not understood, or that cannot be.
    #[error("{0}")]
    Entry(String),
}

/// The system that the next boot runs, if nobody chooses another one in the boot loader's menu.
///
/// # Errors
/// [`Unknown`]: why nobody can say that.
pub fn read(paths: &SystemPaths) -> Result<PathBuf, Unknown> {
    let conf = optional(&paths.boot.join("loader/loader.conf"), MAX_CONF)?;
    let menu = optional(&paths.boot.join("grub/grub.cfg"), MAX_GRUB)?;
    let system = match (conf, menu) {
        (None, None) => return Err(Unknown::NoLoader(paths.boot.clone())),
        (Some(conf), None) => systemd_boot(paths, &conf)?,
        (None, Some(menu)) => grub(paths, &menu)?,
        (Some(conf), Some(menu)) => match variable(paths, "LoaderInfo")? {
            Some(name) if name.starts_with("systemd-boot") => systemd_boot(paths, &conf)?,
            Some(name) if name.starts_with("GRUB") => grub(paths, &menu)?,
            // systemd-boot is a program of UEFI.
            None if !paths.efi_variables.exists() => grub(paths, &menu)?,
            _ => return Err(Unknown::TwoLoaders(paths.boot.clone())),
        },
    };
    if !system.is_dir() {
        let text = format!("the default entry boots {}, which does not exist any more", system.display());
        return Err(Unknown::Entry(text));
    }
    Ok(system)
}

fn systemd_boot(paths: &SystemPaths, conf: &str) -> Result<PathBuf, Unknown> {
    let variables = Variables {
        one_shot: variable(paths, "LoaderEntryOneShot")?,
        preferred: variable(paths, "LoaderEntryPreferred")?,
        default: variable(paths, "LoaderEntryDefault")?,
    };
    let entries = entries(&paths.boot)?;
    let has_images = !images(&paths.boot)?.is_empty();
    let entry =
        systemd_boot::default_entry(conf, &variables, &entries, has_images).map_err(Unknown::Entry)?;
    let system = entry.system().map_err(Unknown::Entry)?;
    // A write that failed on a full partition leaves an entry without its kernel.
    for file in entry.files() {
        let path = paths.boot.join(file.trim_start_matches('/'));
        let size = std::fs::metadata(&path).map(|metadata| metadata.len());
        if !size.is_ok_and(|size| size > 0) {
            let text = format!("the default entry {} needs {}, which is not there", entry.id, path.display());
            return Err(Unknown::Entry(text));
        }
    }
    Ok(system)
}

fn grub(paths: &SystemPaths, menu: &str) -> Result<PathBuf, Unknown> {
    let variables = optional(&paths.boot.join("grub/grubenv"), MAX_CONF)?;
    let variables = variables.as_deref().map_or_else(Environment::default, Environment::parse);
    grub::default_system(menu, &variables).map_err(Unknown::Entry)
}

/// The entries of systemd-boot in `boot`, in no order. What is no entry is left out.
///
/// # Errors
/// [`Unknown::Unreadable`]; [`Unknown::Entry`] if there are too many.
pub(crate) fn entries(boot: &Path) -> Result<Vec<Entry>, Unknown> {
    let folder = boot.join("loader/entries");
    let names = names(&folder, "conf")?;
    if names.len() > MAX_ENTRIES {
        return Err(Unknown::Entry(format!("{} has more than {MAX_ENTRIES} entries", folder.display())));
    }
    let mut entries = Vec::new();
    for name in names {
        // It may be removed meanwhile.
        if let Some(text) = optional(&folder.join(&name), MAX_CONF)? {
            entries.push(Entry::parse(&name, &text));
        }
    }
    Ok(entries)
}

/// Names of unified kernel images, which are entries of systemd-boot as well.
fn images(boot: &Path) -> Result<Vec<String>, Unknown> {
    names(&boot.join("EFI/Linux"), "efi")
}

/// Names with that extension in a folder; none if there is no such folder.
fn names(folder: &Path, extension: &str) -> Result<Vec<String>, Unknown> {
    let names = match Disk::real().list(folder) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        names => names.map_err(|source| Unknown::Unreadable { path: folder.to_owned(), source })?,
    };
    let wanted = |name: &&str| Path::new(name).extension().and_then(OsStr::to_str) == Some(extension);
    Ok(names.iter().filter_map(|name| name.to_str()).filter(wanted).map(str::to_owned).collect())
}

/// The text of a file; none if it does not exist.
fn optional(path: &Path, limit: u64) -> Result<Option<String>, Unknown> {
    match bounded_read::read(path, limit) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Unknown::Unreadable { path: path.to_owned(), source }),
    }
}

/// A text variable of the firmware; none if it is not set, and on a machine without UEFI.
fn variable(paths: &SystemPaths, name: &str) -> Result<Option<String>, Unknown> {
    /// The attributes of the variable, before its value.
    const ATTRIBUTES: usize = 4;
    let path = paths.efi_variables.join(format!("{name}-{VENDOR}"));
    let bytes = match bounded_read::read(&path, MAX_VARIABLE) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(|source| Unknown::Unreadable { path, source })?,
    };
    let units = bytes.get(ATTRIBUTES..).unwrap_or_default().chunks_exact(2);
    let units = units.map(|pair| u16::from_le_bytes([pair[0], pair[1]])).take_while(|unit| *unit != 0);
    let text: String = char::decode_utf16(units).map(|letter| letter.unwrap_or('\u{fffd}')).collect();
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// The system of a kernel's command line: the folder of the program that `init=` names.
fn system_of(words: &str) -> Option<PathBuf> {
    // The kernel takes the last one.
    let init = words.split_whitespace().filter_map(|word| word.strip_prefix("init=")).next_back()?;
    let init = Path::new(init.trim_matches('"'));
    let named = init.is_absolute() && init.file_name() == Some(OsStr::new("init"));
    init.parent().filter(|system| named && system.parent().is_some()).map(Path::to_owned)
}
