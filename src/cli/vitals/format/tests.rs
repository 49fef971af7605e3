use std::time::Duration;

use proptest::prelude::*;

use nixfleet_protocol::{
    DiskIo, DiskVitals, FailedUnits, GpuVitals, Pressures, TemperatureVitals, Throughput,
};

use super::*;
use crate::cli::vitals::table::table;
use crate::cli::zone::Zone;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A small device, with the values that Avocado's heartbeat reports.
fn small() -> DeviceVitals {
    DeviceVitals {
        device_id: "qemu".to_owned(),
        timestamp: "2025-02-27T23:46:40.000Z".to_owned(),
        uptime_s: Some(142),
        memory_total: Some(524_288 * 1024),
        memory_free: Some(412_356 * 1024),
        load: Some([0.03, 0.1, 0.005]),
        ..DeviceVitals::default()
    }
}

fn large() -> DeviceVitals {
    DeviceVitals {
        cpu_usage: Some(0.155_49),
        memory_usage: Some(0.42),
        gpu_usage: Some(0.93),
        gpu_temp_celsius: Some(71.5),
        gpu_vram_usage: Some(0.5),
        disk_usage: Some(0.25),
        active_sessions: Some(2),
        pending_queries: Some(0),
        loaded_model: Some("big \"model\"=1\n".to_owned()),
        uptime_s: Some(273_600),
        swap_usage: Some(0.0),
        pressure: Some(Pressures { cpu: Some(0.01), memory: None, io: Some(0.25) }),
        disks: vec![DiskVitals {
            path: "/".to_owned(),
            usage: Some(0.25),
            used: Some(250 << 30),
            total: Some(1000 << 30),
            inode_usage: None,
        }],
        network: Some(Throughput { received: 1024.4, sent: 512.5 }),
        disk_io: Some(DiskIo { read: 0.0, written: 4096.0 }),
        temperatures: vec![
            TemperatureVitals { name: "nvme Composite".to_owned(), celsius: Some(38.85) },
            TemperatureVitals { name: "coretemp Package id 0".to_owned(), celsius: Some(48.0) },
        ],
        gpus: vec![GpuVitals {
            vendor: "nvidia".to_owned(),
            name: Some("NVIDIA H200".to_owned()),
            pci_address: "0000:01:00.0".to_owned(),
            status: "ok".to_owned(),
            usage: Some(0.93),
            temp_celsius: Some(71.5),
            vram_used: Some(70 << 30),
            vram_total: Some(140 << 30),
            power_watts: Some(612.5),
            ..GpuVitals::default()
        }],
        failed_units: Some(FailedUnits { count: 1, names: vec!["backup.service".to_owned()] }),
        reboot_required: Some(true),
        ..small()
    }
}

#[test]
fn the_avocado_line_is_that_of_the_original_script() {
    assert_eq!(
        line(Format::Avocado, &small(), at(1_740_700_000)),
        r#"{"uptime":142,"mem_free_kb":412356,"mem_total_kb":524288,"load_1m":"0.03","ts":1740700000}"#
    );
}

