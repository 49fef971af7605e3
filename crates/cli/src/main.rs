//! The program `nixfleet`: the hosts of a fleet, and commands for them, out of NATS.
//!
//! ```text
//! main -> args, settings -> connect -> hosts   fleet_view -> table
//!                                      run     chosen -> plan -> campaign: asks, log -> job
//!                                      stop    the same with another request
//!                                      watch   fleet_view, log
//!                                      logs    log -> lines
//! ```
//!
//! `plan`, `job`, `table`, `pattern` and `lines` decide without a clock and without NATS.
#![cfg_attr(test, allow(clippy::string_slice, reason = "a wrong index fails the test"))]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use nixfleet_os::error::chain;
use nixfleet_os::long_version;

use args::{Arguments, Command};
use exit::{Exit, Failure};
use settings::Surroundings;
use terminal::Screen;

mod args;
mod campaign;
mod changes;
mod chosen;
mod exit;
mod fleet_view;
mod hosts;
mod job;
mod lines;
mod log;
mod logs;
mod order;
mod pattern;
mod plan;
mod reader;
mod report;
mod run;
mod settings;
mod stop;
mod table;
mod terminal;
mod watch;

fn main() -> ExitCode {
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // There is no way to report that the terminal is closed.
            drop(error.print());
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Good };
            return ExitCode::from(exit.code());
        }
    };
    let exit = start(&arguments).unwrap_or_else(|failure| {
        for line in failure.message.iter().flat_map(|message| message.lines()) {
            drop(writeln!(std::io::stderr(), "nixfleet: {line}"));
        }
        failure.exit
    });
    ExitCode::from(exit.code())
}

/// The command line. `--version` is the long form of `-V`.
fn parse() -> Result<Arguments, clap::Error> {
    let version: &str = long_version(env!("CARGO_PKG_VERSION")).leak();
    let mut matches = Arguments::command().long_version(version).try_get_matches()?;
    Arguments::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut Arguments::command()))
}

fn start(arguments: &Arguments) -> Result<Exit, Failure> {
    let options = settings::read(&arguments.connection, &Surroundings::own()).map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|err| Failure::new(Exit::Nats, format!("cannot start: {err}")))?;
    let mut screen = Screen::new(arguments.color);
    let ended = runtime.block_on(async {
        let client = nixfleet_fleet::connect(&options).await.map_err(|err| unreachable(&err))?;
        match &arguments.command {
            Command::Hosts(options) => hosts::run(&client, options, &mut screen).await,
            Command::Run(options) => run::run(&client, options, &mut screen).await,
            Command::Stop(options) => stop::run(&client, options, &mut screen).await,
            Command::Watch(options) => watch::run(&client, options, &mut screen).await,
            Command::Logs(options) => logs::run(&client, options, &mut screen).await,
        }
    });
    screen.clear();
    ended
}

/// A connection that is not there, with what to do.
fn unreachable(err: &nixfleet_fleet::ConnectError) -> Failure {
    use nixfleet_fleet::ConnectError as Error;
    let text = chain(err);
    match err {
        Error::Connect { .. } => Failure::new(
            Exit::Nats,
            format!("{text}; is the address right, does nats-server run, and may this login connect?"),
        ),
        Error::TooOld { .. } => Failure::new(Exit::Nats, text),
        Error::Address { .. } | Error::NoServer | Error::Prefix(_) | Error::File { .. } => {
            Failure::usage(text)
        }
    }
}
