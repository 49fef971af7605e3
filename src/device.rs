//! The device's vitals in one object (seed 001): what all meters show, no older than it may be.
//!
//! Once by [`collect_device_vitals`], at a fixed pace by [`HeartbeatService`]; the agent itself holds
//! [`Meters`] and reads them for each heartbeat.
//!
//! ```no_run
//! let vitals = nixfleet_agent::device::collect_device_vitals("my-device");
//! println!("CPU {:?}, GPU {:?}", vitals.cpu_usage, vitals.gpu_usage);
//! ```

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::config::Host;
use crate::prewarm::Load;
use crate::protocol::{
    DeviceVitals, DiskVitals, FailedUnits, GpuVitals, Pressures, TemperatureVitals, Throughput,
};
use crate::vitals::gpu::{self, Gpu, GpuHandle};
use crate::vitals::workload::{self, Workload, WorkloadHandle};
use crate::vitals::{self, Disk, Moment, Pressure, Temperature, Vitals, VitalsHandle};

pub use service::{HeartbeatConfig, HeartbeatService, RunningService};

mod service;

#[cfg(test)]
mod tests;

/// Names of failed units that are passed on: enough to see what is wrong, not enough to swell a beat.
const UNIT_NAMES: usize = 8;

/// Every meter of this host, running. Dropping it ends their threads and waits for none.
#[derive(Debug)]
pub struct Meters {
    vitals: VitalsHandle,
    gpus: GpuHandle,
    workload: WorkloadHandle,
}

impl Meters {
    /// Starts the meters of `host`, at a pace that follows the time between heartbeats.
    pub fn start(host: &Host, interval: Duration) -> Self {
        let sources = if host.vitals.enabled {
            gpu::Sources::new(host.paths.sys.clone(), host.paths.nvml.clone())
        } else {
            gpu::Sources::none()
        };
        Self {
            vitals: vitals::spawn(host, interval),
            gpus: gpu::spawn(&sources, interval),
            workload: workload::spawn(host.paths.workload.clone(), interval),
        }
    }

