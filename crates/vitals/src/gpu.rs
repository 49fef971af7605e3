//! GPUs: how busy, how warm, how full, without a subprocess.
//!
//! ```text
//! card    which GPUs the host has, whose they are, whether they sleep       (sysfs)
//! nvidia  NVML on a thread of its own: its driver may never come back       (libnvidia-ml.so.1)
//! amd     what amdgpu shows                                                 (sysfs, hwmon)
//! intel   what i915 and xe show; how busy it is can only be estimated       (sysfs, hwmon)
//! rest    when a GPU that could go to sleep is left alone
//! reader  all of it together, and what must be known from the look before
//! ```
//!
//! Three rules. What is not known is None and never 0. A GPU that sleeps is not woken: its power state
//! is looked at before anything else, and the state alone costs it nothing. And a driver that hangs
//! costs its own GPUs' figures, not the others' and not a beat.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    sync::mpsc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::watch;

pub use reader::{Gpus, Hint};

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

/// A snapshot older than this is not reported. Looks are 5 s apart at most, so two of them went missing
/// and a third is due: the thread hangs in a driver, and nobody knows what the GPUs do now.
pub const MAX_AGE: Duration = Duration::from_secs(15);

/// Bounds of the time between two looks. Four looks for each beat keep a beat's figures at most a
/// quarter of an interval late. Below 500 ms NVML has two samples or fewer to take a mean of; above 5 s
/// its buffer, which was made for some 15 s, would lose the oldest.
const MIN_PERIOD: Duration = Duration::from_millis(500);
const MAX_PERIOD: Duration = Duration::from_secs(5);

/// Enough for reading small files; NVML has a thread of its own.
const STACK: usize = 256 * 1024;

/// Who made a GPU. Others are not looked for: nothing here could read them.
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
    /// For people and for the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nvidia => "nvidia",
            Self::Amd => "amd",
            Self::Intel => "intel",
        }
    }
}

/// Why there are readings, or why there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It was asked and answered. Single readings may still be None: not every GPU has all of them.
    Ok,
    /// It sleeps, and was not woken.
    Suspended,
    /// It had nothing to do and may sleep, so it is left alone for a while, or it never would.
    Resting,
    /// It fell off the bus, or needs a reset.
    Lost,
    /// The driver in the kernel and its library have different versions.
    Mismatch,
    /// No driver has it, or one that shows nothing, such as one that gives it to a virtual machine.
    NoDriver,
    /// There is no NVML on this host or in this build.
    NoLibrary,
    /// The agent may not ask it.
    NoPermission,
    /// The driver has not answered in time.
    NoAnswer,
    /// Another error of the driver's.
    Failed,
}

impl Status {
    /// For people and for the wire.
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

/// One GPU, as it was at the last look.
#[derive(Debug, Clone, PartialEq)]
pub struct Gpu {
    /// Who made it.
    pub vendor: Vendor,
    /// What its driver calls it, once that has been asked.
    pub name: Option<String>,
    /// Where it sits, such as `0000:01:00.0`. The list of GPUs is in this order.
    pub pci_address: String,
    /// The vendor's number for the model. Known even when the name is not.
    pub device_id: Option<u16>,
    /// Share of time in which it was busy, 0 to 1. NVIDIA: mean of the samples since the last look.
    pub usage: Option<f64>,
    /// Whether `usage` was derived rather than measured: Intel's drivers tell only how long a GPU slept.
    pub usage_is_estimate: bool,
    /// Temperature of the chip, in degrees Celsius.
    pub temperature_celsius: Option<f64>,
    /// Bytes of its memory in use.
    pub vram_used_bytes: Option<u64>,
    /// Bytes of its memory.
    pub vram_total_bytes: Option<u64>,
    /// Power that it draws, in watts.
    pub power_watts: Option<f64>,
    /// Why there are readings, or why there are none.
    pub status: Status,
}

impl Gpu {
    /// Share of its memory in use, 0 to 1. Not the load of the memory controller, which some tools call
    /// memory utilisation.
    pub fn vram_usage(&self) -> Option<f64> {
        share(self.vram_used_bytes?, self.vram_total_bytes?)
    }
}

fn share(used: u64, total: u64) -> Option<f64> {
    // Exact up to 8 PiB.
    (total > 0 && used <= total).then(|| used as f64 / total as f64)
}

/// What can be measured of a GPU.
#[derive(Debug, Clone, Default, PartialEq)]
struct Reading {
    name: Option<String>,
    usage: Option<f64>,
    temperature_celsius: Option<f64>,
    vram_used_bytes: Option<u64>,
    vram_total_bytes: Option<u64>,
    power_watts: Option<f64>,
}

/// Beyond these a sensor's figure is garbage, such as all bits set: drivers show it when the GPU has just
/// been switched off. No GPU draws 10 kW, and none works at 200 degrees.
const MAX_CELSIUS: f64 = 200.0;
const MIN_CELSIUS: f64 = -50.0;
const MAX_WATTS: f64 = 10_000.0;

impl Reading {
    /// Leaves out what cannot be true.
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

/// Where to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// sysfs.
    pub sys: PathBuf,
    /// NVIDIA's library, places in the order in which they are tried. A name without a slash is looked
    /// for by the loader.
    pub nvml: Vec<PathBuf>,
    /// Where WSL has it. There its GPUs are not on the PCI bus, so the file stands for them.
    pub wsl: PathBuf,
}

impl Sources {
    /// Nowhere: no GPU is found, and no library opened.
    pub fn none() -> Self {
        Self { sys: PathBuf::new(), nvml: Vec::new(), wsl: PathBuf::new() }
    }

