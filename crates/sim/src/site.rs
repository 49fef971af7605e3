//! The host: how its agent and its supervisors are started, and the connections that they make.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nixfleet_agent::dial::{self, Connect, ConnectError, Dialled, HardClose, Identity};
use nixfleet_agent::facts::Facts;
use nixfleet_agent::heartbeat::Snapshots;
use nixfleet_agent::jobs::launcher::{LaunchError, Launcher};
use nixfleet_agent::jobs::resume;
use nixfleet_agent::link::agent::Agent;
use nixfleet_agent::observe::status::{ASKS, Asker};
use nixfleet_config::{Host, Source};
use nixfleet_jobs::settings::{CustomCommand, CustomStep};
use nixfleet_jobs::{Instance, JobDir, JobsDir, Urgency, signal_supervisor, supervisor};
use nixfleet_os::error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::dashboard::Dashboard;
use crate::faults::Kind;
use crate::faults::{NetFault, What};
use crate::machine::World;
use crate::machine::process::Process;
use crate::machine::wait::{Bell, block_on};
use crate::machine::{clocks, handles, thread};
use crate::network::{End, Wire};

/// Time between heartbeats.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);

/// Commands of the host: `work-0` and so on.
pub(crate) const COMMANDS: usize = 64;

/// A size limit in bytes that no log here reaches: 2,000 lines of 3 KiB.
const UNLIMITED: u64 = 64 << 20;

/// State folder of the host.
const STATE: &str = "/var/lib/nixfleet-agent";

/// An agent that runs: its process, the signal to stop, and its status.
type Running = (Arc<Process>, watch::Sender<bool>, Asker);

/// The host.
pub(crate) struct Site {
    pub(crate) world: Arc<World>,
    pub(crate) dashboard: Arc<Dashboard>,
    host: Host,
    running: Mutex<Option<Running>>,
}

impl Site {
    pub(crate) fn new(world: &Arc<World>) -> Result<Arc<Self>, String> {
        let environment = BTreeMap::from([
            ("NIXFLEET_HOSTNAME".to_owned(), "simulated".to_owned()),
            ("NIXFLEET_STATE_DIR".to_owned(), STATE.to_owned()),
        ]);
        let mut host = Host::load(&Source { file: None, environment }).map_err(|err| err.to_string())?;
        let mut random = fastrand::Rng::with_seed(world.seed ^ 0x517e);
        host.jobs.keep = random.usize(1..4);
        host.jobs.log_limit = if random.u32(..4) == 0 { 40_000 } else { UNLIMITED };
        host.jobs.stop_grace = Duration::from_secs(random.u64(1..4));
        host.paths.proc = PathBuf::from("/proc");
        for number in 0..COMMANDS {
            let name = format!("work-{number}");
            let step = CustomStep { argv: vec!["work".to_owned(), name.clone()], activation: false };
            let command = CustomCommand {
                steps: vec![step],
                timeout: None,
                killable: true,
                cwd: None,
                env: BTreeMap::new(),
                description: String::new(),
            };
            host.commands.insert(name, command);
        }
        let dashboard = Dashboard::new(world);
        Ok(Arc::new(Self { world: Arc::clone(world), dashboard, host, running: Mutex::default() }))
    }

    /// The folder with the records of what must be delivered.
    pub(crate) fn delivery(&self) -> PathBuf {
        self.host.own_dir().join("delivery")
    }

    /// Whether the size limit may remove lines from logs.
    pub(crate) fn log_is_limited(&self) -> bool {
        self.host.jobs.log_limit < UNLIMITED
    }

    fn running(&self) -> Option<Running> {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .filter(|(process, ..)| !process.is_dead())
    }

    /// The process of the agent, if it runs.
    pub(crate) fn agent(&self) -> Option<Arc<Process>> {
        self.running().map(|(process, ..)| process)
    }

    /// SIGTERM to the agent.
    pub(crate) fn stop_agent(&self) {
        if let Some((_, shutdown, _)) = self.running() {
            shutdown.send_replace(true);
        }
    }

    /// Starts an agent; it ends with its process.
    pub(crate) fn start_agent(self: &Arc<Self>) -> Arc<Process> {
        let process = Process::new(&self.world, Kind::Agent);
        self.world.begin(&process);
        let shutdown = watch::Sender::new(false);
        let (asker, asks) = mpsc::channel(ASKS);
        let (site, own, stop) = (Arc::clone(self), Arc::clone(&process), shutdown.subscribe());
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Arc::clone(&process), shutdown, asker));
        let main = move || {
            let exit = site.agent_main(&own, stop, asks);
            own.kill(&format!("it exits: {exit:?}"));
        };
        thread::spawn(&process, "main", Box::new(main));
        process
    }

    /// What the agent does from its start to its end, as in its `run` subcommand.
    fn agent_main(
        self: &Arc<Self>,
        process: &Arc<Process>,
        stop: watch::Receiver<bool>,
        asks: mpsc::Receiver<nixfleet_agent::observe::status::Ask>,
    ) -> Result<String, String> {
        let (machine, host) = (handles(process), self.host.clone());
        let folder = JobsDir::on(machine.clone(), &host.jobs.dir);
        let launcher = Arc::new(SystemManager { site: Arc::clone(self), agent: Arc::clone(process) });
        let boot_id = nixfleet_os::boot_id_on(&machine.disk, &host.paths.proc);
        let (jobs, events) =
            resume::open(launcher, folder, &host.own_dir(), boot_id).map_err(|err| err.to_string())?;
        let (facts, newest) = watch::channel(Arc::new(Facts { complete: true, ..Facts::default() }));
        let ((_stasysmo, stasysmo), (_prewarm, prewarm)) = (watch::channel(None), watch::channel(None));
        let world = Arc::clone(&self.world);
        let look = move || {
            let (answer, answered) = oneshot::channel();
            let wait = Duration::from_millis(world.below(if world.chance(8) { 900 } else { 60 }));
            drop(tokio::spawn(async move {
                sleep(wait).await;
                let _may_have_stopped_waiting = answer.send(());
            }));
            answered
        };
        let snapshots = Snapshots {
            facts: newest,
            stasysmo,
            vitals: Box::new(|_| None),
            expect: Box::new(|_| ()),
            prewarm,
            look: Box::new(look),
        };
        let exit = block_on(async {
            drop(timeout(Duration::from_secs(2), jobs.looked_at()).await);
            let mut agent = Agent::new(host, INTERVAL, jobs, events, snapshots, asks);
            agent.clock = machine.clock;
            agent.clock_changes = clocks::changes(&self.world);
            agent.run(&Network(Arc::clone(self)), stop).await
        });
        drop(facts);
        Ok(format!("{exit:?}"))
    }
}

