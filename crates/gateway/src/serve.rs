//! The life of a gateway: start, work, drain.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nixfleet_fleet::ConnectError;
use nixfleet_os::error::chain;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{info, warn};

use crate::bus::{Bus, BusError};
use crate::door::{Door, DoorError};
use crate::figures::Figures;
use crate::gate::Gate;
use crate::health::{self, Gateway};
use crate::listener::{self, Shared};
use crate::places::Places;
use crate::settings::Settings;
use crate::upkeep;

/// Pause between two attempts to reach NATS at the start.
const PAUSE: Duration = Duration::from_secs(2);

/// How long the gateway waits at its end until NATS knows that its connections have ended.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// How often is looked whether tokens or certificates have changed.
const LOOK: Duration = Duration::from_secs(5);

/// Why a gateway cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be used.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// Tokens or certificates cannot be read.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// NATS cannot be used as it is.
    #[error(transparent)]
    Nats(#[from] BusError),
}

impl ServeError {
    /// Whether the settings are wrong, or a file that they name. It stays so until somebody changes them.
    #[must_use]
    pub fn is_of_settings(&self) -> bool {
        match self {
            Self::Door(_) => true,
            Self::Nats(BusError::Connect(err)) => {
                matches!(
                    err,
                    ConnectError::Address { .. }
                        | ConnectError::NoServer
                        | ConnectError::Prefix(_)
                        | ConnectError::File { .. }
                )
            }
            Self::Listen { .. } | Self::Nats(_) => false,
        }
    }
}

/// What becomes of a gateway, for a service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It listens. Agents are asked to come again until NATS was reached, which may take as long as it likes: a start
    /// of the whole machine must not wait for that.
    Listening,
    /// Tokens and certificates are read again, as ordered.
    Reloading,
    /// They have been read.
    Reloaded,
    /// It ends, within this time.
    Ending(Duration),
}

/// How a gateway is told what to do.
#[derive(Debug, Default)]
pub struct Orders {
    /// Read tokens and certificates again.
    pub reload: Notify,
    /// End.
    pub end: Notify,
}

/// A gateway that listens.
#[derive(Debug)]
pub struct Serving {
    settings: Settings,
    name: String,
    door: Arc<Door>,
    agents: Vec<TcpListener>,
    health: TcpListener,
}

impl Serving {
    /// Reads the files that the settings name, and listens.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn start(settings: Settings) -> Result<Self, ServeError> {
        let door = Arc::new(Door::open(&settings)?);
        door.note_tokens();
        let mut agents = Vec::new();
        for &address in &settings.listen {
            agents.push(listen(address).await?);
        }
        let health = listen(settings.health_listen).await?;
        let name = settings.name.clone().unwrap_or_else(machine_name);
        Ok(Self { settings, name, door, agents, health })
    }

    /// The addresses for agents, and the one for health checks.
    ///
    /// # Errors
    /// The system does not know them.
    pub fn addresses(&self) -> io::Result<(Vec<SocketAddr>, SocketAddr)> {
        let agents = self.agents.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
        Ok((agents, self.health.local_addr()?))
    }

    /// Works until it is ordered to end, and tells what becomes of it.
    ///
    /// # Errors
    /// [`ServeError::Nats`], if NATS is there and cannot be used as it is.
    pub async fn run(self, orders: &Orders, tell: impl Fn(Stage)) -> Result<(), ServeError> {
        let Self { settings, name, door, agents, health } = self;
        let (gateway, figures) = (Gateway::default(), Arc::new(Figures::default()));
        let shared = Arc::new(Shared {
            gateway: Arc::clone(&gateway),
            figures: Arc::clone(&figures),
            door: Arc::clone(&door),
            places: Places::new(settings.max_connections, settings.max_connections_of_address),
        });
        // They end when this is dropped.
        let mut listening = JoinSet::new();
        listening.spawn(health::serve(health, Arc::clone(&gateway)));
        for listener in agents {
            listening.spawn(listener::accept(listener, Arc::clone(&shared)));
        }
        tell(Stage::Listening);
        let work = async {
            let bus = reach(&settings, &name, &figures).await?;
            let gate = Arc::new(Gate::new(bus, Arc::clone(&figures), settings.policy()));
            drop(gateway.set(Arc::clone(&gate)));
            info!(gateway = %gate.bus.id, "agents are taken");
            upkeep::run(&gate).await;
            Ok::<(), BusError>(())
        };
        tokio::select! {
            ended = work => ended?,
            () = watch(&gateway, &door, &orders.reload, &tell) => {}
            () = orders.end.notified() => {}
        }
        tell(Stage::Ending(DRAIN_LIMIT + 2 * PAUSE));
        if let Some(gate) = gateway.get() {
            drain(gate, orders).await;
        }
        Ok(())
    }
}

