use std::path::PathBuf;

use super::*;
use crate::{Mount, Timed, Usage};

fn timed<T>(value: T) -> Option<Timed<T>> {
    Some(Timed { value, taken_at: Moment::now() })
}

fn disk_at(point: &str, used: u64) -> Disk {
    let usage = Usage { total: 200, used, available: 100 - used, inodes: None };
    let mount = Mount { point: PathBuf::from(point), filesystem: "ext4".to_owned() };
    Disk { mount, usage: timed(usage) }
}

#[test]
fn without_a_root_the_fullest_disk_counts() {
    assert_eq!(disk_usage(&[disk_at("/boot", 20), disk_at("/nix", 70)]), Some(0.7));
    assert_eq!(disk_usage(&[]), None);
}

/// The numbers in the last line that `program` prints.
#[cfg(target_os = "linux")]
fn numbers(program: &str, arguments: &[&str]) -> Vec<f64> {
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
    assert_eq!(vitals.host.memory.and_then(|memory| memory.total), Some(total));
    let disks = vitals.host.disks.map(|disks| disks.value).unwrap_or_default();
    if let Some(usage) =
        disks.iter().find(|disk| disk.mount.point == Path::new("/")).and_then(|disk| disk.usage)
    {
        let df = numbers("df", &["--output=size,used", "--block-size=1", "/"]);
        assert_eq!(usage.value.total as f64, df[0]);
        let off = (usage.value.used as f64 - df[1]).abs();
        assert!(off < 0.02 * df[0], "{off} bytes off");
    }
}

#[cfg(target_os = "linux")]
fn procfs_total() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}
