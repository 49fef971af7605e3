//! What the host's own meters say. No module here knows a heartbeat: each publishes its newest
//! reading with its age, and a beat takes what is there.
//!
//! Whatever is unknown is None: no figure is made up, and none is shown that is older than it may be.
//! Shares are numbers from 0 to 1, never percentages; sizes are bytes; rates are bytes in a second.
//!
//! ```text
//! cpu.rs load.rs memory.rs pressure.rs network.rs disk_io.rs rate.rs   /proc, four times an interval
//! disk.rs temperature.rs units.rs reboot.rs                            what may hang, once an interval
//! proc.rs         the first row as one look
//! keeper.rs       who looks when; the snapshot
//! lane.rs         threads that may hang
//! clock.rs        moments and ages
//! collector.rs    what each look cost, and how often it failed
//! source.rs       reading files that may be missing, wrong or endless
//! gpu.rs          GPUs, which have threads of their own
//! stasysmo.rs     readings that another program makes
//! workload.rs     what local programs say of their work
//! ```

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{self, SyncSender},
    },
    thread,
    time::Duration,
};

use tokio::sync::watch;

use self::{clock::fresh, keeper::Keeper};
pub use self::{
    clock::{Moment, Timed},
    collector::{Collector, CollectorStats, Collectors},
    cpu::Cpu,
    disk::{Disk, Inodes, Mount, Usage},
    disk_io::DiskIo,
    load::Load,
    memory::{Memory, Swap},
    network::Network,
    pressure::{Pressure, Stall},
    proc::{ProcMeter, ProcSample},
    source::{Sample, SourceError},
    temperature::Temperature,
    units::FailedUnits,
};
use crate::config::Host;

mod clock;
mod collector;
pub mod cpu;
pub mod disk;
pub mod disk_io;
pub mod gpu;
mod keeper;
mod lane;
pub mod load;
pub mod memory;
pub mod network;
pub mod pressure;
mod proc;
pub mod rate;
pub mod reboot;
mod source;
pub mod stasysmo;
pub mod temperature;
pub mod units;
pub mod workload;

#[cfg(test)]
mod tests;

/// What comes from /proc is not reported when it is older. Six looks are missed then, at the least.
pub const MAX_AGE: Duration = Duration::from_secs(30);

/// As [`MAX_AGE`], for disks, temperatures and the reboot: three looks at the slowest pace.
pub const MAX_AGE_SLOW: Duration = Duration::from_secs(90);

/// As [`MAX_AGE`], for failed units, which are looked at least often.
pub const MAX_AGE_UNITS: Duration = Duration::from_secs(180);

/// Events that wait for the keeper. It handles one in a few microseconds.
const EVENTS: usize = 16;

/// The keeper touches no file: it moves values and boxes.
const STACK: usize = 128 * 1024;

/// What is known of the host, each value with the moment at which its source was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vitals {
    /// What the processors did since the look before.
    pub cpu: Option<Timed<Cpu>>,
    /// Memory.
    pub memory: Option<Timed<Memory>>,
    /// Swap; there, with a size of 0, on hosts without any.
    pub swap: Option<Timed<Swap>>,
    /// Programs that run or want to.
    pub load: Option<Timed<Load>>,
    /// Time since the boot, sleep included.
    pub uptime: Option<Timed<Duration>>,
    /// How long programs waited for a processor.
    pub cpu_pressure: Option<Timed<Pressure>>,
    /// For memory.
    pub memory_pressure: Option<Timed<Pressure>>,
    /// For disks.
    pub io_pressure: Option<Timed<Pressure>>,
    /// Bytes over the network since the look before.
    pub network: Option<Timed<Network>>,
    /// Bytes to and from the disks since the look before.
    pub disk_io: Option<Timed<DiskIo>>,
    /// What of the configured mount points is mounted, and how full it is.
    pub disks: Option<Timed<Vec<Disk>>>,
    /// Temperatures of the configured chips; none where there are no such chips.
    pub temperatures: Option<Timed<Vec<Temperature>>>,
    /// Units that systemd calls failed; none where it does not run.
    pub failed_units: Option<Timed<FailedUnits>>,
    /// Whether the current system needs a reboot to run in full; none where it is not NixOS.
    pub reboot_required: Option<Timed<bool>>,
    /// Identity of this boot. It does not age.
    pub boot_id: Option<String>,
}

