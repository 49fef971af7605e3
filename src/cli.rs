//! The command line.
//!
//! ```text
//! run.rs        the start of the agent, and its end
//! reload.rs     SIGHUP: reading the token and the certificates anew
//! room.rs       what must be free for the start
//! status.rs     asks the agent of this host; answers such questions
//! logs.rs       the log of a job
//! doctor.rs     the findings of `doctor`, for people and programs
//! migrate.rs    the settings of the Go agent as settings of this one
//! guard.rs      the guard of a system on trial
//! gpu_reader.rs the process that has NVIDIA's library
//! vitals.rs     the vitals without a dashboard
//! wait_registered.rs  waits until the agent is registered
//! terminal.rs   colours, and text that is safe for a terminal
//! zone.rs       times in the time zone of the host
//! ```

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use nixfleet_config::{ABSENT, Config, Host, LauncherKind, Source};
use nixfleet_jobs::{Instance, supervisor};
use nixfleet_os::text::log_line;
use nixfleet_os::{core_dump, error, long_version, service_manager, signals};

use crate::doctor::Installed;
use crate::jobs::launcher::{self, PREFIX};
use crate::observe::journald::{self, Priority};
use crate::observe::systemd;
use crate::unit::AGENT_UNIT;

mod doctor;
mod first_facts;
mod gpu_reader;
mod guard;
mod logs;
mod migrate;
mod reload;
mod room;
mod run;
mod status;
mod terminal;
mod vitals;
mod wait_registered;
mod zone;

#[cfg(feature = "fuzzing")]
pub use vitals::heartbeat_conf;

/// Exit code for wrong usage or configuration (`EX_USAGE`).
const USAGE: u8 = 64;

/// Exit code when the program could not do its work.
const FAILURE: u8 = 1;

/// Keeps a NixOS host in touch with its fleet dashboard, also while it rebuilds itself.
#[derive(Debug, Parser)]
#[command(name = "nixfleet-agent", version, term_width = 80, after_help = AFTER_HELP)]
struct Cli {
    /// Configuration file; without it /etc/nixfleet/agent.toml is read if it exists
    #[arg(long, short, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// For callers of the Go agent: the same as `check-config`
    #[arg(long, hide = true)]
    check: bool,
    /// For callers of the Go agent: the same as `-V`
    #[arg(short = 'v', hide = true, action = ArgAction::Version)]
    version_as_before: Option<bool>,
    #[command(subcommand)]
    command: Option<Subcommands>,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Run the agent (the default); on SIGHUP it reads the token and the certificates anew
    Run,
    /// Check the configuration and exit: 0 if it is good, 64 with one line for each problem
    CheckConfig,
    /// Ask the agent of this host how it is
    Status(status::Options),
    /// Show the log of a job of this host
    Logs(logs::Options),
    /// Look for what is wrong with this host's agent, and say what to do about it
    Doctor(doctor::Options),
    /// Print the settings of the Go agent of this host as settings of this one, and what will be different
    Migrate(migrate::Options),
    /// Show the vitals of this machine, once or for ever; needs no dashboard
    Vitals(vitals::Options),
    /// Keep the settings for a start of the agent with a wrong file; started by the agent's unit, as root
    #[command(hide = true)]
    KeepSettings,
    /// Wait until the agent of this host is registered with its dashboard; 1 if that takes too long
    WaitRegistered(wait_registered::Options),
    /// Supervise one job; started by the agent
    #[command(hide = true)]
    ExecJob {
        /// `<command>-<job id>`
        instance: Instance,
    },
    /// Guard the way back from a new system; started by the supervisor of a switch
    #[command(hide = true)]
    ExecGuard {
        /// Start it as a process that belongs to nobody, and return
        #[arg(long)]
        detach: bool,
        /// The job, by its id or by the path of its folder
        job: String,
    },
    /// Read NVIDIA's GPUs for the agent, which must not load their driver's library; started by the agent
    #[command(hide = true)]
    GpuReader {
        /// Paths of NVIDIA's library, in the order in which they are tried
        #[arg(required = true)]
        libraries: Vec<PathBuf>,
    },
}

const AFTER_HELP: &str = "\
The environment is enough to start:
  NIXFLEET_URL=wss://dash.example/ws NIXFLEET_TOKEN_FILE=/run/token \\
    nixfleet-agent

