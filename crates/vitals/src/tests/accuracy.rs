//! Comparison of values with other sources of the same kernel.

use std::process::Command;

use super::*;

fn real() -> (&'static Path, &'static Path) {
    (Path::new("/proc"), Path::new("/sys"))
}

/// Whether a folder or program is missing, as sysfs is in build sandboxes. If so, it prints a line that the
/// test runner does not capture.
fn lacks(what: &str) -> bool {
    let missing = if what.starts_with('/') {
        fs::read_dir(what).map_or(true, |mut entries| entries.next().is_none())
    } else {
        Command::new(what).arg("--version").output().is_err()
    };
    if missing {
        use std::io::Write;
        writeln!(std::io::stderr(), "SKIPPED: a comparison, because there is no {what}").unwrap();
    }
    missing
}

/// Idle time of all processors, and the uptime, from /proc/uptime.
fn idle() -> (f64, f64) {
    let text = fs::read_to_string("/proc/uptime").unwrap();
    let mut numbers = text.split_whitespace().map(|number| number.parse::<f64>().unwrap());
    let uptime = numbers.next().unwrap();
    (numbers.next().unwrap(), uptime)
}

/// Processor time of this process, in seconds.
fn own_time() -> f64 {
    let stat = procfs::process::Process::myself().unwrap().stat().unwrap();
    (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64
}

#[test]
fn the_processors_share_agrees_with_idle_time_and_with_a_load_of_our_own() {
    if lacks("/sys/devices/system/cpu") {
        return;
    }
    let processors = load::LoadMeter::new(real().0, real().1)
        .sample(Moment::now(), &Faults::default())
        .unwrap()
        .unwrap()
        .processors
        .unwrap() as f64;
    let mut meter = cpu::CpuMeter::new(real().0);
    let (stop, spinning) = (Arc::new(AtomicBool::new(false)), Instant::now());
    let spinner = {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            while !stop.load(Relaxed) {
                std::hint::spin_loop()
            }
        })
    };
    assert_eq!(meter.sample(Moment::now(), &Faults::default()).unwrap(), None);
    let (before, idle_before) = (own_time(), idle());
    thread::sleep(SECOND * 2);
    let cpu = meter.sample(Moment::now(), &Faults::default()).unwrap().unwrap();
    let (after, idle_after) = (own_time(), idle());
    stop.store(true, Relaxed);
    spinner.join().unwrap();
    let passed = spinning.elapsed().as_secs_f64().max(0.1);
    // This process used at least this share.
    let own = (after - before) / (passed * processors);
    assert!(cpu.busy >= own - 0.05, "{cpu:?}, own {own}");
    let idle = (idle_after.0 - idle_before.0) / ((idle_after.1 - idle_before.1) * processors);
    about(cpu.busy + cpu.iowait, 1.0 - idle, 0.07);
    let parts = cpu.user + cpu.system + cpu.irq + cpu.softirq + cpu.steal;
    about(parts, cpu.busy, 1e-9);
}

#[test]
fn memory_agrees_with_free() {
    if lacks("free") {
        return;
    }
    let output = Command::new("free").args(["-b", "-w"]).env("LC_ALL", "C").output().unwrap();
    let (memory, swap) = memory::MemoryMeter::new(real().0).sample(Moment::now(), &Collectors::default());
    let (memory, swap) = (memory.unwrap(), swap.unwrap());
    let text = String::from_utf8(output.stdout).unwrap();
    let row = |name: &str| -> Vec<u64> {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().skip(1).map(|number| number.parse().unwrap()).collect()
    };
    assert_eq!(memory.total, Some(row("Mem:")[0]));
    if memory.zfs_reclaimable.is_none() {
        let available = *row("Mem:").last().unwrap() as f64;
        about(memory.available.unwrap() as f64, available, memory.total.unwrap() as f64 * 0.03);
    }
    assert_eq!((swap.total, swap.total - swap.used), (row("Swap:")[0], row("Swap:")[2]));
}

#[test]
fn load_and_uptime_agree_with_the_system_call() {
    if lacks("/sys/devices/system/cpu") {
        return;
    }
    let info = rustix::system::sysinfo();
    let mut meter = load::LoadMeter::new(real().0, real().1);
    let load = meter.sample(Moment::now(), &Faults::default()).unwrap().unwrap();
    let uptime = load::UptimeMeter::new(real().0).sample(Moment::now(), &Faults::default()).unwrap().unwrap();
    for (value, expected) in [load.one, load.five, load.fifteen].into_iter().zip(info.loads) {
        about(value, expected as f64 / 65536.0, 0.3);
    }
    about(uptime.as_secs_f64(), info.uptime as f64, 2.0);
    let online = Command::new("nproc").arg("--all").output().unwrap();
    let online: u64 = String::from_utf8(online.stdout).unwrap().trim().parse().unwrap();
    assert!(load.processors.unwrap() <= online);
}

