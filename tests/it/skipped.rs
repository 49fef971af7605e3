//! What a test says that this machine cannot run.

use std::io::{self, Write};

/// Says that a test is skipped, and why. Not by a macro: the test runner swallows what those print.
pub(crate) fn skipped(why: &str) {
    // Behind the name of the test, whose line has no end yet.
    io::stderr().write_all(format!("\nskipped: {why}\n").as_bytes()).unwrap();
}

/// The same, and a failure where this variable is set: in CI, where nobody reads it.
#[track_caller]
pub(crate) fn skipped_unless(required: &str, why: &str) {
    assert!(std::env::var_os(required).is_none(), "{required} is set, and {why}");
    skipped(why);
}
