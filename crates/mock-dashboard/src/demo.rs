//! `nixfleet-mock-dashboard demo`: a dashboard, an agent and a repository on one machine, with one command.
//!
//! The dashboard runs in this process. The agent runs in a process of its own, as on a host, and is restarted
//! when it ends, as a service manager does. Only `nixos-rebuild` and StaSysMo are replaced by stand-ins: the
//! first would change the machine, the second is rarely installed.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;

use nixfleet_jobs::{JobsDir, Urgency, signal_supervisor};
use nixfleet_os::error;

use crate::{BindError, Dashboard};

mod host;
mod scene;

/// Name of the agent program.
const AGENT: &str = "nixfleet-agent";

/// Count of ports tried after the preferred one.
const NEXT_PORTS: u16 = 100;

/// Time before the agent is restarted, as with a service manager.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// Longest wait for the end of a running job when the demo ends.
const KILL_LIMIT: Duration = Duration::from_secs(3);

/// Options of the demo.
#[derive(Debug, Args)]
pub struct Options {
    /// Address of the dashboard; the next free port is taken if this one is in use
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,

    /// Name or address under which the page answers, besides localhost and the own addresses; may be given several
    /// times
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,

    /// The agent [default: nixfleet-agent beside this program, else on the PATH]
    #[arg(long, value_name = "PROGRAM")]
    agent: Option<PathBuf>,
}

/// Runs the demo until Ctrl-C.
///
/// # Errors
/// A message for people that says what could not be started.
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
    let mut dashboard = bind(options.listen, token).await?;
    for name in &options.allow_host {
        dashboard = dashboard.allow_host(name).map_err(|err| format!("--allow-host: {err}"))?;
    }
    let address = dashboard.address();
    let scene = scene::Scene::build(reachable(address), token)?;
    let (stop, stopped) = watch::channel(false);
    let (close, mut closed) = watch::channel(false);
    let serving = tokio::spawn(dashboard.serve(async move {
        stop_requested(&mut closed).await;
    }));
    let readings = tokio::spawn(host::keep_readings(scene.stasysmo()));
    let agent = tokio::spawn(keep_agent(scene.agent_command(&agent), stopped));
    explain(address, &scene);

    wait_for_the_end().await?;
    drop(writeln!(io::stdout(), "\nCleaning up."));
    stop.send_replace(true);
    readings.abort();
    drop(agent.await);
    close.send_replace(true);
    drop(serving.await);
    end_running_jobs(&scene.jobs());
    Ok(())
}

/// Finds the agent. This comes before anything else, so that nothing else is printed when there is no agent.
fn find_agent(named: Option<&Path>) -> Result<PathBuf, String> {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(AGENT));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join(AGENT));
    choose_agent(named, beside.into_iter().chain(on_path))
}

fn choose_agent(
    named: Option<&Path>,
    mut candidates: impl Iterator<Item = PathBuf>,
) -> Result<PathBuf, String> {
    if let Some(program) = named {
        let found = is_program(program);
        return found.then(|| program.to_owned()).ok_or_else(|| {
            format!("there is no agent that can be run at {}; check --agent", program.display())
        });
    }
    candidates.find(|program| is_program(program)).ok_or_else(|| {
        format!("there is no {AGENT} beside this program or on the PATH; build it, or name it with --agent")
    })
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The address at which this machine reaches the dashboard. One that listens everywhere is on loopback too,
/// where the agent needs no encryption.
fn reachable(listens: SocketAddr) -> SocketAddr {
    let loopback = match listens.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(loopback, listens.port())
}

async fn bind(preferred: SocketAddr, token: &str) -> Result<Dashboard, String> {
    let last = preferred.port().saturating_add(NEXT_PORTS);
    for port in preferred.port()..=last {
        let listen = SocketAddr::new(preferred.ip(), port);
        let options = crate::Options { listen, token: token.to_owned(), csrf_token: None, strict: None };
        match Dashboard::bind(options).await {
            Err(BindError::Listen { source, .. }) if source.kind() == io::ErrorKind::AddrInUse => {}
            Err(err) => return Err(error::chain(&err)),
            Ok(dashboard) => return Ok(dashboard),
        }
    }
    Err(format!("all ports from {} to {last} are in use; choose another with --listen", preferred.port()))
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
         \x20  Commit something there and press `pull`: the system is outdated. Then press `switch` (a stand-in, which\n\
         \x20  changes nothing on this machine), `test`, and `rollback`.\n\
         \n\
         Ctrl-C ends it all and removes {folder}.\n",
        config = scene.config().display(),
        origin = scene.origin().display(),
        folder = scene.folder().display(),
    );
    drop(writeln!(io::stdout(), "{text}"));
}