/// The name of this machine, as far as it can be a part of a NATS subject.
fn machine_name() -> String {
    let system = rustix::system::uname();
    let name = system.nodename().to_string_lossy();
    let first = name.split('.').next().unwrap_or_default();
    if nixfleet_protocol::is_hostname(first) { first.to_owned() } else { "gateway".to_owned() }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })
}

/// Connects to NATS, as often as it takes. A gateway and its servers may start in any order.
async fn reach(settings: &Settings, name: &str, figures: &Arc<Figures>) -> Result<Bus, BusError> {
    let id = format!("{name}-{:08x}", fastrand::u32(..));
    let (options, sizes) = (settings.options(&id), settings.sizes());
    let mut said = String::new();
    loop {
        let err = match Bus::open(id.clone(), &options, &sizes, Arc::clone(figures)).await {
            Ok(bus) => return Ok(bus),
            Err(err) if err.is_final() => return Err(err),
            Err(err) => chain(&err),
        };
        if said != err {
            warn!("{err}; it is tried again until it works");
            said = err;
        }
        sleep(PAUSE).await;
    }
}

/// Reads tokens and certificates again when it is ordered to, and when their files have changed.
async fn watch(gateway: &Gateway, door: &Door, reload: &Notify, tell: &impl Fn(Stage)) {
    let files = door.files();
    let mut seen = stamps(&files).await;
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let ordered = tokio::select! {
            () = reload.notified() => true,
            _ = looks.tick() => false,
        };
        if ordered {
            // Those who are being closed have time to end.
            looks.reset();
            tell(Stage::Reloading);
        }
        let now = stamps(&files).await;
        door.reload(ordered || now != seen);
        seen = now;
        if let Some(gate) = gateway.get() {
            door.revoke(&gate.directory).await;
        }
        if ordered {
            tell(Stage::Reloaded);
        }
    }
}

/// What tells one content of a file from another: its device, number, size and time of change, in seconds and
/// nanoseconds. Time alone does not: all files of a Nix store have the same.
type Stamp = (u64, u64, u64, i64, i64);

/// The stamp of each file, as far as it is known.
async fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let mut stamps = Vec::with_capacity(files.len());
    for file in files {
        let data = tokio::fs::metadata(file).await.ok();
        stamps.push(data.map(|data| (data.dev(), data.ino(), data.size(), data.mtime(), data.mtime_nsec())));
    }
    stamps
}

/// Sends all agents away, and waits until NATS knows. They choose the moments of their return themselves, so they can be
/// told at once.
async fn drain(gate: &Gate, orders: &Orders) {
    gate.drain();
    info!(hosts = gate.directory.len(), "the gateway ends: its hosts are asked to come again");
    // Others need not wait until the entry expires. An error means that NATS is away.
    drop(timeout(PAUSE, gate.presence().renew(&gate.bus.jetstream)).await);
    let gone = async {
        // Some may have been on their way in.
        while gate.directory.go_away("the gateway ends") > 0 {
            sleep(Duration::from_millis(50)).await;
        }
        gate.leaving.close();
        gate.leaving.wait().await;
    };
    tokio::select! {
        waited = timeout(DRAIN_LIMIT, gone) => {
            if waited.is_err() {
                warn!(hosts = gate.directory.len(), "NATS does not know of the end of all connections");
            }
        }
        () = orders.end.notified() => warn!("ended at once, as ordered"),
    }
    // What was published last is on its way.
    drop(timeout(PAUSE, gate.bus.flush()).await);
}
