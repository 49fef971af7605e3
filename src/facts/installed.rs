//! Whether the running agent is the installed one.
//!
//! After a switch the unit names the new program, while the old one may still run for a moment.
//! `check-version` reports an old program that keeps running.

use std::io;
use std::path::{Path, PathBuf};

use nixfleet_os::bounded_read;
use nixfleet_os::sha256::{PROGRAM, hash_file};

use super::freshness::{running_binary, store_path};

/// The agent's unit, relative to the link to the running system.
const UNIT: &str = "etc/systemd/system/nixfleet-agent.service";

/// Longest [`UNIT`] read, in bytes.
const MAX_UNIT: u64 = 64 * 1024;

/// The installed program, compared with the running one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The program that a restart would start.
    pub program: PathBuf,
    /// Whether it is the running one.
    pub same: bool,
}

/// Compares the running program with the one in the unit of the running system or, without a unit, with the file
/// that it was started from. Outside the Nix store it hashes both files, which takes some milliseconds.
///
/// # Errors
/// When one of the files cannot be read.
pub fn look(current_system: &Path) -> io::Result<Installed> {
    let running = std::env::current_exe()?;
    let program = unit_program(&current_system.join(UNIT)).unwrap_or_else(|| own_place(&running));
    let same = match (store_path(&program), store_path(&running)) {
        (None, None) => hash_file(&program, PROGRAM)? == hash_file(&running_binary()?, PROGRAM)?,
        // Files in the store never change.
        (installed, running) => installed == running,
    };
    Ok(Installed { program, same })
}

/// The program that a unit starts.
fn unit_program(unit: &Path) -> Option<PathBuf> {
    let text = String::from_utf8(bounded_read::read(unit, MAX_UNIT).ok()?).ok()?;
    let command = text.lines().rev().find_map(|line| line.strip_prefix("ExecStart=/"))?;
    Some(Path::new("/").join(command.split_whitespace().next()?))
}

/// The path that the running program was started from. After an upgrade another program may be there.
pub fn own_place(running: &Path) -> PathBuf {
    // Linux marks a replaced file this way.
    let text = running.to_string_lossy();
    PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_names_the_program() {
        let folder = tempfile::tempdir().unwrap();
        let unit = folder.path().join("unit");
        for (text, expected) in [
            (
                "[Service]\nExecStart=/nix/store/x-agent/bin/nixfleet-agent run\n",
                Some("/nix/store/x-agent/bin/nixfleet-agent"),
            ),
            ("ExecStart=/old\nExecStart=\nExecStart=/new --flag", Some("/new")),
            ("ExecStart=relative", None),
            ("", None),
        ] {
            std::fs::write(&unit, text).unwrap();
            assert_eq!(unit_program(&unit).as_deref(), expected.map(Path::new), "{text:?}");
        }
        assert_eq!(unit_program(&folder.path().join("none")), None);
    }

    #[test]
    fn a_replaced_program_is_looked_for_in_its_place() {
        assert_eq!(own_place(Path::new("/usr/bin/agent (deleted)")), Path::new("/usr/bin/agent"));
        assert_eq!(own_place(Path::new("/usr/bin/agent")), Path::new("/usr/bin/agent"));
    }

    #[test]
    fn the_running_program_is_compared_with_what_the_unit_starts() {
        let folder = tempfile::tempdir().unwrap();
        let own = look(folder.path()).unwrap();
        assert!(own.same, "{own:?}: without a unit, this program's own place");
        let unit = folder.path().join(UNIT);
        std::fs::create_dir_all(unit.parent().unwrap()).unwrap();
        let other = folder.path().join("other");
        std::fs::write(&other, "another program").unwrap();
        std::fs::write(&unit, format!("ExecStart={} run\n", other.display())).unwrap();
        assert_eq!(look(folder.path()).unwrap(), Installed { program: other.clone(), same: false });
        std::fs::write(&unit, "ExecStart=/nix/store/0v5x-nixfleet-agent-0.2.0/bin/nixfleet-agent\n").unwrap();
        assert!(!look(folder.path()).unwrap().same, "from the store, unlike this one");
        std::fs::remove_file(&other).unwrap();
        std::fs::write(&unit, format!("ExecStart={}\n", other.display())).unwrap();
        assert!(look(folder.path()).is_err(), "gone");
    }
}
