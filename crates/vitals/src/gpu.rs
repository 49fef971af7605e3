//! GPUs: usage, temperature, memory and power.
//!
//! ```text
//! card    which GPUs the host has, their vendors, whether they sleep        (sysfs)
//! nvidia  NVML, in a process or on a thread of its own                      (libnvidia-ml.so.1)
//! amd     the values of amdgpu                                              (sysfs, hwmon)
//! intel   the values of i915 and xe; usage can only be estimated            (sysfs, hwmon)
//! rest    when an idle GPU is not queried, so that it can sleep
//! reader  combines all of them, and remembers the previous reading
//! ```
//!
//! Three rules hold. An unknown value is None, never 0. A sleeping GPU is not woken: its power state is read
//! first, and reading the state alone does not wake it. A driver that hangs makes only the values of its own
//! GPUs unknown, and never delays a heartbeat.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

use crate::fault::Faults;

pub use nvidia::{answer, serve};
pub use reader::{Gpus, Hint, SEARCH};

mod amd;
mod card;
mod hwmon;
mod intel;
mod nvidia;
mod reader;
mod rest;
mod sysfs;

#[cfg(test)]
mod tests;

/// Age limit of a snapshot. Readings are at most 5 s apart, so at this age two readings are missing and the
/// third is due: the thread hangs in a driver, and the state of the GPUs is unknown.
pub const MAX_AGE: Duration = Duration::from_secs(15);

/// Bounds of the time between two readings. There is one per heartbeat: NVML has the mean since the previous one, so
/// that more readings would tell no more. Below 500 ms it has at most two samples for that. Above 5 s its buffer,
/// which holds about 15 s, could lose the oldest samples.
const MIN_PERIOD: Duration = Duration::from_millis(500);
const MAX_PERIOD: Duration = Duration::from_secs(5);

/// Stack of the thread, in bytes. It only reads small files; NVML has a thread of its own.
const STACK: usize = 256 * 1024;

/// The vendor of a GPU. GPUs of other vendors are ignored, because no module can read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vendor {
    /// NVIDIA.
    Nvidia,
    /// AMD.
    Amd,
    /// Intel.
    Intel,
}

impl Vendor {
    /// The name for people and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nvidia => "nvidia",
            Self::Amd => "amd",
            Self::Intel => "intel",
        }
    }
}

/// Whether a GPU has readings, and why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It has been queried successfully. Single values may still be None, because not every GPU has all of
    /// them.
    Ok,
    /// It sleeps and was not woken.
    Suspended,
    /// It is idle and may sleep. It is not queried for a while, because queries would keep it awake.
    Resting,
    /// It disappeared from the bus, or needs a reset.
    Lost,
    /// The kernel driver and its library have different versions.
    Mismatch,
    /// It has no driver, or a driver without readings, such as one that passes it to a virtual machine.
    NoDriver,
    /// NVML is missing on this host or in this build.
    NoLibrary,
    /// This process has no permission to query it.
    NoPermission,
    /// The driver has not answered in time.
    NoAnswer,
    /// Another error of the driver.
    Failed,
}

impl Status {
    /// The name for people and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Suspended => "suspended",
            Self::Resting => "resting",
            Self::Lost => "lost",
            Self::Mismatch => "driver_mismatch",
            Self::NoDriver => "no_driver",
            Self::NoLibrary => "no_library",
            Self::NoPermission => "no_permission",
            Self::NoAnswer => "no_answer",
            Self::Failed => "failed",
        }
    }
}

/// The latest reading of one GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct Gpu {
    /// The vendor.
    pub vendor: Vendor,
    /// Name that the driver gives; None until the GPU has been queried.
    pub name: Option<String>,
    /// Address on the PCI bus, such as `0000:01:00.0`. Lists of GPUs are in this order.
    pub pci_address: String,
    /// The vendor's number of the model. It may be known when the name is not.
    pub device_id: Option<u16>,
    /// Share of time in which it was busy, 0 to 1. For NVIDIA, the mean of the samples since the previous
    /// reading.
    pub usage: Option<f64>,
    /// Whether `usage` was derived, not measured: Intel's drivers only say how long a GPU slept.
    pub usage_is_estimate: bool,
    /// Temperature of the chip, in degrees Celsius.
    pub temperature_celsius: Option<f64>,
    /// Bytes of GPU memory in use.
    pub vram_used_bytes: Option<u64>,
    /// Bytes of GPU memory.
    pub vram_total_bytes: Option<u64>,
    /// Power consumption in watts.
    pub power_watts: Option<f64>,
    /// Whether it has readings, and why not.
    pub status: Status,
}

