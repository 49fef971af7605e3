//! Measurements of the host.

use std::collections::BTreeMap;

use nixfleet_vitals::{Disk, Moment, Stall, Temperature, Timed, Usage, Vitals};

use super::Look;
use super::text::{Labels, Text};

/// Everything that is measured of the host, and how old it is.
pub(super) fn all(text: &mut Text, look: &Look) {
    let vitals = &look.vitals;
    processors(text, vitals, look.moment);
    memory(text, vitals);
    pressure(text, vitals);
    disks(text, vitals.disks.as_ref().map(|disks| disks.value.as_slice()).unwrap_or_default());
    throughput(text, vitals);
    temperatures(text, vitals.temperatures.as_ref().map(|all| all.value.as_slice()).unwrap_or_default());
    let failed = vitals.failed_units.as_ref().map(|units| units.count);
    text.gauge("failed_units", "Units in systemd's state `failed`.", failed);
    workload(text, look);
    ages(text, look);
}

fn processors(text: &mut Text, vitals: &Vitals, now: Moment) {
    let busy = vitals.cpu.map(|cpu| cpu.busy);
    let help = "Share of time in which the processors were busy, between the last two readings.";
    text.figure("cpu_usage_ratio", help, busy);
    text.gauge("processors", "Processors in use.", vitals.load.and_then(|load| load.processors));
    for (name, help, value) in [
        ("load1", "Load average of 1 minute.", vitals.load.map(|load| load.one)),
        ("load5", "Load average of 5 minutes.", vitals.load.map(|load| load.five)),
        ("load15", "Load average of 15 minutes.", vitals.load.map(|load| load.fifteen)),
    ] {
        text.figure(name, help, value);
    }
    // At this moment, not at the last reading.
    let uptime = vitals.uptime.map(|uptime| (uptime.value + uptime.age(now)).as_secs_f64());
    text.figure("uptime_seconds", "Time since the boot, including sleep.", uptime);
}

fn memory(text: &mut Text, vitals: &Vitals) {
    let Vitals { memory, swap, .. } = vitals;
    text.gauge("memory_size_bytes", "Size of the memory.", memory.and_then(|memory| memory.total));
    let help = "Memory that is not used at all, not even as a cache.";
    text.gauge("memory_free_bytes", help, memory.and_then(|memory| memory.free));
    let help = "Memory that programs can still allocate.";
    text.gauge("memory_available_bytes", help, memory.and_then(|memory| memory.available));
    let help = "Share of the memory that programs cannot allocate.";
    text.figure("memory_usage_ratio", help, memory.and_then(|memory| memory.used()));
    let help = "Size of the swap; 0 without swap.";
    text.gauge("swap_size_bytes", help, swap.map(|swap| swap.total));
    text.gauge("swap_used_bytes", "Swap in use.", swap.map(|swap| swap.used));
}

fn pressure(text: &mut Text, vitals: &Vitals) {
    let all = [("cpu", vitals.cpu_pressure), ("memory", vitals.memory_pressure), ("io", vitals.io_pressure)];
    let stalls = || {
        all.iter().flat_map(|(resource, pressure)| {
            let (some, full) = pressure.map_or((None, None), |pressure| (pressure.some, pressure.full));
            [("some", some), ("full", full)].map(|(kind, stall): (&str, Option<Stall>)| {
                let labels: Labels<'_> = vec![("resource", (*resource).into()), ("stalled", kind.into())];
                (labels, stall)
            })
        })
    };
    let help = "Share of the last 10 s in which some or all programs waited for the resource.";
    let shares = stalls().map(|(labels, stall)| (labels, stall.map(|stall| stall.avg10)));
    text.rows("pressure_ratio", "gauge", help, shares);
    let help = "How long some or all programs waited for the resource since the boot.";
    let times = stalls().map(|(labels, stall)| (labels, stall.map(|stall| stall.total.as_secs_f64())));
    text.rows("pressure_seconds_total", "counter", help, times);
}

