//! The vitals as a table for people.

use std::time::Duration;

use nixfleet_os::size;
use nixfleet_os::time::length;
use nixfleet_protocol::{DeviceVitals, DiskVitals, GpuVitals};

use super::format::{loads, percent, short};
use crate::cli::zone::Zone;

/// A row for each known value; processor and memory always have one.
pub(super) fn table(vitals: &DeviceVitals, zone: &Zone) -> String {
    let rows = rows(vitals, zone);
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    rows.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

fn rows(vitals: &DeviceVitals, zone: &Zone) -> Vec<(String, String)> {
    let mut rows = vec![
        ("Device".to_owned(), short(&vitals.device_id)),
        ("Time".to_owned(), short(&zone.time_of(&vitals.timestamp))),
        ("Processor".to_owned(), busy(vitals.cpu_usage)),
        ("Memory".to_owned(), memory(vitals)),
    ];
    let mut add = |name: &str, value: Option<String>| rows.extend(value.map(|value| (short(name), value)));
    add("Swap", vitals.swap_usage.map(percent));
    add("Load", vitals.load.map(loads));
    add("Uptime", vitals.uptime_s.map(|seconds| length(Duration::from_secs(seconds))));
    let pressure = vitals.pressure.unwrap_or_default();
    for (name, value) in [("cpu", pressure.cpu), ("memory", pressure.memory), ("io", pressure.io)] {
        add(&format!("Waits for {name}"), value.map(percent));
    }
    for disk in &vitals.disks {
        add(&format!("Disk {}", disk.path), Some(space(disk)));
    }
    add("Disk traffic", vitals.disk_io.map(|rate| traffic(rate.read, "read", rate.written, "written")));
    add("Network", vitals.network.map(|rate| traffic(rate.received, "in", rate.sent, "out")));
    for sensor in &vitals.temperatures {
        add(&sensor.name, Some(sensor.celsius.map_or_else(unknown, |celsius| format!("{celsius:.1} °C"))));
    }
    for gpu in &vitals.gpus {
        add(&format!("GPU {}", gpu.pci_address), Some(card(gpu)));
    }
    add("Sessions", vitals.active_sessions.map(|count| count.to_string()));
    add("Queries", vitals.pending_queries.map(|count| count.to_string()));
    add("Model", vitals.loaded_model.as_deref().map(short));
    add(
        "Failed units",
        vitals.failed_units.as_ref().map(|units| match units.names.as_slice() {
            [] => units.count.to_string(),
            names => format!("{}: {}", units.count, short(&names.join(" "))),
        }),
    );
    let reboot = |required: bool| if required { "required" } else { "not needed" };
    add("Reboot", vitals.reboot_required.map(|required| reboot(required).to_owned()));
    rows
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn busy(share: Option<f64>) -> String {
    share.map_or_else(unknown, percent)
}

fn memory(vitals: &DeviceVitals) -> String {
    let total = vitals.memory_total.map(|total| format!(" of {}", size(total)));
    busy(vitals.memory_usage) + &total.unwrap_or_default()
}

fn space(disk: &DiskVitals) -> String {
    let total = disk.total.map(|total| format!(" of {}", size(total)));
    busy(disk.usage) + &total.unwrap_or_default()
}

fn traffic(first: f64, first_is: &str, second: f64, second_is: &str) -> String {
    format!("{}/s {first_is}, {}/s {second_is}", size(first.round() as u64), size(second.round() as u64))
}

fn card(gpu: &GpuVitals) -> String {
    let mut parts = vec![short(gpu.name.as_deref().unwrap_or(&gpu.vendor))];
    if gpu.status != "ok" {
        parts.push(short(&gpu.status));
    }
    parts.extend(gpu.usage.map(percent));
    parts.extend(gpu.temp_celsius.map(|celsius| format!("{celsius:.1} °C")));
    if let (Some(used), Some(total)) = (gpu.vram_used, gpu.vram_total) {
        parts.push(format!("{} of {}", size(used), size(total)));
    }
    parts.extend(gpu.power_watts.map(|watts| format!("{watts:.0} W")));
    parts.join(", ")
}
