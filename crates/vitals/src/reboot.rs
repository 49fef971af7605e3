//! Whether the running system needs a reboot to be complete.

use std::fs;
use std::path::{Path, PathBuf};

use crate::source::{self, Sample};

/// Parts that only a boot changes. NixOS links each of them into every system.
const BOOTED: [&str; 3] = ["kernel", "initrd", "kernel-modules"];

/// Whether the booted system has another kernel, initrd or set of modules than the current one. None if one
/// of the two systems does not exist, and in containers, which have none of these parts.
///
/// # Errors
/// A link exists but cannot be read.
pub fn required(booted: &Path, current: &Path) -> Sample<bool> {
    for system in [booted, current] {
        // This follows the link: a dangling link says nothing about the booted system.
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
