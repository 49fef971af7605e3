//! The command line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use rustix::fs::{FlockOperation, flock};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::facts;
use super::facts::installed::own_place;
use super::heartbeat::Snapshots;
use super::jobs::executor::HostExecutor;
use super::jobs::launcher;
use super::jobs::launcher::{Direct, Launcher, PREFIX, Systemd};
use super::jobs::table::JobTable;
use super::link::agent::Agent;
use super::link::run::Exit;
use super::observe::journald::{self, Priority};
use super::observe::status::ASKS;
use super::observe::systemd;
use super::observe::telemetry;
use super::wire;
use nixfleet_config;
use nixfleet_config::{Config, Connection, Host, LauncherKind, Source, TokenSource};
use nixfleet_jobs::record::Records;
use nixfleet_jobs::{Instance, JobsDir, supervisor};
use nixfleet_os::{error, service_manager};
use nixfleet_vitals::device;
use nixfleet_vitals::device::Meters;
use nixfleet_vitals::prewarm;
use nixfleet_vitals::prewarm::Hook;
use nixfleet_vitals::{gpu, stasysmo};

mod doctor;
mod logs;
mod status;
mod terminal;
mod vitals;

/// Wrong usage or configuration (`EX_USAGE`).
const USAGE: u8 = 64;

/// Could not start, or could not run the job.
const FAILURE: u8 = 1;

/// How long the first connection waits for the first look at the machine, so that the first
/// heartbeat has it. A look takes a millisecond; a disk that hangs must not keep the agent off.
const FIRST_LOOK: Duration = Duration::from_millis(250);

/// Keeps a NixOS host in touch with its fleet dashboard, also while it rebuilds itself.
#[derive(Debug, Parser)]
#[command(name = "nixfleet-agent", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    /// Configuration file; without it /etc/nixfleet/agent.toml is read if it exists
    #[arg(long, short, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Subcommands>,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Run the agent (the default)
    Run,
    /// Check the configuration and exit: 0 if it is good, 64 with one line for each problem
    CheckConfig,
    /// Ask the agent of this host how it is
    Status {
        /// The whole answer as one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Show the log of a job of this host
    Logs(logs::Options),
    /// Look for what is wrong with this host's agent, and say what to do about it
    Doctor(doctor::Options),
    /// Show the vitals of this machine, once or for ever; needs no dashboard
    Vitals(vitals::Options),
    /// Supervise one job; started by the agent
    #[command(hide = true)]
    ExecJob {
        /// `<command>-<job id>`
        instance: Instance,
    },
}

const AFTER_HELP: &str = "\
The environment is enough to start:
  NIXFLEET_URL=wss://dash.example/ws NIXFLEET_TOKEN_FILE=/run/token nixfleet-agent

Every setting is a key of the file and a variable: repo.branch is NIXFLEET_REPO__BRANCH.";

/// Runs the program; returns its exit code: 0 when asked to end, 64 for wrong usage or
/// configuration, 1 when it could not start.
pub fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|err| {
        // `--help` and `--version` arrive here as well, and are no mistakes.
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
    let result = source.and_then(|source| match cli.command.unwrap_or(Subcommands::Run) {
        Subcommands::Run => run(&source),
        Subcommands::CheckConfig => check_config(&source),
        Subcommands::Status { json } => status::run(&source, json),
        Subcommands::Doctor(options) => doctor::run(&source, &options),
        Subcommands::Logs(options) => logs::run(&source, &options),
        Subcommands::Vitals(options) => vitals::run(&source, &options),
        Subcommands::ExecJob { instance } => exec_job(&source, &instance),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // `systemctl status` shows it, and the launcher asks for it.
            systemd::status(&failure.to_string().lines().collect::<Vec<_>>().join("; "));
            complain(Priority::Error, &failure.to_string());
            ExitCode::from(match failure {
                Failure::Usage(_) => USAGE,
                Failure::Start(_) => FAILURE,
                Failure::Told(code) => code,
            })
        }
    }
}

/// Writes to standard error, with the name of the program before each line, and its priority in the journal.
fn complain(priority: Priority, text: &str) {
    let text: String = text.lines().map(|line| format!("{PREFIX}{line}\n")).collect();
    let text = if journald::is_stderr() { priority.mark(&text) } else { text };
    drop(io::stderr().write_all(text.as_bytes()));
}

