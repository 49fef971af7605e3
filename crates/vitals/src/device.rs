//! All vitals of the device in one object, for other programs.
//!
//! There are three ways to use it:
//! * [`collect_device_vitals`] measures once.
//! * [`HeartbeatService`] measures at a fixed interval and calls back.
//! * [`Meters`] measures in the background, and the program reads the newest values when it wants. The agent
//!   does this.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//!
//! use nixfleet_vitals::Settings;
//! use nixfleet_vitals::device::{Meters, collect_device_vitals};
//!
//! let vitals = collect_device_vitals("my-device");
//! println!("CPU {:?}, GPU {:?}", vitals.cpu_usage, vitals.gpu_usage);
//!
//! let meters = Meters::start(&Settings::default(), Duration::from_secs(10));
//! let vitals = meters.read("my-device", SystemTime::now());
//! assert_eq!(vitals.device_id, "my-device");
//! ```

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

use crate::clock::Moment;
use crate::disk::Disk;
use crate::fault::Fault;
use crate::gpu::{self, Gpu, GpuHandle};
use crate::handle::{self, VitalsHandle};
use crate::prewarm::Load;
use crate::settings::Settings;
use crate::snapshot::Vitals;
use crate::stasysmo;
use crate::workload::Workload;

pub use service::{HeartbeatConfig, HeartbeatService, RunningService};

mod service;

#[cfg(test)]
mod tests;

/// The vitals of a device. None is unknown; shares are numbers from 0 to 1.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeviceVitals {
    /// Name of the device.
    pub device_id: String,
    /// When the values were collected into this object, RFC 3339.
    pub timestamp: String,
    /// Share of time in which the processors were busy since the previous reading.
    pub cpu_usage: Option<f64>,
    /// Share of the memory that programs cannot allocate.
    pub memory_usage: Option<f64>,
    /// Busy share of the busiest GPU.
    pub gpu_usage: Option<f64>,
    /// Temperature of the hottest GPU, in degrees Celsius.
    pub gpu_temp_celsius: Option<f64>,
    /// Share of memory in use on the GPU whose memory is fullest.
    pub gpu_vram_usage: Option<f64>,
    /// Share in use of `/`, or of the fullest measured file system if `/` is not measured.
    pub disk_usage: Option<f64>,
    /// Count of sessions that a local program serves.
    pub active_sessions: Option<u32>,
    /// Count of queries that wait for that program.
    pub pending_queries: Option<u32>,
    /// Name of the model that the program has loaded.
    pub loaded_model: Option<String>,
    /// All values of the host.
    pub host: Vitals,
    /// The GPUs.
    pub gpus: Vec<Gpu>,
}

impl DeviceVitals {
    /// Combines the values of the host, its GPUs and its workload. The time is now.
    pub fn assemble(device_id: &str, host: Vitals, gpus: Vec<Gpu>, workload: Option<Workload>) -> Self {
        let load = gpu_load(&gpus);
        let workload = workload.as_ref();
        Self {
            device_id: device_id.to_owned(),
            timestamp: nixfleet_os::timestamp(),
            cpu_usage: host.cpu.map(|cpu| cpu.busy),
            memory_usage: host.memory.and_then(|memory| memory.used()),
            gpu_usage: load.usage,
            gpu_temp_celsius: load.temperature,
            gpu_vram_usage: gpus.iter().filter_map(Gpu::vram_usage).reduce(f64::max),
            disk_usage: host.disks.as_ref().and_then(|disks| disk_usage(&disks.value)),
            active_sessions: workload.and_then(|workload| workload.active_sessions),
            pending_queries: workload.and_then(|workload| workload.pending_queries),
            loaded_model: workload.and_then(|workload| workload.loaded_model.clone()),
            host,
            gpus,
        }
    }
}

/// Share in use of `/`, or of the fullest file system if `/` is not measured.
fn disk_usage(disks: &[Disk]) -> Option<f64> {
    let share = |disk: &Disk| disk.usage.and_then(|usage| usage.value.used_share());
    match disks.iter().find(|disk| disk.mount.point == Path::new("/")) {
        Some(root) => share(root),
        None => disks.iter().filter_map(share).reduce(f64::max),
    }
}