    /// What they show now. Touches no file and waits for nothing.
    pub fn read(&self, device_id: &str, now: SystemTime) -> DeviceVitals {
        let workload = self.workload.newest().filter(|workload| workload.is_fresh(now));
        let gpus = self.gpus.at(now).unwrap_or_default();
        assemble(device_id, &self.vitals.at(Moment::now()), gpus, workload)
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

fn assemble(device_id: &str, vitals: &Vitals, gpus: Vec<Gpu>, workload: Option<Workload>) -> DeviceVitals {
    let load = gpu_load(&gpus);
    let disks: Vec<DiskVitals> = vitals.disks.iter().flat_map(|disks| &disks.value).map(disk).collect();
    let workload = workload.as_ref();
    let waited = |pressure: Option<vitals::Timed<Pressure>>| Some(pressure?.value.some?.avg10);
    let pressure = Pressures {
        cpu: waited(vitals.cpu_pressure),
        memory: waited(vitals.memory_pressure),
        io: waited(vitals.io_pressure),
    };
    DeviceVitals {
        device_id: device_id.to_owned(),
        timestamp: crate::job::timestamp(),
        cpu_usage: vitals.cpu.map(|cpu| cpu.busy),
        memory_usage: vitals.memory.and_then(|memory| memory.used()),
        gpu_usage: load.usage,
        gpu_temp_celsius: load.temperature,
        gpu_vram_usage: gpus.iter().filter_map(Gpu::vram_usage).reduce(f64::max),
        disk_usage: disk_usage(&disks),
        active_sessions: workload.and_then(|workload| workload.active_sessions),
        pending_queries: workload.and_then(|workload| workload.pending_queries),
        loaded_model: workload.and_then(|workload| workload.loaded_model.clone()),
        // It goes on between two looks, as the time of the line does.
        uptime_s: vitals.uptime.map(|uptime| (uptime.value + uptime.age(Moment::now())).as_secs()),
        load: vitals.load.map(|load| [load.one, load.five, load.fifteen]),
        swap_usage: vitals.swap.and_then(|swap| swap.used_share()),
        memory_total: vitals.memory.map(|memory| memory.total),
        memory_free: vitals.memory.map(|memory| memory.free),
        pressure: Some(pressure).filter(|pressure| *pressure != Pressures::default()),
        disks,
        network: vitals.network.map(|rate| Throughput { received: rate.received, sent: rate.sent }),
        disk_io: vitals.disk_io.map(|rate| Throughput { received: rate.read, sent: rate.written }),
        temperatures: vitals.temperatures.iter().flat_map(|all| &all.value).map(temperature).collect(),
        gpus: gpus.into_iter().map(gpu).collect(),
        failed_units: vitals.failed_units.as_ref().map(|units| FailedUnits {
            count: u32::try_from(units.count).unwrap_or(u32::MAX),
            names: units.names.iter().take(UNIT_NAMES).cloned().collect(),
        }),
        reboot_required: vitals.reboot_required.map(|required| required.value),
    }
}

/// Of `/`, which every host has; where that is not looked at, of the fullest.
fn disk_usage(disks: &[DiskVitals]) -> Option<f64> {
    match disks.iter().find(|disk| Path::new(&disk.path) == Path::new("/")) {
        Some(root) => root.usage,
        None => disks.iter().filter_map(|disk| disk.usage).reduce(f64::max),
    }
}

fn disk(disk: &Disk) -> DiskVitals {
    let usage = disk.usage.map(|usage| usage.value);
    let inodes = usage.and_then(|usage| usage.inodes).filter(|inodes| inodes.total > 0);
    DiskVitals {
        path: disk.mount.point.display().to_string(),
        usage: usage.and_then(|usage| usage.used_share()),
        used: usage.map(|usage| usage.used),
        total: usage.map(|usage| usage.total),
        inode_usage: inodes.map(|inodes| inodes.used as f64 / inodes.total as f64),
    }
}

fn temperature(sensor: &Temperature) -> TemperatureVitals {
    let Temperature { chip, device, label, celsius } = sensor;
    let place = device.as_deref().unwrap_or(chip);
    TemperatureVitals { name: format!("{place} {label}"), celsius: *celsius }
}

fn gpu(gpu: Gpu) -> GpuVitals {
    GpuVitals {
        vendor: gpu.vendor.as_str().to_owned(),
        status: gpu.status.as_str().to_owned(),
        name: gpu.name,
        pci_address: gpu.pci_address,
        usage: gpu.usage,
        usage_is_estimate: gpu.usage_is_estimate,
        temp_celsius: gpu.temperature_celsius,
        vram_used: gpu.vram_used_bytes,
        vram_total: gpu.vram_total_bytes,
        power_watts: gpu.power_watts,
    }
}

/// How long [`collect_device_vitals`] waits for what is slow to show.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// Between two looks whether all is there.
pub(crate) const LOOK: Duration = Duration::from_millis(10);

/// The vitals of this device, once (seed 001). Takes a third of a second, because a load is the
/// difference between two looks, and a second at most, whatever hangs: that stays None.
pub fn collect_device_vitals(device_id: impl Into<String>) -> DeviceVitals {
    let device_id = device_id.into();
    collect(&Host::standard(), &device_id)
}

/// As [`collect_device_vitals`], for a host whose files are elsewhere.
pub fn collect(host: &Host, device_id: &str) -> DeviceVitals {
    // The fastest pace there is.
    let meters = Meters::start(host, Duration::ZERO);
    let begun = Instant::now();
    loop {
        let now = SystemTime::now();
        if meters.are_warm(now) || begun.elapsed() >= PATIENCE {
            return meters.read(device_id, now);
        }
        thread::sleep(LOOK);
    }
}
