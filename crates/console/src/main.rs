//! The program `nixfleet-dashboard`.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use nixfleet_console::{
    Config, Console, Login, PromptError, Settings, StartError, check_name, login_line, new_password,
    new_session_key,
};
use nixfleet_fleet::ConnectError;
use nixfleet_os::error::chain;
use nixfleet_os::long_version;
use sd_notify::NotifyState;
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Exit code for wrong usage or settings, EX_USAGE of sysexits.h, as the agent's.
const USAGE: u8 = 64;

/// Exit code after Ctrl-C, as of a shell: 128 and the number of the signal.
const INTERRUPTED: u8 = 130;

/// Pause between two attempts to reach NATS at the start.
const PAUSE: Duration = Duration::from_secs(2);

/// The dashboard of a fleet that is kept in NATS.
///
/// It shows and commands the hosts that are connected to gateways. People log in by name and password, or a proxy in
/// front knows them. Any number of dashboards can show the same fleet.
#[derive(Debug, Parser)]
#[command(name = "nixfleet-dashboard", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Subcommands>,

    /// Settings [default: /etc/nixfleet/dashboard.toml, if it is there]
    #[arg(long, short, value_name = "FILE", global = true)]
    config: Option<PathBuf>,

    /// Address for browsers; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,

    /// Address of a NATS server; may be repeated
    #[arg(long, value_name = "URL")]
    nats: Vec<String>,

    /// File with credentials for NATS
    #[arg(long, value_name = "FILE", conflicts_with = "nkey_file")]
    credentials_file: Option<PathBuf>,

    /// File with the seed of an NKey for NATS
    #[arg(long, value_name = "FILE")]
    nkey_file: Option<PathBuf>,

    /// Certificates of NATS to trust in addition
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// What people write into their browsers, if a proxy is in front
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,

    /// Answer under this name, too; may be repeated
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,

    /// File with names and passwords
    #[arg(long, value_name = "FILE")]
    login_file: Option<PathBuf>,

    /// File with the key that signs sessions
    #[arg(long, value_name = "FILE")]
    session_key_file: Option<PathBuf>,

    /// Let everybody in who reaches the address, which must be of loopback
    #[arg(long)]
    no_login: bool,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Check the settings, and the files that they name
    CheckConfig,
    /// Make a line of `login_file` from a new password, which is asked for or piped in
    Password {
        /// Who has it
        name: String,
    },
    /// Make a new key for `session_key_file`
    SessionKey,
}

const EXAMPLES: &str = "\
Each setting is also a variable: NIXFLEET_DASHBOARD_NATS__SERVERS is `servers` in the table [nats].
Options override variables, which override the file.

Examples:
  nixfleet-dashboard --no-login --nats nats://127.0.0.1:4222    try it, on this machine only
  nixfleet-dashboard password anna >> logins
  (umask 077; nixfleet-dashboard session-key > session.key)";

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
                eprintln!("nixfleet-dashboard: {line}");
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

