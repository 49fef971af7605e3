use std::path::PathBuf;

use super::*;
use crate::vitals::gpu::{Status, Vendor};
use crate::vitals::{Cpu, Load, Memory, Mount, Network, Stall, Swap, Timed, Usage};

fn timed<T>(value: T) -> Option<Timed<T>> {
    Some(Timed { value, taken_at: Moment::now() })
}

fn gpu_with(usage: Option<f64>, temperature: Option<f64>, vram: Option<(u64, u64)>) -> Gpu {
    Gpu {
        vendor: Vendor::Nvidia,
        name: None,
        pci_address: "0000:01:00.0".to_owned(),
        device_id: None,
        usage,
        usage_is_estimate: false,
        temperature_celsius: temperature,
        vram_used_bytes: vram.map(|(used, _)| used),
        vram_total_bytes: vram.map(|(_, total)| total),
        power_watts: None,
        status: Status::Ok,
    }
}

fn disk_at(point: &str, used: u64) -> Disk {
    let usage = Usage { total: 200, used, available: 100 - used, inodes: None };
    let mount = Mount { point: PathBuf::from(point), filesystem: "ext4".to_owned() };
    Disk { mount, usage: timed(usage) }
}

#[test]
fn what_nobody_knows_is_null() {
    let vitals = assemble("web-1", &Vitals::default(), Vec::new(), None);
    let text = serde_json::to_value(&vitals).unwrap();
    let object = text.as_object().unwrap();
    let known: Vec<&String> =
        object.iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key).collect();
    assert_eq!(known, ["device_id", "timestamp"]);
    // The eleven fields of seed 001 are there all the same.
    assert_eq!(object.len(), 11, "{object:?}");
}

#[test]
fn each_figure_comes_from_its_meter() {
    let cpu = Cpu { busy: 0.25, user: 0.2, system: 0.05, iowait: 0.0, irq: 0.0, softirq: 0.0, steal: 0.0 };
    let stall = Stall { avg10: 0.5, avg60: 0.1, avg300: 0.1, total: Duration::ZERO };
    let vitals = Vitals {
        cpu: timed(cpu),
        memory: timed(Memory { total: 1000, free: 300, available: Some(400), zfs_reclaimable: None }),
        swap: timed(Swap { total: 100, used: 25 }),
        load: timed(Load { one: 1.0, five: 2.0, fifteen: 3.0, processors: None }),
        uptime: timed(Duration::from_millis(142_100)),
        io_pressure: timed(Pressure { some: Some(stall), full: None }),
        network: timed(Network { received: 10.0, sent: 20.0 }),
        disks: timed(vec![disk_at("/nix", 90), disk_at("/", 30)]),
        reboot_required: timed(true),
        ..Vitals::default()
    };
    let gpus = vec![
        gpu_with(Some(0.1), Some(70.0), Some((10, 100))),
        gpu_with(Some(0.9), Some(50.0), Some((60, 80))),
        gpu_with(None, None, None),
    ];
    let workload = Workload {
        active_sessions: Some(2),
        pending_queries: None,
        loaded_model: Some("m".to_owned()),
        said_at: SystemTime::now(),
    };
    let seen = assemble("web-1", &vitals, gpus, Some(workload));
    assert_eq!((seen.cpu_usage, seen.memory_usage, seen.swap_usage), (Some(0.25), Some(0.6), Some(0.25)));
    assert_eq!(
        (seen.gpu_usage, seen.gpu_temp_celsius, seen.gpu_vram_usage),
        (Some(0.9), Some(70.0), Some(0.75))
    );
    assert_eq!(seen.disk_usage, Some(0.3), "that of /");
    assert_eq!(
        (seen.active_sessions, seen.pending_queries, seen.loaded_model.as_deref()),
        (Some(2), None, Some("m"))
    );
    assert_eq!((seen.memory_total, seen.memory_free), (Some(1000), Some(300)));
    assert_eq!((seen.uptime_s, seen.load), (Some(142), Some([1.0, 2.0, 3.0])));
    assert_eq!(seen.pressure, Some(Pressures { cpu: None, memory: None, io: Some(0.5) }));
    assert_eq!(seen.network, Some(Throughput { received: 10.0, sent: 20.0 }));
    assert_eq!((seen.gpus.len(), seen.reboot_required), (3, Some(true)));
}

#[test]
fn without_a_root_the_fullest_disk_counts() {
    let disks: Vec<DiskVitals> = [disk_at("/boot", 20), disk_at("/nix", 70)].iter().map(disk).collect();
    assert_eq!(disk_usage(&disks), Some(0.7));
    assert_eq!(disk_usage(&[]), None);
}

/// What `program` prints, as words of its last line.
#[cfg(target_os = "linux")]
fn said(program: &str, arguments: &[&str]) -> Vec<f64> {
    let output = std::process::Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .last()
        .unwrap()
        .split_whitespace()
        .filter_map(|word| word.trim_end_matches('%').parse().ok())
        .collect()
}

#[cfg(target_os = "linux")]
#[test]
fn the_figures_of_this_machine_are_those_of_other_programs() {
    let vitals = collect_device_vitals("here");
    assert_eq!(vitals.device_id, "here");
    assert!(vitals.cpu_usage.is_some_and(|usage| (0.0..=1.0).contains(&usage)), "{vitals:?}");
    let total = procfs_total();
    assert_eq!(vitals.memory_total, Some(total));
    if let Some(root) = vitals.disks.iter().find(|disk| disk.path == "/") {
        let df = said("df", &["--output=size,used", "--block-size=1", "/"]);
        assert_eq!(root.total.unwrap() as f64, df[0]);
        let off = (root.used.unwrap() as f64 - df[1]).abs();
        assert!(off < 0.02 * df[0], "{off} bytes off");
    }
}

#[cfg(target_os = "linux")]
fn procfs_total() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}
