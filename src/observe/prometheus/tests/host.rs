//! What the page says about the host, its software and its commands.

use std::time::{Duration, SystemTime};

use nixfleet_protocol::{HostSystem, UpdateState, UpdateStatus, Verdict};
use nixfleet_vitals::gpu::{Gpu, Status, Vendor};
use nixfleet_vitals::{
    Cpu, Disk, DiskIo, FailedUnits, Inodes, Load, Memory, Mount, Network, Pressure, Stall, Swap, Temperature,
    Timed, Usage,
};

use super::*;
use crate::facts::update;
use crate::observe::status::HostReport;

/// The one value of a family with these labels and no others.
fn value(families: &BTreeMap<String, Family>, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let wanted = labels.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let family = families.get(&format!("nixfleet_{name}"))?;
    family.samples.iter().find(|(_, labels, _)| *labels == wanted).map(|(_, _, value)| *value)
}

/// A reading of so many seconds before `moment` of [`full`].
fn timed<T>(value: T, age: u64) -> Option<Timed<T>> {
    Some(Timed { value, taken_at: at(100 - age) })
}

fn at(seconds: u64) -> Moment {
    Moment::BOOT.after(Duration::from_secs(seconds), Duration::ZERO)
}

fn sensor(chip: &str, device: Option<&str>, label: &str, celsius: Option<f64>) -> Temperature {
    Temperature { chip: chip.to_owned(), device: device.map(str::to_owned), label: label.to_owned(), celsius }
}

fn disk(point: &str, usage: Option<Timed<Usage>>) -> Disk {
    Disk { mount: Mount { point: point.into(), filesystem: "ext4".to_owned() }, usage }
}

fn gpu(address: &str, name: Option<&str>, status: Status) -> Gpu {
    Gpu {
        vendor: Vendor::Nvidia,
        name: name.map(str::to_owned),
        pci_address: address.to_owned(),
        device_id: None,
        usage: name.map(|_| 0.5),
        usage_is_estimate: false,
        temperature_celsius: name.map(|_| 61.0),
        vram_used_bytes: name.map(|_| 1 << 30),
        vram_total_bytes: name.map(|_| 1 << 34),
        power_watts: name.map(|_| 30.5),
        status,
    }
}

fn vitals() -> Vitals {
    let cpu = Cpu { busy: 0.25, user: 0.2, system: 0.05, iowait: 0.0, irq: 0.0, softirq: 0.0, steal: 0.0 };
    let memory = Memory { total: Some(1000), free: Some(100), available: Some(400), zfs_reclaimable: None };
    let stall = |avg10| Some(Stall { avg10, avg60: 0.0, avg300: 0.0, total: Duration::from_millis(1500) });
    let usage = Usage { total: 1000, used: 300, available: 600, inodes: Some(Inodes { total: 50, used: 5 }) };
    Vitals {
        cpu: timed(cpu, 3),
        memory: timed(memory, 3),
        swap: timed(Swap { total: 0, used: 0 }, 3),
        load: timed(Load { one: 1.5, five: 1.0, fifteen: 0.5, processors: Some(4) }, 3),
        uptime: timed(Duration::from_secs(3600), 3),
        io_pressure: timed(Pressure { some: stall(0.1), full: None }, 3),
        disks: timed(
            vec![disk("/", timed(usage, 9)), disk("/mnt/\"a\"\\b\n", timed(usage, 9)), disk("/nfs", None)],
            9,
        ),
        temperatures: timed(
            vec![
                sensor("coretemp", None, "Core 0", Some(50.0)),
                sensor("coretemp", None, "Core 0", Some(60.0)),
                sensor("nvme", Some("nvme0n1"), "", Some(40.0)),
                sensor("drivetemp", Some("sda"), "", None),
            ],
            9,
        ),
        reboot_required: timed(false, 9),
        failed_units: timed(FailedUnits { count: 2, names: Vec::new() }, 9),
        network: timed(Network { received: 1.0, sent: 2.0 }, 3),
        disk_io: timed(DiskIo { read: 3.0, written: 4.0 }, 3),
        ..Vitals::default()
    }
}