fn disks(text: &mut Text, disks: &[Disk]) {
    let mut each = |name: &str, help: &str, value: fn(Usage) -> Option<f64>| {
        let rows = disks.iter().map(|disk| {
            let place = disk.mount.point.to_string_lossy();
            let labels = vec![("mountpoint", place), ("fstype", disk.mount.filesystem.as_str().into())];
            (labels, disk.usage.and_then(|usage| value(usage.value)))
        });
        text.rows(name, "gauge", help, rows);
    };
    each("filesystem_size_bytes", "Size of the file system.", |usage| Some(usage.total as f64));
    each("filesystem_used_bytes", "Bytes in use.", |usage| Some(usage.used as f64));
    each("filesystem_available_bytes", "Bytes available to users other than root.", |usage| {
        Some(usage.available as f64)
    });
    each("filesystem_usage_ratio", "Share in use, as df computes it.", |usage| usage.used_share());
    each("filesystem_inodes", "Inodes, where their number is fixed.", |usage| {
        Some(usage.inodes?.total as f64)
    });
    each("filesystem_inodes_used", "Inodes in use, where their number is fixed.", |usage| {
        Some(usage.inodes?.used as f64)
    });
}

fn throughput(text: &mut Text, vitals: &Vitals) {
    for (name, help, value) in [
        (
            "network_receive_bytes_per_second",
            "Received by all counted interfaces together, between the last two readings.",
            vitals.network.map(|rate| rate.received),
        ),
        (
            "network_transmit_bytes_per_second",
            "Sent by all counted interfaces together, between the last two readings.",
            vitals.network.map(|rate| rate.sent),
        ),
        (
            "disk_read_bytes_per_second",
            "Read from all physical disks together, between the last two readings.",
            vitals.disk_io.map(|rate| rate.read),
        ),
        (
            "disk_written_bytes_per_second",
            "Written to all physical disks together, between the last two readings.",
            vitals.disk_io.map(|rate| rate.written),
        ),
    ] {
        text.figure(name, help, value);
    }
}

fn temperatures(text: &mut Text, sensors: &[Temperature]) {
    let mut known: BTreeMap<(&str, Option<&str>, &str), u32> = BTreeMap::new();
    let rows: Vec<_> = sensors
        .iter()
        .map(|sensor| {
            let Temperature { chip, device, label, celsius } = sensor;
            // Two chips of one kind can have sensors of one name, as two processors or two modules of memory have.
            let same = known.entry((chip, device.as_deref(), label)).or_default();
            *same += 1;
            let name = if *same == 1 { label.clone() } else { format!("{label} #{same}") };
            let device = device.as_deref().unwrap_or_default();
            let labels: Labels<'_> = vec![
                ("chip", chip.into()),
                ("device", device.into()),
                ("sensor", name.trim().to_owned().into()),
            ];
            (labels, *celsius)
        })
        .collect();
    text.rows("temperature_celsius", "gauge", "Temperatures of processors and disks.", rows);
}

fn workload(text: &mut Text, look: &Look) {
    let workload = look.fresh_workload();
    let help = "Sessions that a local program serves.";
    text.gauge("workload_active_sessions", help, workload.and_then(|workload| workload.active_sessions));
    let help = "Queries that wait for that program.";
    text.gauge("workload_pending_queries", help, workload.and_then(|workload| workload.pending_queries));
    let model = workload.and_then(|workload| workload.loaded_model.as_deref());
    let rows = model.map(|model| (vec![("model", model.into())], Some(1.0)));
    text.rows("workload_info", "gauge", "The model that the program has loaded.", rows);
}

/// How old each reading is, among those that are young enough to be here.
fn ages(text: &mut Text, look: &Look) {
    fn age<T>(value: Option<&Timed<T>>, now: Moment) -> Option<f64> {
        Some(value?.age(now).as_secs_f64())
    }
    let (vitals, now) = (&look.vitals, look.moment);
    let gpus = look.fresh_gpus().filter(|snapshot| !snapshot.gpus.is_empty());
    let readings = [
        ("cpu", age(vitals.cpu.as_ref(), now)),
        ("memory", age(vitals.memory.as_ref(), now)),
        ("load", age(vitals.load.as_ref(), now)),
        ("pressure", age(vitals.cpu_pressure.as_ref(), now)),
        ("network", age(vitals.network.as_ref(), now)),
        ("disk_io", age(vitals.disk_io.as_ref(), now)),
        ("mounts", age(vitals.disks.as_ref(), now)),
        ("temperatures", age(vitals.temperatures.as_ref(), now)),
        ("failed_units", age(vitals.failed_units.as_ref(), now)),
        ("reboot", age(vitals.reboot_required.as_ref(), now)),
        ("gpus", gpus.and_then(|snapshot| super::gpu::age(snapshot, look.at))),
    ];
    let rows = readings.map(|(reading, age)| (vec![("reading", reading.into())], age));
    text.rows("reading_age_seconds", "gauge", "How long ago the figures of this page were measured.", rows);
}