Every setting is a key of the file and a variable: repo.branch is
NIXFLEET_REPO__BRANCH.";

/// Runs the program and returns its exit code: 0 for success, 64 for wrong usage or configuration, 1 for
/// other failures.
pub fn main() -> ExitCode {
    // Before any secret is read. The watchdog of the service manager ends a hanging agent by SIGABRT, which
    // writes a core file.
    if let Err(err) = core_dump::forbid() {
        complain(Priority::Warning, &format!("warning: core files of this process may hold secrets: {err}"));
    }
    if let Err(err) = signals::survive_file_size_limit() {
        complain(
            Priority::Warning,
            &format!("warning: a limit of the size of files would end this process: {err}"),
        );
    }
    let cli = parse(std::env::args_os().collect()).unwrap_or_else(|err| {
        // `--help` and `--version` also arrive here; they are not errors.
        let code = if err.use_stderr() { i32::from(USAGE) } else { 0 };
        if err.use_stderr() && journald::is_stderr() {
            let text = Priority::Error.mark(&err.render().to_string());
            drop(io::stderr().write_all(text.as_bytes()));
        } else {
            drop(err.print());
        }
        std::process::exit(code)
    });
    let source = Source::new(cli.config, std::env::vars_os()).map_err(|err| usage(&err));
    let command = effective_subcommand(cli.check, cli.command);
    let result = source.and_then(|source| match command? {
        Subcommands::Run => run::run(&source),
        Subcommands::CheckConfig => check_config(&source),
        Subcommands::Status(options) => status::run(&source, &options),
        Subcommands::Doctor(options) => doctor::run(&source, &options),
        Subcommands::Logs(options) => logs::run(&source, &options),
        Subcommands::Migrate(options) => migrate::run(&source, &options),
        Subcommands::Vitals(options) => vitals::run(&source, &options),
        Subcommands::KeepSettings => keep_settings(&source),
        Subcommands::WaitRegistered(options) => wait_registered::run(&source, &options),
        Subcommands::ExecJob { instance } => exec_job(&source, &instance),
        Subcommands::ExecGuard { detach, job } => guard::run(&source, &job, detach),
        Subcommands::GpuReader { libraries } => gpu_reader::run(libraries),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // `systemctl status` shows the text, and the launcher of jobs asks for it.
            systemd::status(&failure.to_string().lines().collect::<Vec<_>>().join("; "));
            complain(Priority::Error, &failure.to_string());
            ExitCode::from(match failure {
                Failure::Usage(_) => USAGE,
                Failure::Start(_) => FAILURE,
                Failure::Reported(code) => code,
            })
        }
    }
}

/// The command line of this process. `--version` is the long form of `-V`.
fn parse(words: Vec<OsString>) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    // The commit is in a file, which nobody else needs.
    if words.iter().any(|word| word == "--version") {
        command = command.long_version(&*long_version(env!("CARGO_PKG_VERSION")).leak());
    }
    // Behind `help`, clap names no word that is near to an unknown one.
    let is_help = words.get(1).is_some_and(|word| word == "help");
    let without_help = is_help.then(|| [&words[..1], &words[2..]].concat());
    let is_unknown = |err: &clap::Error| err.kind() == ErrorKind::InvalidSubcommand;
    let mut matches = command.try_get_matches_from_mut(words).map_err(|err| {
        let words = without_help.filter(|_| is_unknown(&err));
        let again = words.and_then(|words| command.try_get_matches_from_mut(words).err());
        again.filter(is_unknown).unwrap_or(err)
    })?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|err| err.format(&mut Cli::command()))
}

/// The subcommand to run. `--check` was an option of the Go agent, so it comes without a subcommand.
fn effective_subcommand(check: bool, command: Option<Subcommands>) -> Result<Subcommands, Failure> {
    match command {
        None | Some(Subcommands::Run | Subcommands::CheckConfig) if check => Ok(Subcommands::CheckConfig),
        Some(_) if check => {
            Err(Failure::Usage("--check goes with no subcommand; use nixfleet-agent check-config".to_owned()))
        }
        command => Ok(command.unwrap_or(Subcommands::Run)),
    }
}