/// A look at a host of which much is known.
pub(super) fn full() -> Look {
    let verdict =
        |status| Verdict { status, checked_at: "2026-01-01T00:00:00Z".to_owned(), ..Verdict::default() };
    let facts = Facts {
        generation: "abc1234".to_owned(),
        source_commit: "c0ffee".to_owned(),
        update_status: UpdateStatus {
            lock: verdict(UpdateState::Ok),
            system: verdict(UpdateState::Error),
            tests: verdict(UpdateState::Unknown),
            ..UpdateStatus::default()
        },
        system: HostSystem { repo_commit: Some("def".to_owned()), ..HostSystem::default() },
        ..Facts::default()
    };
    let look = nothing();
    let taken_at = SystemTime::from(look.at) - Duration::from_secs(2);
    let gpus =
        vec![gpu("0000:01:00.0", Some("GPU \"one\""), Status::Ok), gpu("0000:02:00.0", None, Status::Lost)];
    let model = Some("llama".to_owned());
    Look {
        vitals: vitals(),
        gpus: Some(Snapshot { gpus, taken_at, unanswered: 0 }),
        workload: Some(Workload {
            active_sessions: Some(2),
            pending_queries: Some(5),
            loaded_model: model,
            said_at: taken_at,
        }),
        facts: Arc::new(facts),
        moment: at(100),
        ..look
    }
}

/// What the report of this host says of its software, while nothing runs.
pub(super) fn software(look: &Look) -> Option<HostReport> {
    Some(HostReport::new(&look.facts, look.facts.update_status.clone()))
}

#[test]
fn nothing_is_said_of_what_is_unknown() {
    let families = families_of(&Report::default());
    let host: Vec<&String> = families.keys().filter(|name| name.starts_with("nixfleet_host_")).collect();
    assert!(host.is_empty(), "{host:?}");
    assert_eq!(value(&families, "agent_samples_left_out", &[]), Some(0.0));
}

#[test]
fn measurements_of_the_host_come_through_in_base_units() {
    let families = parse(&page(&report(), &full()));
    let value = |name: &str, labels: &[(&str, &str)]| value(&families, name, labels);
    assert_eq!(value("host_cpu_usage_ratio", &[]), Some(0.25));
    assert_eq!(value("host_memory_available_bytes", &[]), Some(400.0));
    assert_eq!(value("host_memory_usage_ratio", &[]), Some(0.6));
    assert_eq!(value("host_swap_size_bytes", &[]), Some(0.0), "that there is no swap is known");
    assert_eq!(value("host_load1", &[]), Some(1.5));
    assert_eq!(value("host_processors", &[]), Some(4.0));
    assert_eq!(value("host_uptime_seconds", &[]), Some(3603.0), "now, not when it was read");
    let io = [("resource", "io"), ("stalled", "some")];
    assert_eq!(value("host_pressure_ratio", &io), Some(0.1));
    assert_eq!(value("host_pressure_seconds_total", &io), Some(1.5));
    assert_eq!(families["nixfleet_host_pressure_ratio"].samples.len(), 1, "the others are unknown");
    let root = [("fstype", "ext4"), ("mountpoint", "/")];
    assert_eq!(value("host_filesystem_usage_ratio", &root), Some(300.0 / 900.0));
    assert_eq!(value("host_filesystem_available_bytes", &root), Some(600.0));
    assert_eq!(value("host_filesystem_inodes_used", &root), Some(5.0));
    let odd = [("fstype", "ext4"), ("mountpoint", "/mnt/\"a\"\\b")];
    assert_eq!(value("host_filesystem_size_bytes", &odd), Some(1000.0));
    assert_eq!(families["nixfleet_host_filesystem_size_bytes"].samples.len(), 2, "/nfs does not answer");
    assert_eq!(value("host_workload_active_sessions", &[]), Some(2.0));
    assert_eq!(value("host_workload_info", &[("model", "llama")]), Some(1.0));
    assert_eq!(value("host_failed_units", &[]), Some(2.0));
    assert_eq!(value("host_network_transmit_bytes_per_second", &[]), Some(2.0));
    assert_eq!(value("host_disk_read_bytes_per_second", &[]), Some(3.0));
    for (reading, age) in [("cpu", 3.0), ("mounts", 9.0), ("gpus", 2.0)] {
        assert_eq!(value("host_reading_age_seconds", &[("reading", reading)]), Some(age));
    }
}

#[test]
fn sensors_of_one_name_are_told_apart_and_one_without_a_reading_is_absent() {
    let families = parse(&page(&report(), &full()));
    let sensors: Vec<(&str, &str, f64)> = families["nixfleet_host_temperature_celsius"]
        .samples
        .iter()
        .map(|(_, labels, value)| (labels["device"].as_str(), labels["sensor"].as_str(), *value))
        .collect();
    assert_eq!(sensors, [("", "Core 0", 50.0), ("", "Core 0 #2", 60.0), ("nvme0n1", "", 40.0)]);
    assert_eq!(value(&families, "agent_samples_left_out", &[]), Some(0.0));
}