/// Why the program ends early.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Start(String),
    /// All has been said already; the exit code is left.
    #[error("")]
    Told(u8),
}

fn usage(err: &impl ToString) -> Failure {
    Failure::Usage(err.to_string())
}

fn check_config(source: &Source) -> Result<(), Failure> {
    let config = Config::load(source).map_err(|err| usage(&err))?;
    for warning in warnings(source, &config).into_iter().chain(missing_files(&config.connection)) {
        complain(Priority::Warning, &format!("warning: {warning}"));
    }
    let Config { connection, host } = config;
    drop(writeln!(
        io::stdout(),
        "The configuration is good: {} reports to {} every {} s.",
        host.hostname,
        connection.url,
        connection.interval.as_secs()
    ));
    Ok(())
}

fn warnings(source: &Source, config: &Config) -> Vec<String> {
    let mut lines = nixfleet_config::warnings(source);
    if config.host.jobs.launcher == LauncherKind::Systemd {
        lines.extend(nixfleet_config::unseen_by_units(source));
    }
    lines
}

/// Not an error: a configuration is checked where it is built as well, and the files are elsewhere.
fn missing_files(connection: &Connection) -> Vec<String> {
    let token = match &connection.token {
        TokenSource::File(path) => Some(("token_file", path)),
        TokenSource::Environment(_) => None,
    };
    let named = token.into_iter().chain(connection.ca_file.as_ref().map(|path| ("ca_file", path)));
    named
        .filter(|(_, path)| !path.exists())
        .map(|(key, path)| format!("{key}: {} does not exist on this machine", path.display()))
        .collect()
}

fn exec_job(source: &Source, instance: &Instance) -> Result<(), Failure> {
    let host = Host::load(source).map_err(|err| usage(&err))?;
    let ready = || {
        systemd::ready();
        if !service_manager::is_supervised() {
            // Nobody may be listening any more, which does not concern the job.
            drop(writeln!(io::stdout(), "{}", launcher::READY).and_then(|()| io::stdout().flush()));
        }
    };
    supervisor::run(&host.job_settings(), instance, ready).map_err(|err| Failure::Start(error::chain(&err)))
}

fn run(source: &Source) -> Result<(), Failure> {
    let config = Config::load(source).map_err(|err| usage(&err))?;
    let log = telemetry::start(&config.host.log_level).map_err(|err| usage(&err))?;
    for warning in warnings(source, &config) {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Name resolution and certificates for one connection at a time.
        .max_blocking_threads(4)
        .thread_keep_alive(Duration::from_secs(1))
        .build()
        .map_err(|err| Failure::Start(format!("cannot start the runtime: {err}")))?;
    let exit = runtime.block_on(serve(config, source.file.clone()));
    // Whatever still hangs in a read is not waited for.
    runtime.shutdown_background();
    let exit = exit?;
    tracing::info!("Ended.");
    drop(log);
    match exit {
        Exit::Restart if !service_manager::is_supervised() => Err(replace_process()),
        Exit::Shutdown | Exit::Restart => Ok(()),
    }
}

/// Without a service manager, the agent itself has to see to it that there is one again.
fn replace_process() -> Failure {
    let program = installed_program();
    let err = Command::new(&program).args(std::env::args_os().skip(1)).exec();
    Failure::Start(format!("cannot restart {}: {err}", program.display()))
}

/// What is installed where this program was: the new one after an upgrade.
fn installed_program() -> PathBuf {
    let place = std::env::current_exe().map(|running| own_place(&running));
    place.ok().filter(|place| place.exists()).unwrap_or_else(own_program)
}

/// Keeps a second agent away from the same jobs. None, with a warning, where no lock can be made: a
/// disk that is full or broken must not keep the agent from the dashboard.
fn only_agent(host: &Host) -> Result<Option<File>, Failure> {
    let folder = host.own_dir();
    let path = folder.join("lock");
    let made = std::fs::create_dir_all(&folder);
    let opened = made.and_then(|()| OpenOptions::new().write(true).create(true).truncate(false).open(&path));
    let file = match opened {
        Ok(file) => file,
        Err(err) => {
            tracing::warn!(
                "Cannot make {}: {err}. Commands will fail until the folder can be written.",
                path.display()
            );
            return Ok(None);
        }
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Failure::Start(format!(
            "another agent runs with the state folder {}; stop it, or set NIXFLEET_STATE_DIR to another folder",
            host.state_dir.display()
        ))),
        _ => Ok(Some(file)),
    }
}