/// The way to the dashboard.
struct Network(Arc<Site>);

impl Connect for Network {
    type Stream = End;

    async fn connect(&self) -> Result<Dialled<End>, ConnectError> {
        let Site { world, dashboard, .. } = &*self.0;
        world.tries();
        sleep(Duration::from_millis(world.below(80))).await;
        if world.now().any(|what| matches!(what, What::Net(NetFault::Refuse) | What::Suspend)) {
            let refused = io::ErrorKind::ConnectionRefused.into();
            return Err(ConnectError::Unreachable("dashboard:443".to_owned(), refused));
        }
        let (ours, theirs, wire) = Wire::connect(Duration::from_millis(world.below(120)));
        dashboard.accept(theirs, wire.clone());
        let socket = WebSocketStream::from_raw_socket(ours, Role::Client, Some(dial::limits())).await;
        let hard_close = HardClose::by(move || wire.discard());
        Ok(Dialled { socket, hard_close, identity: Identity::default() })
    }
}

/// Starts and signals supervisors, as systemd does: a unit has started when its process says that it is ready.
#[derive(Clone)]
struct SystemManager {
    site: Arc<Site>,
    agent: Arc<Process>,
}

impl std::fmt::Debug for SystemManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SystemManager")
    }
}

/// How far the start of a supervisor is.
#[derive(Default)]
struct Start {
    ready: bool,
    failed: Option<String>,
}

impl SystemManager {
    fn start_supervisor(&self, job: &Instance) -> (Arc<Process>, Arc<Mutex<Start>>, Arc<Bell>) {
        let process = Process::new(&self.site.world, Kind::Supervisor);
        self.site.world.begin(&process);
        let (start, bell) = (Arc::<Mutex<Start>>::default(), Arc::<Bell>::default());
        let (settings, instance) = (self.site.host.job_settings(), job.clone());
        let (own, told, rings) = (Arc::clone(&process), Arc::clone(&start), Arc::clone(&bell));
        let run = move || {
            let ready = || {
                told.lock().unwrap_or_else(PoisonError::into_inner).ready = true;
                rings.ring();
            };
            let ran = supervisor::run_on(handles(&own), &settings, &instance, ready);
            if let Err(err) = &ran {
                told.lock().unwrap_or_else(PoisonError::into_inner).failed = Some(error::chain(err));
            }
            own.kill(&format!("it exits: {:?}", ran.map_err(|err| error::chain(&err))));
            rings.ring();
        };
        thread::spawn(&process, "supervisor", Box::new(run));
        (process, start, bell)
    }
}

impl Launcher for SystemManager {
    fn start(&self, job: &Instance) -> Result<(), LaunchError> {
        let world = &self.site.world;
        self.agent.sleep(Duration::from_millis(world.below(60)));
        if self.agent.is_dead() {
            return Err(LaunchError::Ended);
        }
        let fault = world.now().find_map(|what| match what {
            What::Launcher { starts } => Some(*starts),
            _ => None,
        });
        if fault == Some(false) {
            return Err(LaunchError::Refused("the bus is away".to_owned()));
        }
        let (process, start, bell) = self.start_supervisor(job);
        if fault.is_some() {
            return Err(LaunchError::Refused("the bus went away".to_owned()));
        }
        for _ in 0..300 {
            let (ready, failed) = {
                let start = start.lock().unwrap_or_else(PoisonError::into_inner);
                (start.ready, start.failed.clone())
            };
            match (ready, failed, process.is_dead()) {
                (true, ..) => return Ok(()),
                (false, Some(why), _) => return Err(LaunchError::Refused(why)),
                (false, None, true) => {
                    return Err(LaunchError::Refused("the job supervisor died at once".to_owned()));
                }
                (false, None, false) => {}
            }
            if self.agent.is_dead() {
                return Err(LaunchError::Ended);
            }
            self.pause(&bell);
        }
        Ok(())
    }

    fn end(&self, _: &Instance, dir: &JobDir, urgency: Urgency) -> Result<(), LaunchError> {
        self.agent.sleep(Duration::from_millis(self.site.world.below(30)));
        Ok(signal_supervisor(dir, urgency)?)
    }
}

impl SystemManager {
    fn pause(&self, bell: &Arc<Bell>) {
        self.agent.wait(bell, Some(Duration::from_millis(100)));
    }
}