#[test]
fn a_gpu_has_a_number_an_address_and_a_name() {
    let families = parse(&page(&report(), &full()));
    let one = [("gpu", "0"), ("name", "GPU \"one\""), ("pci_address", "0000:01:00.0")];
    for (name, wanted) in [
        ("host_gpu_usage_ratio", Some(0.5)),
        ("host_gpu_temperature_celsius", Some(61.0)),
        ("host_gpu_memory_used_bytes", Some(1_073_741_824.0)),
        ("host_gpu_power_watts", Some(30.5)),
    ] {
        assert_eq!(value(&families, name, &one), wanted, "{name}");
    }
    let lost = [("gpu", "1"), ("name", ""), ("pci_address", "0000:02:00.0"), ("status", "lost")];
    assert_eq!(value(&families, "host_gpu_status", &lost), Some(1.0));
    assert_eq!(families["nixfleet_host_gpu_usage_ratio"].samples.len(), 1, "nothing is known of the other");
}

#[test]
fn what_was_said_too_long_ago_is_not_said_again() {
    let of_others = |look: &Look| -> Vec<String> {
        let names = parse(&page(&report(), look)).into_keys();
        names.filter(|name| name.contains("_host_gpu_") || name.contains("_host_workload_")).collect()
    };
    let mut look = full();
    assert_eq!(of_others(&look).len(), 10);
    let age = |look: &Look| {
        value(&parse(&page(&report(), look)), "host_reading_age_seconds", &[("reading", "gpus")])
    };
    let none =
        Look { gpus: look.gpus.clone().map(|all| Snapshot { gpus: Vec::new(), ..all }), ..look.clone() };
    assert_eq!((age(&look), age(&none)), (Some(2.0), None), "a host without GPUs has no reading of them");
    look.at = look.at.checked_add(Duration::from_secs(20)).unwrap();
    let left = of_others(&look);
    assert!(left.len() == 3 && left.iter().all(|name| name.contains("_workload_")), "GPUs first: {left:?}");
    assert_eq!(age(&look), None);
    look.at = look.at.checked_add(Duration::from_secs(20)).unwrap();
    assert!(of_others(&look).is_empty(), "{:?}", of_others(&look));
}

#[test]
fn each_part_with_an_opinion_has_one_light() {
    let look = full();
    let families = parse(&page(&Report { host: software(&look), ..report() }, &look));
    let lights = &families["nixfleet_host_update_state"].samples;
    assert_eq!(lights.len(), 15, "three parts of five states: nothing is said of git");
    let lit: Vec<(&str, &str)> = lights
        .iter()
        .filter(|(_, _, value)| *value == 1.0)
        .map(|(_, labels, _)| (labels["part"].as_str(), labels["state"].as_str()))
        .collect();
    assert_eq!(lit, [("lock", "ok"), ("system", "error"), ("tests", "unknown")]);
    let system = [("part", "system")];
    assert_eq!(value(&families, "host_update_checked_timestamp_seconds", &system), Some(1_767_225_600.0));
    let info = &families["nixfleet_host_system_info"].samples[0].1;
    assert_eq!((info["generation"].as_str(), info["checkout"].as_str()), ("abc1234", "def"));
    assert_eq!(info["nixpkgs_version"], "", "not known is not a version");
    assert_eq!(families["nixfleet_agent_build_info"].samples[0].1["commit"], "c0ffee");
}

#[test]
fn a_running_switch_lights_the_system_and_a_system_that_waits_needs_a_reboot() {
    let running = Running {
        command: "switch".to_owned(),
        since: "2026-01-01T00:00:40Z".to_owned(),
        ..Running::default()
    };
    let mut look = full();
    let mut lights = look.facts.update_status.clone();
    update::mark_working(
        &mut lights,
        &running.command,
        Duration::from_secs(20),
        Duration::from_secs(30),
        &running.since,
    );
    let host = Some(HostReport::new(&look.facts, lights));
    let report = Report { running: Some(running), host, interval_s: 30, ..report() };
    let required = |look: &Look| value(&parse(&page(&report, look)), "host_reboot_required", &[]);
    assert_eq!(required(&look), Some(0.0));
    let families = parse(&page(&report, &look));
    let lit = |state| value(&families, "host_update_state", &[("part", "system"), ("state", state)]);
    assert_eq!((lit("working"), lit("error")), (Some(1.0), Some(0.0)));
    look.facts = Arc::new(Facts { waits_for_boot: true, ..(*look.facts).clone() });
    assert_eq!(required(&look), Some(1.0), "whatever was measured");
    look.facts = Arc::default();
    look.vitals.reboot_required = None;
    assert_eq!(required(&look), None, "unknown");
}

