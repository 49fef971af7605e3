//! `nixfleet-mock-dashboard demo`: all of it on one machine, in one command.
//!
//! The dashboard runs in this process; the agent is a process of its own, as it is on a host, and is
//! started again when it dies, as a service manager does. Only `nixos-rebuild` and StaSysMo have
//! stand-ins: the first would change the machine, the second is rarely there.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;

use super::{BindError, Dashboard};
use nixfleet_jobs::{JobsDir, Urgency, signal_supervisor};
use nixfleet_os::error;

mod host;
mod scene;

/// Name of the agent's program.
const AGENT: &str = "nixfleet-agent";

/// Ports tried after the wished one.
const NEXT_PORTS: u16 = 100;

/// How long a service manager waits before it starts an agent again.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// How long the last command gets to disappear when the demo ends.
const FAREWELL: Duration = Duration::from_secs(3);

/// Options of the demo.
#[derive(Debug, Args)]
pub struct Options {
    /// Address of the dashboard; the next free port is taken if this one is in use
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,

    /// The agent [default: nixfleet-agent beside this program, else on the PATH]
    #[arg(long, value_name = "PROGRAM")]
    agent: Option<PathBuf>,
}

/// Runs the demo until Ctrl-C.
///
/// # Errors
/// What could not be started, for people.
pub fn run(options: &Options) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|err| format!("cannot start the runtime: {err}"))?;
    runtime.block_on(play(options))
}

async fn play(options: &Options) -> Result<(), String> {
    let agent = find_agent(options.agent.as_deref())?;
    let token = "demo-token";
    let dashboard = bind(options.listen, token).await?;
    let address = dashboard.address();
    let scene = scene::Scene::build(address, token)?;
    let (stop, stopped) = watch::channel(false);
    let (close, mut closed) = watch::channel(false);
    let serving = tokio::spawn(dashboard.serve(async move {
        stop_requested(&mut closed).await;
    }));
    let readings = tokio::spawn(host::keep_readings(scene.stasysmo()));
    let agent = tokio::spawn(keep_agent(scene.agent_command(&agent), stopped));
    explain(address, &scene);

    wait_for_ctrl_c().await?;
    drop(writeln!(io::stdout(), "\nCleaning up."));
    stop.send_replace(true);
    readings.abort();
    drop(agent.await);
    close.send_replace(true);
    drop(serving.await);
    end_running_jobs(&scene.jobs());
    Ok(())
}

/// The agent to run: before anything else is started, so that a missing one is the only thing to read.
fn find_agent(named: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(program) = named {
        let found = program.is_file();
        return found
            .then(|| program.to_owned())
            .ok_or_else(|| format!("there is no agent at {}; check --agent", program.display()));
    }
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(AGENT));
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&on_path).map(|folder| folder.join(AGENT));
    beside.into_iter().chain(on_path).find(|program| program.is_file()).ok_or_else(|| {
        format!("there is no {AGENT} beside this program or on the PATH; build it, or name it with --agent")
    })
}

async fn bind(wished: SocketAddr, token: &str) -> Result<Dashboard, String> {
    let last = wished.port().saturating_add(NEXT_PORTS);
    for port in wished.port()..=last {
        let listen = SocketAddr::new(wished.ip(), port);
        let options = super::Options { listen, token: token.to_owned(), csrf_token: None, strict: None };
        match Dashboard::bind(options).await {
            Err(BindError::Listen { source, .. }) if source.kind() == io::ErrorKind::AddrInUse => {}
            Err(err) => return Err(error::chain(&err)),
            Ok(dashboard) => return Ok(dashboard),
        }
    }
    Err(format!("all ports from {} to {last} are in use; choose another with --listen", wished.port()))
}

fn explain(address: SocketAddr, scene: &scene::Scene) {
    let text = format!(
        "\n\
         The dashboard is at  http://{address}/\n\
         \n\
         Three things to try:\n\
         \n\
         1. Press `test-long` there: 30 s of output, and not one heartbeat late.\n\
         \x20  Press another command meanwhile: it is rejected, and you see by what.\n\
         2. While it runs, kill the agent:  pkill -KILL -f '{config} run'\n\
         \x20  The command runs on; a new agent picks it up, no line is lost, one status arrives.\n\
         3. The agent has cloned {origin} by itself.\n\
         \x20  Commit something there, press `pull`, then `switch` (a stand-in, it changes nothing), then `test`.\n\
         \n\
         Ctrl-C ends it all and removes {folder}.\n",
        config = scene.config().display(),
        origin = scene.origin().display(),
        folder = scene.folder().display(),
    );
    drop(writeln!(io::stdout(), "{text}"));
}

/// Resolves once the flag is up.
async fn stop_requested(flag: &mut watch::Receiver<bool>) {
    drop(flag.wait_for(|stop| *stop).await);
}

async fn wait_for_ctrl_c() -> Result<(), String> {
    let listen = |kind| signal(kind).map_err(|err| format!("cannot listen for signals: {err}"));
    let (mut interrupt, mut term) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = term.recv() => {}
    }
    Ok(())
}

/// A job outlives its agent, so the demo has to end it before it leaves.
fn end_running_jobs(jobs: &JobsDir) {
    let names = fs::read_dir(jobs.path()).into_iter().flatten().flatten();
    let ids = names.filter_map(|item| item.file_name().to_str()?.parse().ok());
    for dir in ids.map(|id| jobs.job(&id)) {
        let begun = Instant::now();
        // Most have ended long ago, and say so.
        while signal_supervisor(&dir, Urgency::Kill).is_ok() && begun.elapsed() < FAREWELL {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Plays the service manager: starts the agent, and again when it ends.
async fn keep_agent(mut command: Command, mut stopped: watch::Receiver<bool>) {
    loop {
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(err) => {
                tracing::error!("Cannot start the agent: {err}");
                return;
            }
        };
        let pid = rustix::process::Pid::from_child(&child);
        let mut exited = tokio::task::spawn_blocking(move || child.wait());
        tokio::select! {
            () = stop_requested(&mut stopped) => {
                rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
                drop(exited.await);
                return;
            }
            _ = &mut exited => {}
        }
        drop(writeln!(io::stdout(), "The agent ended; starting it again."));
        sleep(RESTART_DELAY).await;
    }
}

/// Runs git for the scene; its output is shown only if it fails.
fn git(folder: &Path, args: &[&str]) -> Result<(), String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=demo", "-c", "user.email=demo@localhost", "-c", "init.defaultBranch=main"])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|err| format!("cannot run git, which the demo needs: {err}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("git {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

fn write(path: &PathBuf, text: &str) -> Result<(), String> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|err| format!("cannot make {}: {err}", folder.display()))?;
    }
    fs::write(path, text).map_err(|err| format!("cannot write {}: {err}", path.display()))
}