/// Writes to standard error, with the name of the program before each line, and its priority in the journal.
fn complain(priority: Priority, text: &str) {
    /// Longest line in characters, as in the log.
    const LONGEST: usize = 4096;
    let clean = |line| log_line(line, LONGEST, false);
    let text: String = text.lines().map(|line| format!("{PREFIX}{}\n", clean(line))).collect();
    let text = if journald::is_stderr() { priority.mark(&text) } else { text };
    drop(io::stderr().write_all(text.as_bytes()));
}

/// Why the program fails.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Start(String),
    /// The output already says why; only the exit code is left.
    #[error("")]
    Reported(u8),
}

fn usage(err: &impl ToString) -> Failure {
    Failure::Usage(err.to_string())
}

fn check_config(source: &Source) -> Result<(), Failure> {
    let installed = Installed::load(source, Config::check).map_err(|err| usage(&err))?;
    let lines = warnings(&installed.source, &installed.config).into_iter().chain(installed.warnings.clone());
    // Settings may be checked on the machine that builds them. An agent that is installed here needs its files here.
    let is_needed = |line: &String| installed.unit.is_some() && line.ends_with(ABSENT);
    let (missing, warnings): (Vec<String>, Vec<String>) = lines.partition(is_needed);
    for warning in warnings {
        complain(Priority::Warning, &format!("warning: {warning}"));
    }
    if !missing.is_empty() {
        let line = |line: String| format!("{line}; {AGENT_UNIT} cannot connect without it, so write it");
        return Err(Failure::Usage(missing.into_iter().map(line).collect::<Vec<_>>().join("\n")));
    }
    let of_unit =
        installed.of_unit().map_or_else(String::new, |unit| format!(" (with the settings of {unit})"));
    let Config { connection, host, .. } = installed.config;
    drop(writeln!(
        io::stdout(),
        "The configuration is good: {} reports to {} every {} s{of_unit}.",
        host.hostname,
        connection.url,
        connection.interval.as_secs()
    ));
    Ok(())
}

fn warnings(source: &Source, config: &Config) -> Vec<String> {
    let mut lines = config.warnings.clone();
    if config.host.jobs.launcher == LauncherKind::Systemd {
        lines.extend(nixfleet_config::unseen_by_units(source));
    }
    lines
}

/// For the agent's group, which reads the copy, and for nobody else.
const KEPT_UMASK: u32 = 0o027;

fn keep_settings(source: &Source) -> Result<(), Failure> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(KEPT_UMASK));
    let said = nixfleet_config::keep_settings(source).map_err(|why| {
        Failure::Start(format!("the settings cannot be kept for a start with a wrong file: {why}"))
    })?;
    if let Some(line) = said {
        complain(Priority::Warning, &format!("warning: {line}"));
    }
    Ok(())
}

fn exec_job(source: &Source, instance: &Instance) -> Result<(), Failure> {
    let (host, last_good) = Host::for_job(source).map_err(|err| usage(&err))?;
    let mut settings = host.job_settings();
    if let Some(used) = last_good {
        settings.remarks.push(used.sentence());
        settings.remarks.extend(used.lines());
    }
    let ready = || {
        systemd::ready();
        if !service_manager::is_supervised() {
            // The agent may have ended by now. The job runs anyway.
            drop(writeln!(io::stdout(), "{}", launcher::READY).and_then(|()| io::stdout().flush()));
        }
    };
    supervisor::run(&settings, instance, ready).map_err(|err| Failure::Start(error::chain(&err)))
}

/// The returned flag becomes true on SIGTERM or SIGINT.
///
/// # Errors
/// When the signals cannot be caught.
fn listen_for_signals() -> Result<watch::Receiver<bool>, Failure> {
    let listen =
        |kind| signal(kind).map_err(|err| Failure::Start(format!("cannot listen for signals: {err}")));
    let (mut term, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => tracing::info!("Ending on SIGTERM."),
            _ = interrupt.recv() => tracing::info!("Ending on SIGINT."),
        }
        sender.send_replace(true);
        // Receivers treat a dropped sender as a request to end, so keep it until they are gone.
        sender.closed().await;
    });
    Ok(receiver)
}

#[cfg(test)]
mod tests;
