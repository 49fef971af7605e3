//! Helpers for tests, also for those of other crates.
#![expect(clippy::unwrap_used, reason = "a test that cannot write its program has failed")]

use std::path::Path;
use std::process::Command;

/// Writes a program that the test will start. By a process of its own: what this one has open for writing,
/// a program that another test is just starting has too, for a moment in which nobody may run it (ETXTBSY).
///
/// # Panics
/// When the program cannot be written.
pub fn write_script(path: &Path, text: &str) {
    let write = r#"printf %s "$2" > "$1" && chmod 755 "$1""#;
    let path = path.to_str().unwrap();
    assert!(Command::new("sh").args(["-c", write, "sh", path, text]).status().unwrap().success());
}