/// Resolves once the flag is set.
async fn stop_requested(flag: &mut watch::Receiver<bool>) {
    drop(flag.wait_for(|stop| *stop).await);
}

/// Waits for Ctrl-C, for SIGTERM, or for the terminal to be closed.
async fn wait_for_the_end() -> Result<(), String> {
    let listen = |kind| signal(kind).map_err(|err| format!("cannot listen for signals: {err}"));
    let (mut interrupt, mut term) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let mut hangup = listen(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = term.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

/// Kills running jobs. A job outlives its agent, so the demo has to end it.
fn end_running_jobs(jobs: &JobsDir) {
    let names = fs::read_dir(jobs.path()).into_iter().flatten().flatten();
    let ids = names.filter_map(|item| item.file_name().to_str()?.parse().ok());
    for dir in ids.map(|id| jobs.job(&id)) {
        let started = Instant::now();
        // For a job that has ended, this returns an error.
        while signal_supervisor(&dir, Urgency::Kill).is_ok() && started.elapsed() < KILL_LIMIT {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Starts the agent, and restarts it when it ends, as a service manager does.
async fn keep_agent(mut command: Command, mut stopped: watch::Receiver<bool>) {
    loop {
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(err) => {
                eprintln!("nixfleet-mock-dashboard: cannot start the agent: {err}");
                return;
            }
        };
        let pid = rustix::process::Pid::from_child(&child);
        #[expect(clippy::disallowed_methods, reason = "without a thread there is no demo")]
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

/// Runs git. Its output is shown only if it fails.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn write_program(path: &Path) {
        fs::write(path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_named_agent_is_taken_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let (named, other) = (folder.path().join("named"), folder.path().join("other"));
        write_program(&other);
        let error = choose_agent(Some(&named), [other.clone()].into_iter()).unwrap_err();
        assert_eq!(error, format!("there is no agent that can be run at {}; check --agent", named.display()));
        fs::write(&named, "").unwrap();
        assert!(choose_agent(Some(&named), [other.clone()].into_iter()).is_err(), "not executable");
        write_program(&named);
        assert_eq!(choose_agent(Some(&named), [other].into_iter()), Ok(named));
        // A folder is no program.
        assert!(choose_agent(Some(folder.path()), [].into_iter()).is_err());
    }

    #[test]
    fn the_first_agent_found_is_taken_and_a_missing_one_is_explained() {
        let folder = tempfile::tempdir().unwrap();
        let candidates = || ["beside", "first", "second"].map(|name| folder.path().join(name)).into_iter();
        assert_eq!(
            choose_agent(None, candidates()).unwrap_err(),
            "there is no nixfleet-agent beside this program or on the PATH; build it, or name it with --agent"
        );
        for name in ["first", "second"] {
            write_program(&folder.path().join(name));
        }
        assert_eq!(choose_agent(None, candidates()), Ok(folder.path().join("first")));
    }

    #[test]
    fn an_agent_connects_by_loopback_to_a_dashboard_that_listens_everywhere() {
        for (listens, reached) in [
            ("0.0.0.0:8000", "127.0.0.1:8000"),
            ("[::]:8000", "[::1]:8000"),
            ("127.0.0.1:8000", "127.0.0.1:8000"),
            ("192.0.2.1:8000", "192.0.2.1:8000"),
        ] {
            assert_eq!(reachable(listens.parse().unwrap()), reached.parse().unwrap(), "{listens}");
        }
    }

    /// The test program has no agent in its folder, unless the workspace was built. So only an agent that is
    /// named by its path is tested.
    #[test]
    fn the_option_reaches_the_search() {
        let error = find_agent(Some(Path::new("/nonexistent/agent"))).unwrap_err();
        assert_eq!(error, "there is no agent that can be run at /nonexistent/agent; check --agent");
    }
}
