//! `nixfleet-agent`; see [`nixfleet_agent::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    nixfleet_agent::cli::main()
}