    /// The usual places below `sys`; `nvml` is asked instead of them if given.
    pub fn new(sys: PathBuf, nvml: Option<PathBuf>) -> Self {
        let wsl = PathBuf::from("/usr/lib/wsl/lib/libnvidia-ml.so.1");
        let usual = || {
            // NixOS has no libraries where the loader looks.
            vec!["/run/opengl-driver/lib/libnvidia-ml.so.1".into(), "libnvidia-ml.so.1".into(), wsl.clone()]
        };
        Self { sys, nvml: nvml.map_or_else(usual, |path| vec![path]), wsl }
    }
}

/// All GPUs at one look.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// By PCI address; empty on a host without any.
    pub gpus: Vec<Gpu>,
    /// When the look ended.
    pub taken_at: SystemTime,
    /// Questions to NVML that were not answered in time, since the start.
    pub unanswered: u64,
}

impl Snapshot {
    /// The GPUs, unless the snapshot is older than [`MAX_AGE`] or from as far ahead: clocks are stepped.
    pub fn fresh(&self, now: SystemTime) -> Option<&[Gpu]> {
        let distance = now.duration_since(self.taken_at).unwrap_or_else(|ahead| ahead.duration());
        (distance <= MAX_AGE).then_some(self.gpus.as_slice())
    }
}

/// The newest snapshot, kept up to date by a thread that ends when this is dropped. Nobody waits for its
/// end: it may never come.
#[derive(Debug)]
pub struct GpuHandle {
    newest: watch::Receiver<Option<Snapshot>>,
    started: SystemTime,
    too_old: AtomicU64,
    /// Its end is the thread's sign to stop; nothing is ever sent.
    _stop: mpsc::Sender<()>,
}

impl GpuHandle {
    /// What a beat reports; empty on a host without GPUs. None while nothing is known, which is counted
    /// as a timeout if it should be. Looks at the snapshot only: no file and no driver is touched.
    pub fn at(&self, now: SystemTime) -> Option<Vec<Gpu>> {
        let newest = self.newest.borrow();
        let fresh = newest.as_ref().and_then(|snapshot| snapshot.fresh(now)).map(<[Gpu]>::to_vec);
        let still_starting =
            newest.is_none() && now.duration_since(self.started).is_ok_and(|age| age <= MAX_AGE);
        if fresh.is_none() && !still_starting {
            self.too_old.fetch_add(1, Ordering::Relaxed);
        }
        fresh
    }

    /// How often a driver was too late: questions that NVML left open, and calls of [`at`](Self::at) that
    /// found nothing fresh.
    pub fn timeouts(&self) -> u64 {
        let unanswered = self.newest.borrow().as_ref().map_or(0, |snapshot| snapshot.unanswered);
        unanswered + self.too_old.load(Ordering::Relaxed)
    }

    /// The snapshot, to wait for changes.
    pub fn watch(&self) -> watch::Receiver<Option<Snapshot>> {
        self.newest.clone()
    }
}

/// Starts looking: at once, then four times each `interval`, but not more often than every 500 ms nor
/// less often than every 5 s. A thread, because a driver may hang and a beat must not.
pub fn spawn(sources: &Sources, interval: Duration) -> GpuHandle {
    spawn_with(Gpus::new(sources), interval)
}

fn period_for(interval: Duration) -> Duration {
    (interval / 4).clamp(MIN_PERIOD, MAX_PERIOD)
}

fn spawn_with(mut gpus: Gpus, interval: Duration) -> GpuHandle {
    let (publish, newest) = watch::channel(None);
    let (stop, stopped) = mpsc::channel();
    let period = period_for(interval);
    let run = move || {
        loop {
            let seen = gpus.look(Instant::now());
            gpus.take_hints().iter().for_each(Hint::log);
            let unanswered = gpus.unanswered();
            publish.send_replace(Some(Snapshot { gpus: seen, taken_at: SystemTime::now(), unanswered }));
            match stopped.recv_timeout(period) {
                Ok(()) | Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("gpu".to_owned()).stack_size(STACK).spawn(run) {
        tracing::warn!(%error, "No thread for GPUs: heartbeats go without them.");
    }
    GpuHandle { newest, started: SystemTime::now(), too_old: AtomicU64::new(0), _stop: stop }
}
