//! The program `nixfleet-gateway`.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use nixfleet_gateway::{Orders, ServeError, Serving, Settings, Stage, new_token};
use nixfleet_os::error::chain;
use nixfleet_os::long_version;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Exit code for wrong usage or settings, EX_USAGE of sysexits.h, as the agent's.
const USAGE: u8 = 64;

/// A gateway between NixFleet agents and NATS.
///
/// Agents connect to it by WebSocket as to a dashboard. What they say is kept in NATS, where dashboards and the command
/// `nixfleet` find it. Any number of gateways can stand behind one address.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Subcommands>,

    /// Settings [default: /etc/nixfleet/gateway.toml, if it is there]
    #[arg(long, short, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Check the settings, and the files that they name
    CheckConfig,
    /// Make a new token for a host, and the line for `tokens_file`
    Token {
        /// The host; * is any host
        host: String,
        /// New file for the token; then only the line is printed
        file: Option<PathBuf>,
    },
    /// Make a new NKey, by which a program logs in to NATS
    Nkey {
        /// New file for its seed; then only the public key is printed
        file: Option<PathBuf>,
    },
}

const EXAMPLES: &str = "\
Each setting is also a variable: NIXFLEET_GATEWAY_NATS__SERVERS is `servers` in the table [nats].

Examples:
  nixfleet-gateway token web-1 web-1.token >> tokens
  nixfleet-gateway nkey gateway.nk
  NIXFLEET_GATEWAY_TOKENS_FILE=tokens NIXFLEET_GATEWAY_NATS__SERVERS=nats://127.0.0.1:4222 nixfleet-gateway";

/// Why the program ends, and its exit code.
type Failure = (u8, String);

fn main() -> ExitCode {
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // There is no way to report that the terminal is closed.
            drop(error.print());
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, message)) => {
            for line in message.lines() {
                eprintln!("nixfleet-gateway: {line}");
            }
            ExitCode::from(code)
        }
    }
}

/// The command line. `--version` is the long form of `-V`.
fn parse() -> Result<Arguments, clap::Error> {
    let version: &str = long_version(env!("CARGO_PKG_VERSION")).leak();
    let mut matches = Arguments::command().long_version(version).try_get_matches()?;
    Arguments::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut Arguments::command()))
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Some(Subcommands::Token { host, file }) => {
            let token = new_token(host).map_err(|why| (USAGE, why))?;
            let labels = ("token:               ", "line of tokens_file: ");
            return hand_out(file.as_deref(), labels, (&token.secret, &token.line));
        }
        Some(Subcommands::Nkey { file }) => {
            let pair = nkeys::KeyPair::new_user();
            let seed = pair.seed().map_err(|err| (1, format!("cannot make a key: {err}")))?;
            let labels = (
                "seed, for a file that only the program reads: ",
                "public key, for keys.conf of the servers:     ",
            );
            return hand_out(file.as_deref(), labels, (&seed, &pair.public_key()));
        }
        Some(Subcommands::CheckConfig) | None => {}
    }
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let settings =
        Settings::read(arguments.config.as_deref(), variables).map_err(|err| (USAGE, err.to_string()))?;
    log(&settings.log_level)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|err| (1, format!("cannot start: {err}")))?;
    runtime.block_on(async {
        if matches!(arguments.command, Some(Subcommands::CheckConfig)) {
            nixfleet_gateway::check_files(&settings).map_err(|err| (USAGE, chain(&err)))?;
            println!("The settings are right.");
            return Ok(());
        }
        serve(settings).await
    })
}

/// Prints a secret and what belongs to it. With a file the secret goes there, and the rest can be passed on.
fn hand_out(file: Option<&Path>, labels: (&str, &str), (secret, rest): (&str, &str)) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    let printed = match file {
        None => writeln!(output, "{} {secret}\n{} {rest}", labels.0, labels.1),
        Some(path) => {
            // Never over another secret.
            let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let written = new.and_then(|mut file| writeln!(file, "{secret}"));
            written.map_err(|err| (1, format!("cannot write {}: {err}", path.display())))?;
            writeln!(output, "{rest}")
        }
    };
    printed.map_err(|err| (1, format!("cannot print: {err}")))
}

async fn serve(settings: Settings) -> Result<(), Failure> {
    let serving = Serving::start(settings).await.map_err(failure)?;
    let (agents, health) = serving.addresses().map_err(|err| (1, format!("cannot listen: {err}")))?;
    for address in agents {
        tracing::info!("agents: {address}/ws");
    }
    tracing::info!("health: http://{health}/readyz");
    let orders = Arc::new(Orders::default());
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let (orders, mut signal) = (Arc::clone(&orders), listen(kind)?);
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                orders.end.notify_one();
            }
        });
    }
    let (reloads, mut hangup) = (Arc::clone(&orders), listen(SignalKind::hangup())?);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            reloads.reload.notify_one();
        }
    });
    serving.run(&orders, tell).await.map_err(failure)
}

fn failure(err: ServeError) -> Failure {
    let code = if err.is_of_settings() { USAGE } else { 1 };
    (code, chain(&err))
}

fn listen(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(|err| (1, format!("cannot handle signals: {err}")))
}

/// Tells the service manager what becomes of the gateway.
fn tell(stage: Stage) {
    match stage {
        Stage::Listening | Stage::Reloaded => notify(&[NotifyState::Ready]),
        // It compares the time with that of its own request.
        Stage::Reloading => match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(%error, "no time for the service manager"),
        },
        Stage::Ending(within) => {
            let within = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
            notify(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(within)]);
        }
    }
}

/// Tells the service manager. Without one there is nobody to tell.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "cannot tell the service manager");
    }
}

/// Logs to standard error.
fn log(level: &str) -> Result<(), Failure> {
    let filter: Targets =
        level.parse().map_err(|err| (USAGE, format!("`log_level`: {err}; use info or debug")))?;
    // The library of NATS says every message at `debug`, and errors that are logged here as well. Whoever wants that
    // names it: `info,async_nats=debug`.
    let filter =
        if level.contains('=') { filter } else { filter.with_target("async_nats", LevelFilter::OFF) };
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_target(false);
    let lines = if std::env::var_os("JOURNAL_STREAM").is_some() {
        // The journal adds the time and shows no colours.
        lines.with_ansi(false).without_time().boxed()
    } else {
        lines.with_ansi(io::stderr().is_terminal()).boxed()
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In `dist/man`.
    const PAGE: &str = include_str!("../../../dist/man/nixfleet-gateway.1");

    #[test]
    fn the_man_page_knows_every_option_subcommand_and_exit_code() {
        let arguments = Arguments::command();
        for name in arguments.get_subcommands().map(clap::Command::get_name) {
            assert!(PAGE.contains(&format!("\n.B {}\n", name.replace('-', "\\-"))), "no {name}");
        }
        for option in arguments.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(PAGE.contains(&format!("\\-\\-{}", option.replace('-', "\\-"))), "no --{option}");
        }
        for code in [0, 1, USAGE] {
            assert!(PAGE.contains(&format!("\n.B {code}\n")), "no exit code {code}");
        }
    }
}