impl Gpu {
    /// Share of GPU memory in use, 0 to 1. This is not the load of the memory controller, which some tools
    /// call memory utilisation.
    pub fn vram_usage(&self) -> Option<f64> {
        share(self.vram_used_bytes?, self.vram_total_bytes?)
    }
}

fn share(used: u64, total: u64) -> Option<f64> {
    // An f64 is exact up to 8 PiB.
    (total > 0 && used <= total).then(|| used as f64 / total as f64)
}

/// The values that can be measured of a GPU.
#[derive(Debug, Clone, Default, PartialEq)]
struct Reading {
    name: Option<String>,
    usage: Option<f64>,
    temperature_celsius: Option<f64>,
    vram_used_bytes: Option<u64>,
    vram_total_bytes: Option<u64>,
    power_watts: Option<f64>,
}

/// Bounds of plausible values. Drivers show values such as "all bits set" when a GPU has just been switched
/// off. No GPU consumes 10 kW, and none works at 200 °C.
const MAX_CELSIUS: f64 = 200.0;
const MIN_CELSIUS: f64 = -50.0;
const MAX_WATTS: f64 = 10_000.0;

impl Reading {
    /// Removes values that cannot be true.
    fn plausible(mut self) -> Self {
        self.usage = self.usage.filter(|usage| (0.0..=1.0).contains(usage));
        self.temperature_celsius =
            self.temperature_celsius.filter(|degrees| (MIN_CELSIUS..=MAX_CELSIUS).contains(degrees));
        self.power_watts = self.power_watts.filter(|watts| (0.0..=MAX_WATTS).contains(watts));
        self.vram_total_bytes = self.vram_total_bytes.filter(|total| *total > 0);
        if let (Some(used), Some(total)) = (self.vram_used_bytes, self.vram_total_bytes)
            && used > total
        {
            self.vram_used_bytes = None;
        }
        self
    }
}

/// Where GPUs are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// sysfs, usually /sys.
    pub sys: PathBuf,
    /// Paths of NVIDIA's library, in the order in which they are tried. The loader searches for a name
    /// without a slash.
    pub nvml: Vec<PathBuf>,
    /// Program that reads NVIDIA's GPUs in a process of its own; None: this process loads the library. See
    /// [`Paths::gpu_reader`](crate::settings::Paths::gpu_reader).
    pub reader: Option<PathBuf>,
    /// Path of the library on WSL. WSL has no GPUs on the PCI bus, so the existence of this file stands for
    /// them.
    pub wsl: PathBuf,
}

impl Sources {
    /// No sources: no GPU is found and no library is opened.
    pub fn none() -> Self {
        Self { sys: PathBuf::new(), nvml: Vec::new(), reader: None, wsl: PathBuf::new() }
    }

    /// The usual places, with sysfs at `sys`, and without a reader. If `nvml` is given, it replaces the usual paths of
    /// the library.
    pub fn new(sys: PathBuf, nvml: Option<PathBuf>) -> Self {
        let wsl = PathBuf::from("/usr/lib/wsl/lib/libnvidia-ml.so.1");
        let usual = || {
            // On NixOS the loader does not find libraries by name.
            vec!["/run/opengl-driver/lib/libnvidia-ml.so.1".into(), "libnvidia-ml.so.1".into(), wsl.clone()]
        };
        Self { sys, nvml: nvml.map_or_else(usual, |path| vec![path]), reader: None, wsl }
    }
}

/// One reading of all GPUs.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The GPUs by PCI address; empty on a host without GPUs.
    pub gpus: Vec<Gpu>,
    /// When the reading ended.
    pub taken_at: SystemTime,
    /// Count of queries to NVML that were not answered in time, since the start.
    pub unanswered: u64,
}

impl Snapshot {
    /// The GPUs, unless the snapshot is older than [`MAX_AGE`], or as far in the future because the clock was
    /// set. That there are none is known until the next search for them should have ended.
    pub fn fresh(&self, now: SystemTime) -> Option<&[Gpu]> {
        let distance = now.duration_since(self.taken_at).unwrap_or_else(|ahead| ahead.duration());
        let limit = if self.gpus.is_empty() { reader::SEARCH + MAX_AGE } else { MAX_AGE };
        (distance <= limit).then_some(self.gpus.as_slice())
    }
}

/// The newest snapshot, kept up to date by a thread that ends when this is dropped. Dropping does not wait
/// for the thread, because it may hang. On a host without GPUs there is a thread only while one is looked for.
#[derive(Debug)]
pub struct GpuHandle {
    newest: watch::Receiver<Option<Snapshot>>,
    started: SystemTime,
    stale_reads: AtomicU64,
    faults: Arc<Faults>,
    search: Search,
    /// Dropping it stops the thread; nothing is ever sent.
    _stop: mpsc::Sender<()>,
}

