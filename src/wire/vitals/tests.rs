use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use nixfleet_vitals::device::DeviceVitals;
use nixfleet_vitals::gpu::{Status, Vendor};
use nixfleet_vitals::workload::Workload;
use nixfleet_vitals::{Cpu, DiskIo, Load, Memory, Moment, Mount, Network, Stall, Swap, Usage, Vitals};

use super::*;

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
    let vitals = message(DeviceVitals::assemble("web-1", Vitals::default(), Vec::new(), None));
    let text = serde_json::to_value(&vitals).unwrap();
    let object = text.as_object().unwrap();
    let known: Vec<&String> =
        object.iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key).collect();
    assert_eq!(known, ["device_id", "timestamp"]);
    // The eleven fields that are always present.
    assert_eq!(object.len(), 11, "{object:?}");
}

#[test]
fn each_figure_comes_from_its_meter() {
    let cpu = Cpu { busy: 0.25, user: 0.2, system: 0.05, iowait: 0.0, irq: 0.0, softirq: 0.0, steal: 0.0 };
    let stall = Stall { avg10: 0.5, avg60: 0.1, avg300: 0.1, total: Duration::ZERO };
    let vitals = Vitals {
        cpu: timed(cpu),
        memory: timed(Memory {
            total: Some(1000),
            free: Some(300),
            available: Some(400),
            zfs_reclaimable: None,
        }),
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
    let seen = message(DeviceVitals::assemble("web-1", vitals, gpus, Some(workload)));
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
fn figures_have_no_digits_that_nobody_measured() {
    let third = 1.0 / 3.0;
    let cpu = Cpu { busy: third, user: third, system: 0.0, iowait: 0.0, irq: 0.0, softirq: 0.0, steal: 0.0 };
    let vitals = Vitals {
        cpu: timed(cpu),
        load: timed(Load { one: 0.1 + 0.2, five: 2.0, fifteen: 3.0, processors: None }),
        disk_io: timed(DiskIo { read: 1000.0 * third, written: 0.609_000_000_000_000_1 }),
        ..Vitals::default()
    };
    let gpus = vec![gpu_with(Some(third), Some(60.900_000_000_000_006), None)];
    let text = nixfleet_protocol::encode(&message(DeviceVitals::assemble("web-1", vitals, gpus, None)));
    for wanted in [
        r#""cpu_usage":0.3333,"#,
        r#""load":[0.3,2.0,3.0]"#,
        r#""disk_io":{"read":333.0,"written":1.0}"#,
        r#""gpu_temp_celsius":60.9,"#,
    ] {
        assert!(text.contains(wanted), "{wanted} is not in {text}");
    }
    assert_eq!(rounded(-0.000_01, 4).to_string(), "0");
}
