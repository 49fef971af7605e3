//! Whether the system that was switched to needs a reboot to run in full.

use std::{fs, path::Path, path::PathBuf};

use super::source;
use super::source::Sample;

/// What only a boot changes. NixOS links each of them into every system.
const BOOTED: [&str; 3] = ["kernel", "initrd", "kernel-modules"];

/// Whether the booted system has another kernel, initrd or set of modules than the current one. None
/// where there are not two such systems, and in containers, which have none of the three.
///
/// # Errors
/// A link is there and cannot be read.
pub fn required(booted: &Path, current: &Path) -> Sample<bool> {
    for system in [booted, current] {
        // Through the link: one that leads nowhere tells nothing about what was booted.
        if source::present(system, fs::metadata(system))?.is_none() {
            return Ok(None);
        }
    }
    let mut required = None;
    for name in BOOTED {
        let (before, after) = (link(&booted.join(name))?, link(&current.join(name))?);
        if before.is_some() || after.is_some() {
            required = Some(required.unwrap_or(false) || before != after);
        }
    }
    Ok(required)
}

fn link(path: &Path) -> Sample<PathBuf> {
    source::present(path, fs::read_link(path))
}