impl Arguments {
    /// The settings among the options: the option, the key and the value.
    fn options(&self) -> Vec<(&'static str, &'static str, Value)> {
        let path = |path: &Option<PathBuf>| path.as_deref().map(|path| path.display().to_string().into());
        let list = |words: &[String]| (!words.is_empty()).then(|| words.into());
        let values = [
            ("--listen", "listen", self.listen.map(|address| address.to_string().into())),
            ("--nats", "nats.servers", list(&self.nats)),
            ("--credentials-file", "nats.credentials_file", path(&self.credentials_file)),
            ("--nkey-file", "nats.nkey_file", path(&self.nkey_file)),
            ("--ca-file", "nats.ca_file", path(&self.ca_file)),
            ("--public-url", "public_url", self.public_url.clone().map(Value::from)),
            ("--allow-host", "allow_hosts", list(&self.allow_host)),
            ("--login-file", "login_file", path(&self.login_file)),
            ("--session-key-file", "session_key_file", path(&self.session_key_file)),
            ("--no-login", "no_login", self.no_login.then(|| true.into())),
        ];
        values.into_iter().filter_map(|(name, key, value)| Some((name, key, value?))).collect()
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Some(Subcommands::Password { name }) => return password(name),
        Some(Subcommands::SessionKey) => {
            println!("{}", new_session_key().map_err(|err| (1, format!("cannot read /dev/urandom: {err}")))?);
            return Ok(());
        }
        Some(Subcommands::CheckConfig) | None => {}
    }
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let config = Config::read(arguments.config.as_deref(), variables, &arguments.options())
        .map_err(|err| (USAGE, err.to_string()))?;
    log(&config.log_level)?;
    let login = Login::open(&config).map_err(|err| (USAGE, chain(&err)))?;
    if arguments.command.is_some() {
        println!("The settings are right.");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|err| (1, format!("cannot start: {err}")))?;
    runtime.block_on(serve(&config, login))
}

/// Prints the line of the login file.
fn password(name: &str) -> Result<(), Failure> {
    check_name(name).map_err(|why| (USAGE, why))?;
    let password = new_password(name).map_err(|err| {
        let code = if matches!(err, PromptError::Interrupted) { INTERRUPTED } else { 1 };
        (code, err.to_string())
    })?;
    println!("{}", login_line(name, &password).map_err(|err| (USAGE, err.to_string()))?);
    Ok(())
}

async fn serve(config: &Config, login: Login) -> Result<(), Failure> {
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let (reloaded, mut hangup) = (login.clone(), listen(SignalKind::hangup())?);
    let reloads = async {
        while hangup.recv().await.is_some() {
            reload(&reloaded);
        }
    };
    let end = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        notify(&[NotifyState::Stopping]);
    };
    // A start of the whole machine must not wait until NATS is there.
    notify(&[NotifyState::Ready]);
    let mut end = std::pin::pin!(end);
    let serving = async {
        let console = tokio::select! {
            console = start(config, login) => console?,
            () = &mut end => return Ok(()),
        };
        tracing::info!("people: http://{}/", console.address());
        console.serve(end).await;
        Ok(())
    };
    tokio::select! {
        ended = serving => ended,
        // It cannot end, because the signal is listened to for ever.
        () = reloads => Ok(()),
    }
}

/// Connects to NATS, as often as it takes, and listens. The dashboard and the servers may start in any order.
async fn start(config: &Config, login: Login) -> Result<Console, Failure> {
    let settings = Settings { listen: config.listen, nats: config.nats.options("nixfleet-dashboard") };
    let mut said = String::new();
    loop {
        let err = match Console::behind(login.clone(), settings.clone()).await {
            Ok(console) => return Ok(console),
            Err(StartError::Nats(err @ ConnectError::Connect { .. })) => chain(&err),
            Err(err) => return Err((if is_of_settings(&err) { USAGE } else { 1 }, chain(&err))),
        };
        if said != err {
            tracing::warn!("{err}; it is tried again until it works");
            said = err;
        }
        sleep(PAUSE).await;
    }
}

/// Whether the settings are wrong, or a file that they name. It stays so until somebody changes them.
fn is_of_settings(err: &StartError) -> bool {
    matches!(
        err,
        StartError::Name(_)
            | StartError::Nats(
                ConnectError::Address { .. }
                    | ConnectError::NoServer
                    | ConnectError::Prefix(_)
                    | ConnectError::File { .. }
            )
    )
}

/// Reads the login file again, as ordered.
fn reload(login: &Login) {
    // The service manager compares the time with that of its own request.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no time for the service manager"),
    }
    login.reload();
    notify(&[NotifyState::Ready]);
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|err| (1, format!("cannot handle signals: {err}")))
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
    // The library of NATS says at `info` what `nixfleet_fleet` says as well. Whoever wants that names it:
    // `info,async_nats=debug`.
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
