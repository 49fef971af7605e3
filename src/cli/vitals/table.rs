//! The vitals as a table for people.

use nixfleet_protocol::{DeviceVitals, DiskVitals, GpuVitals};

use super::format::{loads, percent, short, span};

/// A row for each known value; processor and memory always have one.
pub(super) fn table(vitals: &DeviceVitals) -> String {
    let rows = rows(vitals);
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    rows.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

fn rows(vitals: &DeviceVitals) -> Vec<(String, String)> {
    let mut rows = vec![
        ("Device".to_owned(), short(&vitals.device_id)),
        ("Time".to_owned(), short(&vitals.timestamp)),
        ("Processor".to_owned(), busy(vitals.cpu_usage)),
        ("Memory".to_owned(), memory(vitals)),
    ];
    let mut add = |name: &str, value: Option<String>| rows.extend(value.map(|value| (short(name), value)));
    add("Swap", vitals.swap_usage.map(percent));
    add("Load", vitals.load.map(loads));
    add("Uptime", vitals.uptime_s.map(span));
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
    let total = vitals.memory_total.map(|total| format!(" of {}", bytes(total as f64)));
    busy(vitals.memory_usage) + &total.unwrap_or_default()
}

fn space(disk: &DiskVitals) -> String {
    let total = disk.total.map(|total| format!(" of {}", bytes(total as f64)));
    busy(disk.usage) + &total.unwrap_or_default()
}

fn traffic(first: f64, first_is: &str, second: f64, second_is: &str) -> String {
    format!("{}/s {first_is}, {}/s {second_is}", bytes(first), bytes(second))
}

fn card(gpu: &GpuVitals) -> String {
    let mut parts = vec![short(gpu.name.as_deref().unwrap_or(&gpu.vendor))];
    if gpu.status != "ok" {
        parts.push(short(&gpu.status));
    }
    parts.extend(gpu.usage.map(percent));
    parts.extend(gpu.temp_celsius.map(|celsius| format!("{celsius:.1} °C")));
    if let (Some(used), Some(total)) = (gpu.vram_used, gpu.vram_total) {
        parts.push(format!("{} of {}", bytes(used as f64), bytes(total as f64)));
    }
    parts.extend(gpu.power_watts.map(|watts| format!("{watts:.0} W")));
    parts.join(", ")
}

/// Such as `7.5 GiB`.
fn bytes(count: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{value:.0} B") } else { format!("{value:.1} {}", units[unit]) }
}