#[test]
fn the_running_command_has_a_name_a_silence_and_progress() {
    let running = Running {
        command: "switch".to_owned(),
        since: "2026-01-01T00:00:40Z".to_owned(),
        activity: Some(RunningActivity {
            phase: "build".to_owned(),
            phase_since: None,
            last_output_at: Some("2026-01-01T00:00:47.500Z".to_owned()),
        }),
        progress: vec![
            PartProgress { part: "system".to_owned(), done: 1, of: 4 },
            PartProgress { part: "tests".to_owned(), done: 0, of: 0 },
        ],
        ..Running::default()
    };
    let mut report = Report { running: Some(running), ..report() };
    let families = families_of(&report);
    let switch = [("command", "switch")];
    assert_eq!(value(&families, "agent_job_start_timestamp_seconds", &switch), Some(1_767_225_640.0));
    assert_eq!(value(&families, "agent_job_silent_seconds", &switch), Some(12.5));
    let ratio = &families["nixfleet_agent_job_progress_ratio"].samples;
    assert_eq!(ratio.len(), 1, "a part without steps has no share");
    let system = [("command", "switch"), ("part", "system")];
    assert_eq!(value(&families, "agent_job_progress_ratio", &system), Some(0.25));
    assert!(!families.contains_key("nixfleet_agent_job_phase_timestamp_seconds"), "unknown");
    // A clock that was set back.
    report.running.as_mut().unwrap().activity.as_mut().unwrap().last_output_at =
        Some("2026-01-02T00:00:00Z".to_owned());
    assert_eq!(value(&families_of(&report), "agent_job_silent_seconds", &switch), Some(0.0));
    report.running = None;
    let families = families_of(&report);
    let of_one = |name: &&String| {
        name.starts_with("nixfleet_agent_job_") && families[*name].samples.iter().any(|s| !s.1.is_empty())
    };
    assert_eq!(families.keys().find(of_one), None, "nothing runs");
}

#[test]
fn the_newest_end_of_each_command_is_told_with_its_outcome() {
    let end = |command: &str, outcome: &str, second: u8| Finished {
        command: command.to_owned(),
        outcome: outcome.to_owned(),
        ended_at: format!("2026-01-01T00:00:{second:02}Z"),
        duration_ms: 1500,
        ..Finished::default()
    };
    let results = vec![end("switch", "ok", 1), end("pull", "ok", 2), end("switch", "timed_out", 3)];
    let certificate =
        CertificateReport { not_after: "2026-01-01T00:00:09Z".to_owned(), ..CertificateReport::default() };
    let families = families_of(&Report { results, client_certificate: Some(certificate), ..report() });
    let switch = [("command", "switch")];
    assert_eq!(value(&families, "agent_job_last_success", &switch), Some(0.0));
    assert_eq!(value(&families, "agent_job_last_success", &[("command", "pull")]), Some(1.0));
    assert_eq!(value(&families, "agent_job_last_duration_seconds", &switch), Some(1.5));
    let ended = [("command", "switch"), ("outcome", "timed_out")];
    assert_eq!(value(&families, "agent_job_last_end_timestamp_seconds", &ended), Some(1_767_225_603.0));
    assert_eq!(families["nixfleet_agent_job_last_end_timestamp_seconds"].samples.len(), 2);
    let name = "agent_client_certificate_not_after_timestamp_seconds";
    assert_eq!(value(&families, name, &[]), Some(1_767_225_609.0));
}

#[test]
fn there_is_no_end_of_labels_that_a_host_could_fill_a_database_with() {
    let mut look = full();
    let many =
        (0..500).map(|n| sensor("chip", None, &format!("{n}{}", "x".repeat(1000)), Some(1.0))).collect();
    look.vitals.temperatures = timed(many, 1);
    let mut disks = vec![disk("/", None)];
    let usage = Usage { total: 1, used: 1, available: 1, inodes: None };
    disks.resize(2, disk("/twice", timed(usage, 1)));
    disks.push(disk("/twice", timed(usage, 1)));
    look.vitals.disks = timed(disks, 1);
    look.vitals.cpu = look.vitals.cpu.map(|mut cpu| {
        cpu.value.busy = f64::NAN;
        cpu
    });
    let families = parse(&page(&report(), &look));
    let sensors = &families["nixfleet_host_temperature_celsius"].samples;
    assert_eq!(sensors.len(), 128);
    assert!(sensors.iter().all(|(_, labels, _)| labels["sensor"].chars().count() <= 128));
    assert_eq!(families["nixfleet_host_filesystem_size_bytes"].samples.len(), 1);
    // Size, used, available and share of the file system that is there twice.
    assert_eq!(value(&families, "agent_samples_left_out", &[]), Some(500.0 - 128.0 + 4.0));
    assert!(!families.contains_key("nixfleet_host_cpu_usage_ratio"), "no number");
}
