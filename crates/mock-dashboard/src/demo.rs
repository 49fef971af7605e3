//! `nixfleet-mock-dashboard demo`: a dashboard, three hosts and a repository on one machine, with one command.
//!
//! The dashboard runs in this process. The agents are real: each has a process, settings and a state of its own, and is
//! restarted when it ends, as a service manager does. Only what would change the machine, or is rarely there, is
//! replaced by stand-ins: `nixos-rebuild`, systems, StaSysMo, a GPU.
//!
//! ```text
//! story     what is said at the start
//! scene     the folder: the repository, the hosts' first systems
//! fleet     the hosts, and the settings of their agents
//! manager   a process that keeps the agents running, and outlives this one
//! ending    ends all processes
//! network   the way to the dashboard that a bad system cuts
//! readings  what is measured by StaSysMo, and what the GPUs do (gpus)
//! ```

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use nixfleet_dashboard::{BindError, Dashboard, Handle};
use nixfleet_jobs::git;
use nixfleet_os::error;

use fleet::HOSTS;
use gpus::Gpus;
use manager::Manager;
use network::Network;
use scene::Scene;

mod ending;
mod files;
mod fleet;
mod gpus;
mod manager;
mod network;
mod readings;
mod scene;
mod story;

/// Name of the agent program.
const AGENT: &str = "nixfleet-agent";

/// Count of ports tried after the preferred one.
const NEXT_PORTS: u16 = 100;

/// Token of the agents. Whoever reaches the dashboard can do everything without it.
const TOKEN: &str = "the-token-of-the-demo-is-no-secret";

/// How often to look for a newer commit in the repository. It reads two small files.
const COMMIT_LOOK: Duration = Duration::from_secs(1);

/// Options of the demo.
#[derive(Debug, Args)]
pub(crate) struct Options {
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

    /// Keep the agents of the demo in this folder; started by the demo
    #[arg(long, value_name = "FOLDER", hide = true)]
    manage: Option<PathBuf>,
}

/// Runs the demo until Ctrl-C.
///
/// # Errors
/// A message for people that says what could not be started.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|err| format!("cannot start the runtime: {err}"))?;
    runtime.block_on(async {
        match &options.manage {
            Some(folder) => manager::run(folder).await,
            None => play(options).await,
        }
    })
}

async fn play(options: &Options) -> Result<(), String> {
    let mut signals = Ends::listen()?;
    let agent = find_agent(options.agent.as_deref())?;
    let mut dashboard = bind(options.listen, TOKEN).await?;
    for name in &options.allow_host {
        dashboard = dashboard.allow_host(name).map_err(|err| format!("--allow-host: {err}"))?;
    }
    let address = dashboard.address();
    let scene = Scene::build(&std::env::temp_dir(), &agent, TOKEN)?;
    let mut tasks = JoinSet::new();
    tasks.spawn(connect(&scene, reachable(address)).await?);
    ending::adopt_orphans();
    let mut manager = Manager::start(scene.folder())?;
    let handle = dashboard.handle();
    let (close, mut closed) = watch::channel(false);
    let serving = tokio::spawn(dashboard.serve(async move {
        // An error means that nobody is left who could say so.
        drop(closed.wait_for(|closed| *closed).await);
    }));
    tasks.spawn(readings(&scene));
    tasks.spawn(look_after(scene.origin(), handle));
    say(&story::tell(address, options.listen, scene.folder(), story::columns()));

    let ended = tokio::select! {
        () = signals.one() => Ok(()),
        () = manager.ended() => Err("the process that keeps the agents was ended, so the demo ends".to_owned()),
    };
    say("\nCleaning up.");
    manager.end().await;
    tasks.shutdown().await;
    close.send_replace(true);
    drop(serving.await);
    ended
}

/// Writes a text. A terminal that is closed must not end this process, nor the manager: they have something to do then.
fn say(text: &str) {
    drop(writeln!(io::stdout(), "{text}"));
}

/// Writes the settings of all hosts, and returns what carries the connections of those whose network can be cut.
async fn connect(scene: &Scene, dashboard: SocketAddr) -> Result<impl Future<Output = ()> + use<>, String> {
    let mut carrying = JoinSet::new();
    for host in &HOSTS {
        let mut address = dashboard;
        if host.is_guarded {
            let failed = |err| format!("cannot make a network for {}: {err}", host.name);
            let network = Network::to(dashboard, &scene.home(host).current_system()).await.map_err(failed)?;
            address = network.address().map_err(failed)?;
            carrying.spawn(network.carry());
        }
        scene.configure(host, address)?;
    }
    Ok(async move { while carrying.join_next().await.is_some() {} })
}

/// Tells the dashboard the newest commit of the repository, until it is aborted.
async fn look_after(origin: PathBuf, dashboard: Handle) {
    let mut ticks = tokio::time::interval(COMMIT_LOOK);
    loop {
        ticks.tick().await;
        dashboard.set_newest_commit(git::head_commit(&origin).as_deref());
    }
}

/// Keeps what the hosts measure.
fn readings(scene: &Scene) -> impl Future<Output = ()> + use<> {
    let stasysmo = HOSTS.iter().filter(|host| host.has_stasysmo).map(|host| scene.home(host).stasysmo());
    let gpus = HOSTS.iter().filter(|host| host.has_gpus).map(|host| Gpus::new(&scene.home(host)));
    readings::keep(stasysmo.collect(), gpus.collect())
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
        let options =
            nixfleet_dashboard::Options { listen, token: token.to_owned(), csrf_token: None, strict: None };
        match Dashboard::bind(options).await {
            Err(BindError::Listen { source, .. }) if source.kind() == io::ErrorKind::AddrInUse => {}
            Err(err) => return Err(error::chain(&err)),
            Ok(dashboard) => return Ok(dashboard),
        }
    }
    Err(format!("all ports from {} to {last} are in use; choose another with --listen", preferred.port()))
}

/// The signals that end the demo: of Ctrl-C, of a service manager, and of a terminal that is closed.
struct Ends([Signal; 3]);

impl Ends {
    fn listen() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|err| format!("cannot listen for signals: {err}"));
        Ok(Self([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ]))
    }

    /// Resolves with the first of them.
    async fn one(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
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
