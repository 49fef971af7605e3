//! `nixfleet-agent`; see [`nixfleet_agent::cli`].

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

use std::process::ExitCode;

fn main() -> ExitCode {
    nixfleet_agent::cli::main()
}
