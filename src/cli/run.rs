//! The start of the agent, and its end.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use nixfleet_config::{Config, Connection, Host, LauncherKind, Source, Started, TokenError, TokenSource};
use nixfleet_jobs::activation::Activations;
use nixfleet_jobs::supervisor::RESTARTS;
use nixfleet_jobs::{JobsDir, rollback};
use nixfleet_os::disk::{File, Lock, Open, PRIVATE};
use nixfleet_os::{Disk, Processes, service_manager, signals};
use nixfleet_vitals::device::{self, Meters};
use nixfleet_vitals::gpu;
use nixfleet_vitals::prewarm::{self, Hook};

use super::first_facts::{FIRST_RESULTS, WithFacts};
use super::room::{wait_for_files, wait_for_room};
use super::{Failure, complain, listen_for_signals, reload, status, usage, warnings};
use crate::facts::installed::own_place;
use crate::heartbeat::Snapshots;
use crate::jobs::launcher::{Direct, Launcher, Systemd};
use crate::jobs::resume;
use crate::link::agent::Agent;
use crate::link::alarm::Alarm;
use crate::link::clock_changes::ClockChanges;
use crate::link::contact::Contact;
use crate::link::rotation::Rotation;
use crate::link::run::Exit;
use crate::observe::journald::Priority;
use crate::observe::status::ASKS;
use crate::observe::{systemd, telemetry};
use crate::unit::{self, AGENT_UNIT};
use crate::{facts, wire};

/// Mode of the state folder, as far as the umask allows: people who may read logs go through it.
const STATE_MODE: u32 = 0o755;

/// Runs the agent until it is asked to stop or to restart.
pub(super) fn run(source: &Source) -> Result<(), Failure> {
    // A file that cannot be opened would count as a wrong configuration, after which nobody starts the agent again.
    wait_for_files()?;
    let mut started = Config::start(source).map_err(|err| usage(&err))?;
    name_missing_token(&mut started.config.connection);
    // More is needed from here on, and other processes may have taken it meanwhile.
    wait_for_room()?;
    if let Err(err) = signals::survive(&[]) {
        complain(
            Priority::Warning,
            &format!("warning: signals without a meaning would end this process: {err}"),
        );
    }
    if let Ok(blocked) = signals::blocked()
        && !blocked.is_empty()
    {
        let text = format!(
            "warning: whoever started this process has blocked {}, so such a signal does not end it; SIGKILL does",
            blocked.join(", ")
        );
        complain(Priority::Warning, &text);
    }
    let log = telemetry::start(&started.config.host.log_level).map_err(|err| usage(&err))?;
    if let Some(used) = &started.last_good {
        tracing::error!("{}.", used.sentence());
        for line in used.lines() {
            tracing::error!("The settings file: {line}");
        }
    }
    for warning in warnings(source, &started.config) {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Enough for name resolution and certificates of one connection.
        .max_blocking_threads(4)
        .thread_keep_alive(Duration::from_secs(1))
        .build()
        .map_err(|err| Failure::Start(format!("cannot start the runtime: {err}")))?;
    let file = source.file.clone();
    // A task of its own: another task wakes it without a system call, and the future of `block_on` only with one.
    let ended = runtime.block_on(async move { tokio::spawn(serve(started, file)).await });
    // Nothing cancels it.
    let exit = ended.unwrap_or_else(|panicked| resume_unwind(panicked.into_panic()));
    // Do not wait for threads that hang in a read.
    runtime.shutdown_background();
    let exit = exit?;
    tracing::info!("Ended.");
    drop(log);
    match exit {
        Exit::Restart(times) if !service_manager::is_supervised() => Err(replace_process(times)),
        // A service manager waits a second before each start.
        Exit::Shutdown | Exit::Restart(_) => Ok(()),
    }
}

/// Finds out which file is missing, if systemd had no token to pass. Only the unit has its path.
fn name_missing_token(connection: &mut Connection) {
    let TokenSource::File(path) = &connection.token else { return };
    // Another file may come while the agent runs, and is looked at for each connection.
    let is_credential =
        std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|folder| path.starts_with(folder));
    if is_credential
        && matches!(connection.token.read(), Err(TokenError::NotPassed { .. }))
        && let Some(file) = unit::find(AGENT_UNIT).and_then(|unit| unit.credential("token"))
    {
        let was_there = file.exists();
        connection.token = TokenSource::NotPassed { file, was_there };
    }
}

/// Replaces this process by a new agent. Without a service manager nobody else would start one.
fn replace_process(times: u32) -> Failure {
    let program = installed_program();
    let mut command = Command::new(&program);
    let err = command.args(std::env::args_os().skip(1)).env(RESTARTS, times.to_string()).exec();
    Failure::Start(format!("cannot restart {}: {err}", program.display()))
}

/// The program at the path this one was started from: after an upgrade, the new version.
fn installed_program() -> PathBuf {
    let path = std::env::current_exe().map(|running| own_place(&running));
    path.ok().filter(|path| path.exists()).unwrap_or_else(own_program)
}

/// Locks the state folder, so that no second agent uses the same jobs. If the lock file cannot be created,
/// logs a warning and returns `None`: a full or broken disk must not keep the agent from connecting.
///
/// # Errors
/// When another agent holds the lock.
fn only_agent(host: &Host) -> Result<Option<File>, Failure> {
    let folder = host.own_dir();
    let path = folder.join("lock");
    let opened = private_folder(host, &folder).and_then(|()| Disk::real().open(&path, Open::Keep));
    let file = match opened {
        Ok(file) => file,
        Err(err) => {
            tracing::warn!(
                "Cannot lock {}: {err}. Nothing keeps a second agent away, and commands may fail: make it a \
                 regular file that can be written.",
                path.display()
            );
            return Ok(None);
        }
    };
    match file.lock(Lock::Exclusive) {
        Ok(false) => Err(Failure::Start(format!(
            "another agent runs with the state folder {}; stop it, or set NIXFLEET_STATE_DIR to another folder",
            host.state_dir.display()
        ))),
        _ => Ok(Some(file)),
    }
}

