//! The program itself. Because of this file `cargo test` builds it, which the tests of the documents need as well.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::process::Command;

#[test]
fn wrong_usage_ends_with_64_and_names_the_option() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_nixfleet-mock-dashboard"));
    let output = program.args(["--tokn", "secret"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("--token"), "{said}");
}
