//! The choice of the default entry without files, for fuzz targets.

use std::path::PathBuf;

use super::grub::{self, Environment};
use super::systemd_boot::{self, Entry, Variables};

/// The system of systemd-boot's default entry. `entries` are names of files and their texts.
///
/// # Errors
/// Why it is unknown.
pub fn systemd_boot(
    conf: &str,
    default: Option<&str>,
    entries: &[(String, String)],
) -> Result<PathBuf, String> {
    let variables = Variables { default: default.map(str::to_owned), ..Variables::default() };
    let entries: Vec<Entry> = entries.iter().map(|(name, text)| Entry::parse(name, text)).collect();
    systemd_boot::default_entry(conf, &variables, &entries, false)?.system()
}

/// The system of GRUB's default entry.
///
/// # Errors
/// Why it is unknown.
pub fn grub(menu: &str, environment: &str) -> Result<PathBuf, String> {
    grub::default_system(menu, &Environment::parse(environment))
}
