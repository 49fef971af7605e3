//! The documents say what is true: links lead somewhere, commands exist and run, settings are settings, and quoted
//! messages are messages of the program.
//!
//! ```text
//! page.rs      the documents: headings, links, blocks of code
//! links.rs     each link leads to a file and a heading, also in the book
//! shell.rs     a block of shell code as commands
//! commands.rs  each command of a block or a sentence exists, with its options
//! run.rs       blocks that run here, on a machine of their own as far as they can tell
//! settings.rs  blocks of settings and of Nix
//! messages.rs  the messages that docs/troubleshooting.md quotes
//! avocado.rs   the extension for Avocado OS
//! ```
//!
//! A comment before a block says more about it:
//!
//! * `<!-- test: run -->`: the block runs here; all such blocks of a page are one script
//! * `<!-- test: each line runs -->`: a line that does not end by itself only has to write something
//! * `<!-- test: heartbeat.conf -->`: not a script, although it looks like one
//! * `<!-- test: crates/cli/tests/start.rs -->`: that test runs the block

#![allow(clippy::unwrap_used, clippy::string_slice, reason = "a test that cannot go on should say where")]

mod avocado;
mod commands;
mod links;
mod messages;
mod page;
mod run;
mod settings;
mod shell;
#[allow(dead_code, reason = "it is shared with the integration tests, which use all of it")]
#[path = "../it/skipped.rs"]
mod skipped;
