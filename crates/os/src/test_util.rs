//! Helpers for tests, also for those of other crates.
#![expect(clippy::unwrap_used, reason = "a test that cannot write its program has failed")]

use std::path::Path;
use std::process::Command;

/// Writes a program that the test will start. A separate process writes it: if this process had the file open
/// for writing, a process that another test forks at that moment would have it open too, and the program
/// could not be started (ETXTBSY).
///
/// # Panics
/// If the program cannot be written.
pub fn write_script(path: &Path, text: &str) {
    let write = r#"printf %s "$2" > "$1" && chmod 755 "$1""#;
    let path = path.to_str().unwrap();
    assert!(Command::new("sh").args(["-c", write, "sh", path, text]).status().unwrap().success());
}