/// Makes the agent's own folder, for its user alone. Whoever can open the lock in it can hold it and keep the agent from
/// starting, and who can write there can make up what the agent reports after a restart. The umask does not decide
/// about that: a folder of an earlier agent may be open.
fn private_folder(host: &Host, folder: &Path) -> io::Result<()> {
    let disk = Disk::real();
    disk.make_folders(&host.state_dir, STATE_MODE)?;
    disk.make_folders(folder, PRIVATE)?;
    let mode = std::fs::metadata(folder)?.permissions().mode();
    if mode & 0o077 != 0
        && let Err(err) = std::fs::set_permissions(folder, Permissions::from_mode(PRIVATE))
    {
        tracing::warn!("Other users can open files in {}, and cannot be kept out: {err}.", folder.display());
    }
    Ok(())
}

async fn serve(started: Started, file: Option<PathBuf>) -> Result<Exit, Failure> {
    let Started { config: Config { connection, host, .. }, last_good, proof } = started;
    let last_good = last_good.as_ref().map(wire::settings::last_good);
    let _lock = only_agent(&host)?;
    let shutdown = listen_for_signals()?;
    let asks_to_reload = reload::listen()?;
    let facts = facts::spawn(&host);
    // The thread reads while the rest is prepared and while the connection is made.
    let first_facts = facts.refresh();

    let activations = Activations::new(&host.job_settings(), &Processes::default());
    let folder = JobsDir::new(&host.jobs.dir).with_activations(activations);
    let launcher: Arc<dyn Launcher> = match host.jobs.launcher {
        LauncherKind::Direct => Arc::new(Direct::new(own_program(), file)),
        LauncherKind::Systemd => Arc::new(Systemd::default()),
    };
    let boot_id = nixfleet_os::boot_id(&host.paths.proc);
    let (jobs, events) = resume::open(launcher, folder, &host.own_dir(), boot_id)
        .map_err(|err| Failure::Start(format!("cannot start a thread: {err}")))?;
    drop(tokio::time::timeout(FIRST_RESULTS, jobs.looked_at()).await);
    if jobs.current().is_some() {
        jobs.current_span().in_scope(|| tracing::info!("Picked up a command that an earlier agent started."));
    }
    let measured =
        nixfleet_vitals::Settings { stasysmo: Some(host.paths.stasysmo.clone()), ..host.vitals_settings() };
    let meters = Arc::new(Meters::start(&measured, connection.interval));
    let hook = prewarm_hook(&host);
    let about =
        status::About::new(&connection, &host, &meters, hook.clone(), last_good.clone(), facts.watch());
    let prewarm = watch_gpus(&host, &meters, hook);
    let snapshots = Snapshots {
        facts: facts.watch(),
        stasysmo: meters.stasysmo(),
        vitals: {
            let (meters, device_id) = (Arc::clone(&meters), host.hostname.clone());
            let enabled = host.vitals.enabled;
            Box::new(move |now| {
                enabled.then(|| Box::new(wire::vitals::message(meters.read(&device_id, now))))
            })
        },
        expect: {
            let meters = Arc::clone(&meters);
            Box::new(move |next| meters.expect(next))
        },
        prewarm: prewarm.watch(),
        look: Box::new(move || {
            meters.vitals().refresh();
            facts.refresh()
        }),
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"), hostname = host.hostname, url = %connection.url,
        interval = connection.interval.as_secs(), "Started."
    );
    let (asker, asks) = mpsc::channel(ASKS);
    about.answer(asker).await;
    systemd::ready();
    let restarts = std::env::var(RESTARTS).ok().and_then(|times| times.parse().ok());
    let contact = Contact::new(
        JobsDir::new(&host.jobs.dir),
        host.own_dir().join(rollback::Contact::FILE),
        nixfleet_os::boot_id(&host.paths.proc),
    );
    let mut agent = Agent::new(host, connection.interval, jobs, events, snapshots, asks);
    agent.rotation = Rotation::start(connection.clone(), asks_to_reload);
    agent.clock_changes = ClockChanges::of_this_host();
    agent.alarm = Alarm::of_this_host();
    (agent.last_good, agent.proof) = (last_good.map(Box::new), proof);
    agent.contact = contact;
    let connection = WithFacts::new(&connection, first_facts);
    let exit = agent.after_restart(restarts.unwrap_or_default()).run(&connection, shutdown).await;
    systemd::stopping();
    Ok(exit)
}

fn prewarm_hook(host: &Host) -> Option<Hook> {
    let started = Hook::program(host.prewarm.hook.clone()?);
    started.map_err(|err| tracing::warn!("No thread for the pre-warm hook: {err}.")).ok()
}

/// Starts the watcher that turns GPU load into pre-warm signals.
fn watch_gpus(host: &Host, meters: &Meters, hook: Option<Hook>) -> prewarm::Watcher {
    let load = |snapshot: &Option<gpu::Snapshot>| {
        snapshot.as_ref().map(|snapshot| device::gpu_load(&snapshot.gpus)).unwrap_or_default()
    };
    prewarm::watch(host.prewarm.limits, meters.gpus().watch(), load, hook)
}

/// The running binary itself, even after its file has been replaced.
pub(super) fn own_program() -> PathBuf {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { running } else { std::env::current_exe().unwrap_or(running) }
}