/// Looks for GPUs on a host where there were none.
#[derive(Debug, Clone)]
pub struct Search {
    /// What the thread needs, while there is no thread.
    resting: Arc<Mutex<Option<Readings>>>,
}

impl Search {
    /// Starts a thread that looks whether there are GPUs now, unless one reads them already. Does not wait.
    pub fn begin(&self) {
        let Some(readings) = self.lock().take() else { return };
        // If no thread can be started, the readings are still here.
        let handed = Arc::new(Mutex::new(Some(readings)));
        let (search, taken) = (self.clone(), Arc::clone(&handed));
        let run = move || {
            let readings = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
            // A thread that finds no GPU ends. The next search begins where it stopped.
            if let Some(readings) = readings.and_then(Readings::follow) {
                *search.lock() = Some(readings);
            }
        };
        if let Err(error) = thread::Builder::new().name("gpu".to_owned()).stack_size(STACK).spawn(run) {
            tracing::warn!(%error, "No thread for GPUs; trying again.");
            *self.lock() = handed.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Readings>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the GPUs, and publishes what it finds.
#[derive(Debug)]
struct Readings {
    gpus: Gpus,
    publish: watch::Sender<Option<Snapshot>>,
    stopped: mpsc::Receiver<()>,
    period: Duration,
}

impl Readings {
    /// Reads until there is no GPU, or until nobody wants to know. Returns itself if there is none.
    fn follow(mut self) -> Option<Self> {
        loop {
            let gpus = self.gpus.read(Instant::now());
            self.gpus.take_hints().iter().for_each(Hint::log);
            let (unanswered, are_there) = (self.gpus.unanswered(), !gpus.is_empty());
            self.publish.send_replace(Some(Snapshot { gpus, taken_at: SystemTime::now(), unanswered }));
            // NVIDIA's library may be about to tell of GPUs that are on no bus, as on WSL.
            if !are_there && self.gpus.rest() {
                return Some(self);
            }
            match self.stopped.recv_timeout(self.period) {
                Ok(()) | Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}

impl GpuHandle {
    /// The GPUs for a heartbeat at `now`; empty on a host without GPUs. None while nothing is known; after
    /// the start this is counted as a timeout. Reads the snapshot only, no file and no driver.
    pub fn at(&self, now: SystemTime) -> Option<Vec<Gpu>> {
        let newest = self.newest.borrow();
        let fresh = newest.as_ref().and_then(|snapshot| snapshot.fresh(now)).map(<[Gpu]>::to_vec);
        let still_starting =
            newest.is_none() && now.duration_since(self.started).is_ok_and(|age| age <= MAX_AGE);
        if fresh.is_none() && !still_starting {
            self.stale_reads.fetch_add(1, Ordering::Relaxed);
        }
        fresh
    }

    /// Count of timeouts: queries that NVML did not answer in time, and calls of [`at`](Self::at) that found
    /// no fresh snapshot.
    pub fn timeouts(&self) -> u64 {
        let unanswered = self.newest.borrow().as_ref().map_or(0, |snapshot| snapshot.unanswered);
        unanswered + self.stale_reads.load(Ordering::Relaxed)
    }

    /// The files of GPUs that could not be read or understood.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The snapshot, for waiting for changes.
    pub fn watch(&self) -> watch::Receiver<Option<Snapshot>> {
        self.newest.clone()
    }

    /// Looks for GPUs on a host where there were none.
    pub fn search(&self) -> Search {
        self.search.clone()
    }
}

/// Starts reading: at once, then once per `interval`, but not more often than every 500 ms and not less often than
/// every 5 s. It uses a thread because a driver may hang, and a heartbeat must not. Where there is no GPU, somebody has
/// to look for one by [`GpuHandle::search`] every 30 s.
pub fn spawn(sources: &Sources, interval: Duration) -> GpuHandle {
    spawn_with(Gpus::new(sources), interval)
}

fn period_for(interval: Duration) -> Duration {
    interval.clamp(MIN_PERIOD, MAX_PERIOD)
}

fn spawn_with(gpus: Gpus, interval: Duration) -> GpuHandle {
    let (publish, newest) = watch::channel(None);
    let (stop, stopped) = mpsc::channel();
    let faults = gpus.faults();
    let readings = Readings { gpus, publish, stopped, period: period_for(interval) };
    let search = Search { resting: Arc::new(Mutex::new(Some(readings))) };
    search.begin();
    GpuHandle {
        newest,
        started: SystemTime::now(),
        stale_reads: AtomicU64::new(0),
        faults,
        search,
        _stop: stop,
    }
}