impl Vitals {
    /// Without what is older than it may be.
    #[must_use]
    pub fn at(&self, now: Moment) -> Self {
        let disks = fresh(self.disks.clone(), now, MAX_AGE_SLOW).map(|mut disks| {
            for disk in &mut disks.value {
                disk.usage = fresh(disk.usage, now, MAX_AGE_SLOW);
            }
            disks
        });
        Self {
            cpu: fresh(self.cpu, now, MAX_AGE),
            memory: fresh(self.memory, now, MAX_AGE),
            swap: fresh(self.swap, now, MAX_AGE),
            load: fresh(self.load, now, MAX_AGE),
            uptime: fresh(self.uptime, now, MAX_AGE),
            cpu_pressure: fresh(self.cpu_pressure, now, MAX_AGE),
            memory_pressure: fresh(self.memory_pressure, now, MAX_AGE),
            io_pressure: fresh(self.io_pressure, now, MAX_AGE),
            network: fresh(self.network, now, MAX_AGE),
            disk_io: fresh(self.disk_io, now, MAX_AGE),
            disks,
            temperatures: fresh(self.temperatures.clone(), now, MAX_AGE_SLOW),
            failed_units: fresh(self.failed_units.clone(), now, MAX_AGE_UNITS),
            reboot_required: fresh(self.reboot_required, now, MAX_AGE_SLOW),
            boot_id: self.boot_id.clone(),
        }
    }

    /// The newest look decides: what it does not know is not known.
    fn take_proc(&mut self, sample: ProcSample, taken_at: Moment) {
        fn timed<T>(value: Option<T>, taken_at: Moment) -> Option<Timed<T>> {
            value.map(|value| Timed { value, taken_at })
        }
        self.cpu = timed(sample.cpu, taken_at);
        self.memory = timed(sample.memory, taken_at);
        self.swap = timed(sample.swap, taken_at);
        self.load = timed(sample.load, taken_at);
        self.uptime = timed(sample.uptime, taken_at);
        self.cpu_pressure = timed(sample.cpu_pressure, taken_at);
        self.memory_pressure = timed(sample.memory_pressure, taken_at);
        self.io_pressure = timed(sample.io_pressure, taken_at);
        self.network = timed(sample.network, taken_at);
        self.disk_io = timed(sample.disk_io, taken_at);
        self.boot_id = sample.boot_id.or(self.boot_id.take());
    }
}

/// How a file system is asked for its figures. An argument, so that tests can have one that hangs.
type Probe = Arc<dyn Fn(&Path) -> io::Result<Option<Usage>> + Send + Sync>;

/// The newest vitals, kept up to date by threads that end when this is dropped. Dropping does not wait
/// for them: one may hang in a file system.
#[derive(Debug)]
pub struct VitalsHandle {
    newest: watch::Receiver<Vitals>,
    events: SyncSender<keeper::Event>,
    stop: Arc<AtomicBool>,
    collectors: Arc<Collectors>,
}

impl VitalsHandle {
    /// What a beat reports: what is no older than it may be. Touches no file and waits for nothing.
    pub fn at(&self, now: Moment) -> Vitals {
        self.newest.borrow().at(now)
    }

    /// The snapshot, to wait for changes; [`Vitals::at`] leaves out what is too old.
    pub fn watch(&self) -> watch::Receiver<Vitals> {
        self.newest.clone()
    }

    /// Asks for a look at what a job may have changed: failed units, and whether a reboot is due. Does
    /// not wait.
    pub fn refresh(&self) {
        // When there is no room, the keeper is about to look anyway.
        drop(self.events.try_send(keeper::Event::Refresh));
    }

    /// What each look cost, and how often it failed.
    pub fn collectors(&self) -> Arc<Collectors> {
        Arc::clone(&self.collectors)
    }
}

impl Drop for VitalsHandle {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        // Without room for it, the keeper wakes up anyway.
        drop(self.events.try_send(keeper::Event::Stop));
    }
}

/// Starts looking: at once, and then at a pace that follows the time between heartbeats. On systems
/// other than Linux, and where the configuration says so, nothing is looked at and all is unknown.
pub fn spawn(host: &Host, interval: Duration) -> VitalsHandle {
    spawn_with(host, interval, &(Arc::new(disk::usage) as Probe))
}

fn spawn_with(host: &Host, interval: Duration, probe: &Probe) -> VitalsHandle {
    let (publish, newest) = watch::channel(Vitals::default());
    let (events, received) = mpsc::sync_channel(EVENTS);
    let stop = Arc::new(AtomicBool::new(false));
    let collectors = Arc::new(Collectors::default());
    if host.vitals.enabled && cfg!(target_os = "linux") {
        let keeper = Keeper::new(host, interval, probe, &collectors, &events, publish);
        let stop = Arc::clone(&stop);
        let run = move || keeper.run(&received, &stop);
        if let Err(error) = thread::Builder::new().name("vitals".to_owned()).stack_size(STACK).spawn(run) {
            tracing::warn!(%error, "No thread to look at the host: its vitals are unknown.");
        }
    }
    VitalsHandle { newest, events, stop, collectors }
}
