//! The vitals of this device, as a part of heartbeats and as `nixfleet-agent vitals` prints them.
//!
//! Numbers are rounded to their real precision: a value that was derived from clock ticks does not have
//! sixteen digits.

use nixfleet_protocol::{
    DeviceVitals, DiskIo, DiskVitals, FailedUnits, GpuVitals, Pressures, TemperatureVitals, Throughput,
};
use nixfleet_vitals::gpu::Gpu;
use nixfleet_vitals::{Disk, Pressure, Temperature, Timed, device};

#[cfg(test)]
mod tests;

/// Names of failed units in a heartbeat: enough to see what is wrong, and few enough to keep it small.
const UNIT_NAMES: usize = 8;

/// Decimal places of a share: a hundredth of a percent.
const SHARE: i32 = 4;

/// Decimal places of a load, a temperature or a power: as the kernel and the drivers report them.
const FIGURE: i32 = 2;

/// The message for the vitals of a device.
pub fn message(seen: device::DeviceVitals) -> DeviceVitals {
    let device::DeviceVitals { device_id, timestamp, host, gpus, loaded_model, .. } = seen;
    let stalled = |pressure: Option<Timed<Pressure>>| share(Some(pressure?.value.some?.avg10));
    let pressure = Pressures {
        cpu: stalled(host.cpu_pressure),
        memory: stalled(host.memory_pressure),
        io: stalled(host.io_pressure),
    };
    DeviceVitals {
        device_id,
        timestamp,
        cpu_usage: share(seen.cpu_usage),
        memory_usage: share(seen.memory_usage),
        gpu_usage: share(seen.gpu_usage),
        gpu_temp_celsius: figure(seen.gpu_temp_celsius),
        gpu_vram_usage: share(seen.gpu_vram_usage),
        disk_usage: share(seen.disk_usage),
        active_sessions: seen.active_sessions,
        pending_queries: seen.pending_queries,
        loaded_model,
        // The uptime at this moment, not at the last reading.
        uptime_s: host
            .uptime
            .map(|uptime| (uptime.value + uptime.age(nixfleet_vitals::Moment::now())).as_secs()),
        load: host.load.map(|load| [load.one, load.five, load.fifteen].map(|load| rounded(load, FIGURE))),
        swap_usage: share(host.swap.and_then(|swap| swap.used_share())),
        memory_total: host.memory.and_then(|memory| memory.total),
        memory_free: host.memory.and_then(|memory| memory.free),
        pressure: Some(pressure).filter(|pressure| *pressure != Pressures::default()),
        disks: host.disks.iter().flat_map(|disks| &disks.value).map(disk).collect(),
        network: host
            .network
            .map(|rate| Throughput { received: rate.received.round(), sent: rate.sent.round() }),
        disk_io: host.disk_io.map(|rate| DiskIo { read: rate.read.round(), written: rate.written.round() }),
        temperatures: host.temperatures.iter().flat_map(|all| &all.value).map(temperature).collect(),
        gpus: gpus.into_iter().map(gpu).collect(),
        failed_units: host.failed_units.as_ref().map(|units| FailedUnits {
            count: u32::try_from(units.count).unwrap_or(u32::MAX),
            names: units.names.iter().take(UNIT_NAMES).cloned().collect(),
        }),
        reboot_required: host.reboot_required.map(|required| required.value),
    }
}

/// A share, rounded to its real precision.
pub fn share(value: Option<f64>) -> Option<f64> {
    value.map(|value| rounded(value, SHARE))
}

/// A load, a temperature or a power, rounded to its real precision.
pub fn figure(value: Option<f64>) -> Option<f64> {
    value.map(|value| rounded(value, FIGURE))
}

/// Rounds to a number of decimal places.
pub fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    // The addition turns -0 into 0.
    (value * scale).round() / scale + 0.0
}

fn disk(disk: &Disk) -> DiskVitals {
    let usage = disk.usage.map(|usage| usage.value);
    let inodes = usage.and_then(|usage| usage.inodes).filter(|inodes| inodes.total > 0);
    DiskVitals {
        path: disk.mount.point.display().to_string(),
        usage: share(usage.and_then(|usage| usage.used_share())),
        used: usage.map(|usage| usage.used),
        total: usage.map(|usage| usage.total),
        inode_usage: share(inodes.map(|inodes| inodes.used as f64 / inodes.total as f64)),
    }
}

fn temperature(sensor: &Temperature) -> TemperatureVitals {
    let Temperature { chip, device, label, celsius } = sensor;
    let place = device.as_deref().unwrap_or(chip);
    TemperatureVitals { name: format!("{place} {label}"), celsius: figure(*celsius) }
}

fn gpu(gpu: Gpu) -> GpuVitals {
    GpuVitals {
        vendor: gpu.vendor.as_str().to_owned(),
        status: gpu.status.as_str().to_owned(),
        name: gpu.name,
        pci_address: gpu.pci_address,
        usage: share(gpu.usage),
        usage_is_estimate: gpu.usage_is_estimate,
        temp_celsius: figure(gpu.temperature_celsius),
        vram_used: gpu.vram_used_bytes,
        vram_total: gpu.vram_total_bytes,
        power_watts: figure(gpu.power_watts),
    }
}