#[test]
fn a_file_systems_usage_agrees_with_df() {
    let wanted = [PathBuf::from("/"), PathBuf::from("/dev/shm"), PathBuf::from("/proc")];
    let mounts = disk::mounts(real().0, &wanted, &Faults::default()).unwrap().unwrap();
    let mut compared = 0;
    for mount in mounts.into_iter().flatten() {
        let Some(usage) = disk::usage(&mount.point).unwrap() else {
            assert_eq!(mount.filesystem, "proc");
            continue;
        };
        let columns = "--output=size,used,avail,itotal,iused,fstype";
        let output = Command::new("df").args(["-B1", columns]).arg(&mount.point).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        let number = |index: usize| row[index].parse::<f64>().unwrap();
        // Other programs write at the same time.
        let slack = 256.0 * 1024.0 * 1024.0;
        assert_eq!(usage.total as f64, number(0));
        about(usage.used as f64, number(1), slack);
        about(usage.available as f64, number(2), slack);
        if let Some(inodes) = usage.inodes {
            assert_eq!(inodes.total as f64, number(3));
            about(inodes.used as f64, number(4), 20_000.0);
        }
        assert_eq!(mount.filesystem, row[5]);
        let share = usage.used_share().unwrap();
        assert!((0.0..=1.0).contains(&share), "{share}");
        compared += 1;
    }
    assert!(compared >= 1);
}

/// Checks that the counters of each device are between the values of its own files before and after.
fn counters_are_between(
    parse: impl Fn() -> rate::Counters,
    own: impl Fn(&str) -> Option<[u64; 2]>,
    names: impl Iterator<Item = String>,
) {
    for name in names {
        let Some(before) = own(&name) else { continue };
        let counters = parse()[&name];
        let after = own(&name).unwrap();
        for index in 0..2 {
            let range = before[index]..=after[index];
            assert!(range.contains(&counters[index]), "{name}: {} is not in {range:?}", counters[index]);
        }
    }
}

fn names(folder: &str) -> impl Iterator<Item = String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap())
}

#[test]
fn interfaces_counters_agree_with_sysfs() {
    if lacks("/sys/class/net") {
        return;
    }
    let number = |path: String| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    counters_are_between(
        || network::parse(&fs::read("/proc/net/dev").unwrap()).value.unwrap(),
        |name| {
            let of = |file| number(format!("/sys/class/net/{name}/statistics/{file}"));
            Some([of("rx_bytes")?, of("tx_bytes")?])
        },
        names("/sys/class/net"),
    );
}

#[test]
fn disks_counters_agree_with_sysfs() {
    if lacks("/sys/block") {
        return;
    }
    counters_are_between(
        || disk_io::parse(&fs::read("/proc/diskstats").unwrap()).value.unwrap(),
        |name| {
            let text = fs::read_to_string(format!("/sys/block/{name}/stat")).ok()?;
            let numbers: Vec<u64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
            Some([numbers[2] * 512, numbers[6] * 512])
        },
        names("/sys/block").filter(|name| !name.contains('!')),
    );
}

#[test]
fn what_is_written_shows_as_bytes_written() {
    const SIZE: usize = 32 << 20;
    let mut meter = disk_io::DiskIoMeter::new(real().0, real().1);
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let begin = Moment::now();
    meter.sample(begin, &Faults::default()).unwrap();
    let file = fs::File::create(folder.path().join("data")).unwrap();
    std::io::Write::write_all(&mut &file, &vec![7; SIZE]).unwrap();
    file.sync_all().unwrap();
    let end = Moment::now();
    let rates = meter.sample(end, &Faults::default()).unwrap();
    // The check needs a folder on a physical disk.
    let device = fs::metadata(folder.path()).map(|data| std::os::unix::fs::MetadataExt::dev(&data)).unwrap();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let name = fs::read_link(format!("/sys/dev/block/{major}:{minor}")).ok();
    let name = name.and_then(|link| Some(link.file_name()?.to_str()?.to_owned()));
    if name.is_some_and(|name| disk_io::is_physical(&real().1.join("block"), &name)) {
        let written = rates.unwrap().written * end.awake_since(begin).as_secs_f64();
        assert!(written >= SIZE as f64, "{written}");
        assert!(written < SIZE as f64 * 20.0, "{written}");
    }
}

#[test]
fn this_boots_pressure_is_what_the_kernel_writes() {
    let Some(pressure) =
        pressure::PressureMeter::new(real().0, "cpu").sample(Moment::now(), &Faults::default()).unwrap()
    else {
        return;
    };
    let text = fs::read_to_string("/proc/pressure/cpu").unwrap();
    let total: u64 = text.lines().next().unwrap().rsplit_once("total=").unwrap().1.parse().unwrap();
    let some = pressure.some.unwrap();
    assert!(some.total <= Duration::from_micros(total), "{some:?} {total}");
    assert!(some.total + SECOND * 5 >= Duration::from_micros(total), "{some:?} {total}");
}
