//! The device's vitals in one object: what all meters show, no older than it may be.
//!
//! Once by [`collect_device_vitals`], at a fixed pace by [`HeartbeatService`]; the agent itself holds
//! [`Meters`] and reads them for each heartbeat.
//!
//! ```no_run
//! let vitals = nixfleet_vitals::device::collect_device_vitals("my-device");
//! println!("CPU {:?}, GPU {:?}", vitals.cpu_usage, vitals.gpu_usage);
//! ```

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::gpu;
use super::gpu::{Gpu, GpuHandle};
use super::prewarm::Load;
use super::workload;
use super::workload::{Workload, WorkloadHandle};
use super::{Disk, Moment, Vitals, VitalsHandle};
use crate::Settings;

pub use service::{HeartbeatConfig, HeartbeatService, RunningService};

mod service;

#[cfg(test)]
mod tests;

/// The vitals of a device. What is unknown is None; shares are numbers from 0 to 1.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeviceVitals {
    /// Name of the device.
    pub device_id: String,
    /// When this was put together, RFC 3339.
    pub timestamp: String,
    /// Share of time in which the processors were busy since the look before.
    pub cpu_usage: Option<f64>,
    /// Share of the memory that is in use and cannot be had by asking.
    pub memory_usage: Option<f64>,
    /// Busy share of the busiest GPU.
    pub gpu_usage: Option<f64>,
    /// Temperature of the hottest GPU, in degrees Celsius.
    pub gpu_temp_celsius: Option<f64>,
    /// Share of its memory that is in use, of the GPU where that is highest.
    pub gpu_vram_usage: Option<f64>,
    /// Share of `/` that is in use; where `/` is not looked at, of the fullest file system.
    pub disk_usage: Option<f64>,
    /// Sessions that a local program serves.
    pub active_sessions: Option<u32>,
    /// Queries that wait for it.
    pub pending_queries: Option<u32>,
    /// The model that it has loaded.
    pub loaded_model: Option<String>,
    /// All that is known of the host itself.
    pub host: Vitals,
    /// Its GPUs.
    pub gpus: Vec<Gpu>,
}

impl DeviceVitals {
    /// Puts together what each meter shows.
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

/// Of `/`, which every host has; where that is not looked at, of the fullest.
fn disk_usage(disks: &[Disk]) -> Option<f64> {
    let share = |disk: &Disk| disk.usage.and_then(|usage| usage.value.used_share());
    match disks.iter().find(|disk| disk.mount.point == Path::new("/")) {
        Some(root) => share(root),
        None => disks.iter().filter_map(share).reduce(f64::max),
    }
}

/// Every meter of this host, running. Dropping it ends their threads and waits for none.
#[derive(Debug)]
pub struct Meters {
    vitals: VitalsHandle,
    gpus: GpuHandle,
    workload: WorkloadHandle,
}

impl Meters {
    /// Starts the meters of `host`, at a pace that follows the time between heartbeats.
    pub fn start(settings: &Settings, interval: Duration) -> Self {
        let sources = if settings.enabled {
            gpu::Sources::new(settings.paths.sys.clone(), settings.paths.nvml.clone())
        } else {
            gpu::Sources::none()
        };
        Self {
            vitals: crate::spawn(settings, interval),
            gpus: gpu::spawn(&sources, interval),
            workload: workload::spawn(settings.paths.workload.clone(), interval),
        }
    }

    /// What they show now. Touches no file and waits for nothing.
    pub fn read(&self, device_id: &str, now: SystemTime) -> DeviceVitals {
        let workload = self.workload.newest().filter(|workload| workload.is_fresh(now));
        let gpus = self.gpus.at(now).unwrap_or_default();
        DeviceVitals::assemble(device_id, self.vitals.at(Moment::now()), gpus, workload)
    }

    /// Whether all of them have had the time to show something.
    pub fn are_warm(&self, now: SystemTime) -> bool {
        let seen = self.vitals.at(Moment::now());
        seen.cpu.is_some() && seen.disks.is_some() && self.gpus.at(now).is_some()
    }

    /// The meters of the host itself.
    pub fn vitals(&self) -> &VitalsHandle {
        &self.vitals
    }

    /// Those of its GPUs.
    pub fn gpus(&self) -> &GpuHandle {
        &self.gpus
    }
}

/// What matters of the GPUs for pre-warm signals: of several, the highest of each figure.
pub fn gpu_load(gpus: &[Gpu]) -> Load {
    let highest = |figure: fn(&Gpu) -> Option<f64>| gpus.iter().filter_map(figure).reduce(f64::max);
    Load { usage: highest(|gpu| gpu.usage), temperature: highest(|gpu| gpu.temperature_celsius) }
}

/// How long [`collect_device_vitals`] waits for what is slow to show.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Between two looks whether all is there.
pub const LOOK: Duration = Duration::from_millis(10);

/// The vitals of this device, once (seed 001). Takes a third of a second, because a load is the
/// difference between two looks, and a second at most, whatever hangs: that stays None.
pub fn collect_device_vitals(device_id: impl Into<String>) -> DeviceVitals {
    let device_id = device_id.into();
    collect(&Settings::default(), &device_id)
}

/// As [`collect_device_vitals`], for a host whose files are elsewhere.
pub fn collect(settings: &Settings, device_id: &str) -> DeviceVitals {
    // The fastest pace there is.
    let meters = Meters::start(settings, Duration::ZERO);
    let begun = Instant::now();
    loop {
        let now = SystemTime::now();
        if meters.are_warm(now) || begun.elapsed() >= PATIENCE {
            return meters.read(device_id, now);
        }
        thread::sleep(LOOK);
    }
}