#[test]
fn what_is_unknown_is_null_in_the_avocado_line_and_absent_in_the_flat_ones() {
    let nothing = DeviceVitals { device_id: "web-1".to_owned(), ..DeviceVitals::default() };
    for (format, wanted) in [
        (Format::Avocado, r#"{"uptime":null,"mem_free_kb":null,"mem_total_kb":null,"load_1m":null,"ts":7}"#),
        (Format::Logfmt, r#"timestamp="" device_id=web-1"#),
        (Format::Text, "web-1: nothing is known"),
    ] {
        assert_eq!(line(format, &nothing, at(7)), wanted);
    }
}

#[test]
fn each_format_has_its_line() {
    for (format, wanted) in [
        (
            Format::Logfmt,
            "timestamp=2025-02-27T23:46:40.000Z device_id=qemu uptime_s=273600 cpu_usage=0.1555 \
             memory_usage=0.42 memory_total=536870912 memory_free=422252544 swap_usage=0 disk_usage=0.25 \
             load_1m=0.03 load_5m=0.10 load_15m=0.01 pressure_cpu=0.01 pressure_io=0.25 \
             network_received=1024 network_sent=513 disk_read=0 disk_written=4096 temp_celsius=48 \
             gpu_usage=0.93 gpu_temp_celsius=71.5 gpu_vram_usage=0.5 active_sessions=2 pending_queries=0 \
             loaded_model=\"big \\\"model\\\"=1 \" failed_units=1 reboot_required=true",
        ),
        (
            Format::Text,
            "qemu: cpu 16 %, memory 42 %, swap 0 %, disk 25 %, gpu 93 %, gpu 71.5 °C, \
             load 0.03 0.10 0.01, up 3 d 4 h, failed units 1, reboot required",
        ),
        (
            Format::Journal,
            "qemu: cpu 16 %, memory 42 %, swap 0 %, disk 25 %, gpu 93 %, gpu 71.5 °C, \
             load 0.03 0.10 0.01, up 3 d 4 h, failed units 1, reboot required",
        ),
    ] {
        assert_eq!(line(format, &large(), at(0)), wanted);
    }
    let json = line(Format::Json, &large(), at(0));
    assert_eq!(serde_json::from_str::<DeviceVitals>(&json).unwrap(), large());
}

#[test]
fn the_journal_gets_a_field_for_each_figure() {
    assert_eq!(
        String::from_utf8(datagram(&small())).unwrap(),
        "MESSAGE=qemu: load 0.03 0.10 0.01, up 2 min 22 s\n\
         PRIORITY=6\n\
         SYSLOG_IDENTIFIER=nixfleet-heartbeat\n\
         NIXFLEET_TIMESTAMP=2025-02-27T23:46:40.000Z\n\
         NIXFLEET_DEVICE_ID=qemu\n\
         NIXFLEET_UPTIME_S=142\n\
         NIXFLEET_MEMORY_TOTAL=536870912\n\
         NIXFLEET_MEMORY_FREE=422252544\n\
         NIXFLEET_LOAD_1M=0.03\n\
         NIXFLEET_LOAD_5M=0.10\n\
         NIXFLEET_LOAD_15M=0.01\n"
            // 0.005 has no exact binary form; use the rounding of `format!`.
            .replace("15M=0.01", &format!("15M={:.2}", 0.005))
    );
}

#[test]
fn the_table_has_a_line_for_each_figure() {
    let wanted = "\
Device                 qemu
Time                   2025-02-27 23:46:40 UTC
Processor              16 %
Memory                 42 % of 537 MB
Swap                   0 %
Load                   0.03 0.10 0.01
Uptime                 3 d 4 h
Waits for cpu          1 %
Waits for io           25 %
Disk /                 25 % of 1.1 TB
Disk traffic           0 B/s read, 4.1 kB/s written
Network                1.0 kB/s in, 513 B/s out
nvme Composite         38.9 °C
coretemp Package id 0  48.0 °C
GPU 0000:01:00.0       NVIDIA H200, 93 %, 71.5 °C, 75.2 GB of 150 GB, 612 W
Sessions               2
Queries                0
Model                  big \"model\"=1 
Failed units           1: backup.service
Reboot                 required
";
    assert_eq!(table(&large(), &Zone::new(true)), wanted);
    let unknown = table(&DeviceVitals::default(), &Zone::new(true));
    assert!(unknown.contains("Processor  unknown\nMemory     unknown\n"), "{unknown}");
}

/// Parses `key=value key="value"` as a reader of logfmt does.
fn pairs(line: &str) -> Option<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (name, behind) = rest.split_once('=')?;
        let mut values = serde_json::Deserializer::from_str(behind).into_iter::<String>();
        let (value, end) = if behind.starts_with('"') {
            (values.next()?.ok()?, values.byte_offset())
        } else {
            let end = behind.find(' ').unwrap_or(behind.len());
            (behind[..end].to_owned(), end)
        };
        found.push((name.to_owned(), value));
        rest = behind[end..].strip_prefix(' ').unwrap_or(&behind[end..]);
    }
    Some(found)
}

proptest! {
    #[test]
    fn whatever_others_call_things_a_line_is_one_line_and_can_be_taken_apart(
        device_id in "(?s).{0,20}",
        model in "(?s).{0,300}",
        path in "(?s).{0,20}",
        usage in proptest::option::of(any::<f64>()),
        uptime_s in proptest::option::of(any::<u64>()),
        load in proptest::option::of(any::<[f64; 3]>()),
    ) {
        let vitals = DeviceVitals {
            device_id,
            loaded_model: Some(model),
            cpu_usage: usage,
            uptime_s,
            load,
            disks: vec![DiskVitals { path, ..DiskVitals::default() }],
            ..large()
        };
        for format in [Format::Json, Format::Avocado, Format::Logfmt, Format::Text] {
            let line = line(format, &vitals, SystemTime::now());
            // JSON escapes only the control characters of ASCII; no other ends a line.
            let control = |letter: char| letter.is_control() && (format != Format::Json || letter < '\u{20}');
            prop_assert!(!line.contains(control), "{format:?}: {line:?}");
        }
        let json: serde_json::Value = serde_json::from_str(&line(Format::Json, &vitals, at(0))).unwrap();
        prop_assert_eq!(json["device_id"].as_str(), Some(vitals.device_id.as_str()));
        let avocado: serde_json::Value =
            serde_json::from_str(&line(Format::Avocado, &vitals, at(0))).unwrap();
        prop_assert_eq!(avocado["uptime"].as_u64(), uptime_s);
        let wanted: Vec<(String, String)> =
            fields(&vitals).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        prop_assert_eq!(pairs(&line(Format::Logfmt, &vitals, at(0))), Some(wanted));
        let datagram = String::from_utf8(datagram(&vitals)).unwrap();
        prop_assert!(datagram.len() < 16 * 1024);
        for field in datagram.lines() {
            prop_assert!(field.split_once('=').is_some_and(|(name, _)| {
                name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
            }), "{field:?}");
        }
    }
}
