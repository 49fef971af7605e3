//! The program `nixfleet-mock-dashboard`.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

use std::env;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use nixfleet_dashboard::{BindError, Dashboard, Options, Strict};
use nixfleet_os::{bounded_read, long_version};

mod demo;

/// A NixFleet dashboard in memory, to try out and test agents.
///
/// Nothing is stored, and everybody who can open the page can run commands on its agents. Use it on
/// loopback or in a virtual machine only.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Subcommands>,

    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Run a dashboard, an agent and a temporary repository on this machine
    Demo(demo::Options),
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// Address and port to listen on; port 0 takes a free port
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,

    /// Token that agents must present [default: --token-file, then $NIXFLEET_TOKEN]
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    token: Option<String>,

    /// File with the token; a line end after the token is ignored
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Token that POST requests must have in X-CSRF-Token [default: a random one]
    #[arg(long, value_name = "TOKEN")]
    csrf_token: Option<String>,

    /// Behave as existing NixFleet dashboards do, and report what they could not handle: as warnings, on
    /// the page, and at /api/violations
    #[arg(long)]
    strict: bool,

    /// Name or address under which the dashboard answers, besides localhost and its own addresses; may be given
    /// several times
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,

    /// What to log: error, warn, info, debug or trace [default: $NIXFLEET_LOG_LEVEL, then info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  nixfleet-mock-dashboard demo

  nixfleet-mock-dashboard --token secret --csrf-token c &
  NIXFLEET_URL=ws://127.0.0.1:8000/ws NIXFLEET_TOKEN=secret nixfleet-agent &
  curl -s http://127.0.0.1:8000/api/hosts
  curl -s -H 'X-CSRF-Token: c' -d '{\"command\":\"pull\"}' \\
    http://127.0.0.1:8000/api/hosts/$(hostname)/command";

/// Longest token file read, in bytes, as in the agent.
const MAX_TOKEN_FILE: u64 = 16 * 1024;

/// Exit code for wrong usage, EX_USAGE of sysexits.h.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    // For clap, help and version are errors with exit code 0.
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // There is no way to report that the terminal is closed.
            drop(error.print());
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, message)) => {
            eprintln!("nixfleet-mock-dashboard: {message}");
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

fn run(arguments: Arguments) -> Result<(), (u8, String)> {
    if let Some(Subcommands::Demo(options)) = &arguments.command {
        return demo::run(options).map_err(|message| (1, message));
    }
    let arguments = arguments.serve;
    let level = arguments.log_level.clone().or_else(|| env::var("NIXFLEET_LOG_LEVEL").ok());
    let _log = log(level.as_deref().unwrap_or("info"))?;
    let token = token(&arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| (1, format!("cannot start: {error}")))?;
    let options = Options {
        listen: arguments.listen,
        token,
        csrf_token: arguments.csrf_token,
        strict: arguments.strict.then(Strict::default),
    };
    runtime.block_on(serve(options, &arguments.allow_host))
}

/// Logs to standard error. The only thread never waits for a slow reader there; lines that are too many
/// are dropped. They are written as long as the guard lives.
fn log(level: &str) -> Result<WorkerGuard, (u8, String)> {
    let filter: Targets = level.parse().map_err(|error| (USAGE, format!("bad log level: {error}")))?;
    let (writer, guard) = tracing_appender::non_blocking(io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false);
    let lines = if env::var_os("JOURNAL_STREAM").is_some() {
        // The journal adds the time and shows no colours.
        lines.with_ansi(false).without_time().boxed()
    } else {
        lines.with_ansi(io::stderr().is_terminal()).boxed()
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    Ok(guard)
}

fn token(arguments: &Serve) -> Result<String, (u8, String)> {
    let token = if let Some(token) = &arguments.token {
        token.clone()
    } else if let Some(file) = &arguments.token_file {
        let bytes = bounded_read::read(file, MAX_TOKEN_FILE)
            .map_err(|error| (USAGE, format!("cannot read the token file {}: {error}", file.display())))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| (USAGE, format!("the token file {} is not UTF-8", file.display())))?;
        text.strip_suffix('\n')
            .map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line))
            .to_owned()
    } else {
        env::var("NIXFLEET_TOKEN").unwrap_or_default()
    };
    if token.is_empty() {
        let fix = "no token for the agents: give --token, --token-file or set NIXFLEET_TOKEN";
        return Err((USAGE, fix.to_owned()));
    }
    Ok(token)
}

async fn serve(options: Options, names: &[String]) -> Result<(), (u8, String)> {
    let asked = options.listen;
    let mut dashboard = Dashboard::bind(options).await.map_err(|error| match &error {
        BindError::Listen { address, source } if source.kind() == io::ErrorKind::AddrInUse => (
            1,
            format!(
                "{address} is in use by another program: stop that one, or choose another port with --listen"
            ),
        ),
        BindError::Listen { address, source } => (1, format!("cannot listen on {address}: {source}")),
        BindError::Random(source) => (1, format!("{error}: {source}")),
        BindError::EmptyToken | BindError::BadCsrfToken => (USAGE, error.to_string()),
    })?;
    for name in names {
        dashboard = dashboard.allow_host(name).map_err(|error| (USAGE, format!("--allow-host: {error}")))?;
    }
    if !asked.ip().is_loopback() {
        eprintln!(
            "warning: {asked} can be reached by others, and this is a mock for tests without any login"
        );
    }
    let signals = |kind| signal(kind).map_err(|error| (1, format!("cannot handle signals: {error}")));
    let (mut interrupt, mut terminate) =
        (signals(SignalKind::interrupt())?, signals(SignalKind::terminate())?);
    println!("page:        http://{}/", dashboard.address());
    println!("agents:      NIXFLEET_URL=ws://{}/ws", dashboard.address());
    println!("CSRF token:  {}", dashboard.csrf_token());
    dashboard
        .serve(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
        .await;
    Ok(())
}