/// Background threads that measure the host, its GPUs and its workload. Dropping it stops the threads without
/// waiting for them.
#[derive(Debug)]
pub struct Meters {
    vitals: VitalsHandle,
    gpus: GpuHandle,
}

impl Meters {
    /// Starts measuring. `interval` is the time between two calls of [`read`](Self::read): values are measured once in
    /// that time, and those of GPUs more often.
    pub fn start(settings: &Settings, interval: Duration) -> Self {
        let sources = if settings.enabled {
            let usual = gpu::Sources::new(settings.paths.sys.clone(), settings.paths.nvml.clone());
            gpu::Sources { reader: settings.paths.gpu_reader.clone(), ..usual }
        } else {
            gpu::Sources::none()
        };
        let gpus = gpu::spawn(&sources, interval);
        Self { vitals: handle::spawn_searching(settings, interval, gpus.search()), gpus }
    }

    /// The newest values, without those that are too old at `now`. Touches no file and never waits.
    pub fn read(&self, device_id: &str, now: SystemTime) -> DeviceVitals {
        let workload = self.vitals.workload().filter(|workload| workload.is_fresh(now));
        let gpus = self.gpus.at(now).unwrap_or_default();
        DeviceVitals::assemble(device_id, self.vitals.at(Moment::now()), gpus, workload)
    }

    /// Whether all sources have been read once since the start.
    pub fn are_warm(&self, now: SystemTime) -> bool {
        let vitals = self.vitals.at(Moment::now());
        vitals.cpu.is_some() && vitals.disks.is_some() && self.gpus.at(now).is_some()
    }

    /// The files that could not be read or understood at their last reading.
    pub fn faults(&self) -> Vec<Fault> {
        [self.vitals.collectors().faults.now(), self.gpus.faults().now()].concat()
    }

    /// Says when [`read`](Self::read) will be called next, so that the values are read shortly before it.
    pub fn expect(&self, next: Instant) {
        self.vitals.expect(next);
    }

    /// The newest reading of StaSysMo, if the settings say where it is.
    pub fn stasysmo(&self) -> watch::Receiver<Option<stasysmo::Reading>> {
        self.vitals.stasysmo()
    }

    /// The values of the host.
    pub fn vitals(&self) -> &VitalsHandle {
        &self.vitals
    }

    /// The GPUs.
    pub fn gpus(&self) -> &GpuHandle {
        &self.gpus
    }
}

/// The load of the GPUs for pre-warm signals: the highest value of each kind.
pub fn gpu_load(gpus: &[Gpu]) -> Load {
    let highest = |value: fn(&Gpu) -> Option<f64>| gpus.iter().filter_map(value).reduce(f64::max);
    Load { usage: highest(|gpu| gpu.usage), temperature: highest(|gpu| gpu.temperature_celsius) }
}

/// Longest wait of [`collect_device_vitals`] for slow sources.
pub const MAX_WAIT: Duration = Duration::from_secs(1);

/// Time between two checks whether all values are known.
pub const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Measures the vitals of this device once. It takes about a third of a second, because usage is the
/// difference between two readings, and at most a second: values of sources that hang stay None.
pub fn collect_device_vitals(device_id: impl Into<String>) -> DeviceVitals {
    let device_id = device_id.into();
    collect(&Settings::default(), &device_id)
}

/// The same as [`collect_device_vitals`], with other settings.
pub fn collect(settings: &Settings, device_id: &str) -> DeviceVitals {
    examine(settings, device_id).0
}

/// The same as [`collect`], and the files that could not be read or understood.
pub fn examine(settings: &Settings, device_id: &str) -> (DeviceVitals, Vec<Fault>) {
    // An interval of zero gives the fastest pace.
    let meters = Meters::start(settings, Duration::ZERO);
    let started = Instant::now();
    loop {
        let now = SystemTime::now();
        if meters.are_warm(now) || started.elapsed() >= MAX_WAIT {
            return (meters.read(device_id, now), meters.faults());
        }
        thread::sleep(POLL_INTERVAL);
    }
}