async fn serve(config: Config, file: Option<PathBuf>) -> Result<Exit, Failure> {
    let Config { connection, host } = config;
    let _lock = only_agent(&host)?;
    let shutdown = listen_for_signals()?;
    let facts = facts::spawn(&host);
    let metrics = stasysmo::spawn(host.paths.stasysmo.clone(), connection.interval);
    drop(tokio::time::timeout(FIRST_LOOK, facts.looked()).await);

    let folder = JobsDir::new(&host.jobs.dir);
    let records = Records::new(host.own_dir().join("delivery"));
    let launcher: Arc<dyn Launcher> = match host.jobs.launcher {
        LauncherKind::Direct => Arc::new(Direct::new(own_program(), file)),
        LauncherKind::Systemd => Arc::new(Systemd::default()),
    };
    let boot_id = nixfleet_os::boot_id(&host.paths.proc);
    let (accepted, carried_out) = records.open(&folder, boot_id.as_deref());
    let (executor, events) = HostExecutor::open(launcher, folder, records, boot_id)
        .map_err(|err| Failure::Start(format!("cannot start a thread: {err}")))?;
    let mut jobs = JobTable::resume(accepted, Box::new(executor));
    carried_out.into_iter().for_each(|record| jobs.carried_out(record));
    if let Some(record) = jobs.current_record().cloned() {
        drop(tokio::time::timeout(FIRST_LOOK, jobs.looked_at()).await);
        tracing::info!(command = record.command, job = %record.id, "Picked up a command that an earlier agent started.");
    }
    let meters = Arc::new(Meters::start(&host.vitals_settings(), connection.interval));
    let hook = prewarm_hook(&host);
    let about = status::About::new(&connection, &host, &meters, hook.clone());
    let prewarm = watch_gpus(&host, &meters, hook);
    let snapshots = Snapshots {
        facts: facts.watch(),
        metrics: metrics.watch(),
        vitals: {
            let (meters, device_id) = (Arc::clone(&meters), host.hostname.clone());
            let enabled = host.vitals.enabled;
            Box::new(move |now| {
                enabled.then(|| Box::new(wire::vitals::message(meters.read(&device_id, now))))
            })
        },
        prewarm: prewarm.watch(),
        look: Box::new(move || {
            meters.vitals().refresh();
            facts.looked()
        }),
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"), hostname = host.hostname, url = %connection.url,
        interval = connection.interval.as_secs(), "Started."
    );
    let (asker, asks) = mpsc::channel(ASKS);
    about.answer(asker).await;
    systemd::ready();
    let agent = Agent::new(host, connection.interval, jobs, events, snapshots, asks);
    let exit = agent.run(&connection, shutdown).await;
    systemd::stopping();
    Ok(exit)
}

fn prewarm_hook(host: &Host) -> Option<Hook> {
    let started = Hook::program(host.prewarm.hook.clone()?);
    started.map_err(|err| tracing::warn!("No thread for the pre-warm hook: {err}.")).ok()
}

/// Watches the GPUs for stress.
fn watch_gpus(host: &Host, meters: &Meters, hook: Option<Hook>) -> prewarm::Watcher {
    let load = |snapshot: &Option<gpu::Snapshot>| {
        snapshot.as_ref().map(|snapshot| device::gpu_load(&snapshot.gpus)).unwrap_or_default()
    };
    prewarm::watch(host.prewarm.limits, meters.gpus().watch(), load, hook)
}

/// The running binary itself, even if the file has been replaced since.
fn own_program() -> PathBuf {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { running } else { std::env::current_exe().unwrap_or(running) }
}

/// Becomes true on SIGTERM or SIGINT.
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
        // The receiver takes a sender that is gone for a request as well; this one is there till the end.
        sender.closed().await;
    });
    Ok(receiver)
}

#[cfg(test)]
mod tests;
