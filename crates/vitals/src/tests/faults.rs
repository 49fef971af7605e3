//! Sources that are missing, forbidden, invalid, endless or do not answer.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use nixfleet_os::test_util::write_script;

use super::*;

/// Every file of /proc and the collector that reads it.
const FILES: [(&str, &str); 10] = [
    ("stat", "cpu"),
    ("meminfo", "memory"),
    ("spl/kstat/zfs/arcstats", "zfs"),
    ("loadavg", "load"),
    ("uptime", "uptime"),
    ("pressure/cpu", "pressure"),
    ("pressure/memory", "pressure"),
    ("pressure/io", "pressure"),
    ("net/dev", "network"),
    ("diskstats", "disk_io"),
];

/// A host with every source. Its values are the same in every reading.
fn complete() -> Fake {
    let fake = Fake::of("cloud-vm");
    fake.write("proc/spl/kstat/zfs/arcstats", "c_min 4 100\nsize 4 1000\n");
    fake.write("proc/sys/kernel/random/boot_id", "11111111-2222-3333-4444-555555555555\n");
    fake
}

/// The files whose values are known after two readings. The processors' counters change between the readings.
fn known(fake: &Fake) -> (Vec<&'static str>, Collectors) {
    let collectors = Collectors::default();
    let mut meter = ProcMeter::new(&fake.settings().paths);
    let now = Moment::now();
    meter.sample(now, &collectors);
    if fake.path("proc/stat").is_file()
        && let Ok(text) = fs::read_to_string(fake.path("proc/stat"))
        && text.starts_with("cpu  ")
    {
        fake.write("proc/stat", text.replacen("cpu  ", "cpu  1", 1));
    }
    let sample = meter.sample(now.after(SECOND, Duration::ZERO), &collectors);
    let known = [
        ("stat", sample.cpu.is_some()),
        ("meminfo", sample.memory.and_then(|memory| memory.used()).is_some()),
        ("loadavg", sample.load.is_some()),
        ("uptime", sample.uptime.is_some()),
        ("pressure/cpu", sample.cpu_pressure.is_some()),
        ("pressure/memory", sample.memory_pressure.is_some()),
        ("pressure/io", sample.io_pressure.is_some()),
        ("net/dev", sample.network.is_some()),
        ("diskstats", sample.disk_io.is_some()),
        ("boot_id", sample.boot_id.is_some()),
    ];
    (known.into_iter().filter_map(|(name, known)| known.then_some(name)).collect(), collectors)
}

/// Breaks each file in turn. Only its own value becomes unknown, and the failure is counted if `counted`.
#[track_caller]
fn costs_its_own_value(what: &str, counted: bool, spoil: impl Fn(&Path)) {
    let (all, collectors) = known(&complete());
    assert_eq!(all.len(), 10, "{all:?}");
    assert!(collectors.stats().iter().all(|stats| stats.errors == 0));
    for (file, collector) in FILES {
        let fake = complete();
        let path = fake.proc().join(file);
        fs::remove_file(&path).unwrap();
        spoil(&path);
        let begin = Instant::now();
        let (left, collectors) = known(&fake);
        assert!(begin.elapsed() < SECOND * 5, "{file} {what}");
        // Without ZFS the memory is known; with ZFS but an unreadable file it is unknown.
        let lost = match file {
            "spl/kstat/zfs/arcstats" if counted => "meminfo",
            file => file,
        };
        let wanted: Vec<&str> = all.iter().copied().filter(|name| *name != lost).collect();
        assert_eq!(left, wanted, "{file} {what}");
        for stats in collectors.stats() {
            // A host without disks has an empty list of disks.
            let is_fine = (file, what) == ("diskstats", "is empty");
            let wanted = if counted && !is_fine && stats.name == collector { 2 } else { 0 };
            assert_eq!(stats.errors, wanted, "{file} {what}: {stats:?}");
        }
    }
}

#[test]
fn a_host_with_nothing_to_look_at_is_unknown_without_an_error() {
    let (left, collectors) = known(&Fake::empty());
    assert!(left.is_empty(), "{left:?}");
    assert!(collectors.stats().iter().all(|stats| stats.errors == 0), "{:?}", collectors.stats());
    let handle = spawn(&Fake::empty().settings(), SECOND);
    wait(&handle, "looks", |_| handle.collectors().stats().iter().all(|s| s.runs > 0 || s.name == "disks"));
    assert_eq!(handle.at(Moment::now()), Vitals::default());
    assert!(handle.collectors().stats().iter().all(|stats| (stats.errors, stats.timeouts) == (0, 0)));
}

#[test]
fn a_missing_file_costs_its_own_value() {
    costs_its_own_value("is missing", false, |_| {});
}

#[test]
fn a_folder_or_a_fifo_in_its_place_costs_its_own_value_and_no_time() {
    costs_its_own_value("is a folder", true, |path| fs::create_dir(path).unwrap());
    costs_its_own_value("is a FIFO", true, |path| {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    });
}

#[test]
fn garbage_costs_its_own_value() {
    for (what, content) in [
        ("is empty", Vec::new()),
        ("is a line end", b"\n".to_vec()),
        ("is one word", b"some".to_vec()),
        ("is not ASCII", "\u{e9}\u{e9} \u{e9} \u{e9}\n\u{e9}\n".as_bytes().to_vec()),
        ("has a name that is not ASCII", "\u{e9} 1\n".as_bytes().to_vec()),
        ("is not UTF-8", vec![0xff; 100]),
        ("is NULs", vec![0; 100]),
        ("is a line of 1 MiB", vec![b'9'; 1 << 20]),
        ("is lines of 1 MiB", b"9 9\n".repeat(1 << 18)),
        ("is a line of more", vec![b'x'; (1 << 20) + 1]),
        ("is negative", b"cpu  -1 -1 -1 -1 -1 -1 -1 -1\n-1.0 -1.0 -1.0 -1/-1 -1\n".to_vec()),
    ] {
        costs_its_own_value(what, true, |path| fs::write(path, &content).unwrap());
    }
}

#[test]
fn a_file_that_is_cut_anywhere_breaks_nothing() {
    for (file, _) in FILES {
        let whole = fs::read(complete().proc().join(file)).unwrap();
        let fake = complete();
        let step = (whole.len() / 60).max(1);
        for length in (0..whole.len()).step_by(step) {
            fs::write(fake.proc().join(file), &whole[..length]).unwrap();
            known(&fake);
        }
    }
}

/// Runs as a user without permission, on a thread of its own, because root may read everything.
#[test]
fn a_forbidden_file_costs_its_own_value() {
    let nobody = rustix::process::Uid::from_raw(65534);
    let run = move || {
        if rustix::process::geteuid().is_root() {
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        costs_its_own_value("is forbidden", true, |path| {
            fs::write(path, "x").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
        });
    };
    thread::spawn(run).join().unwrap();
}

#[test]
fn a_sensor_that_cannot_be_read_is_none_and_the_others_are_not() {
    let fake = Fake::of("laptop");
    let names = ["coretemp".to_owned(), "nvme".to_owned()];
    let celsius = || -> Vec<Option<f64>> {
        let sensors = temperature::read(&fake.sys(), &names, &Faults::default()).unwrap().unwrap();
        sensors.into_iter().map(|sensor| sensor.celsius).collect()
    };
    let before = celsius();
    assert_eq!(before[0], Some(38.85));
    let input = fake.path("sys/class/hwmon/hwmon3/temp1_input");
    fs::remove_file(&input).unwrap();
    assert!(Command::new("mkfifo").arg(&input).status().unwrap().success());
    assert_eq!(celsius(), [&[None], &before[1..]].concat());
    fs::remove_file(&input).unwrap();
    fs::create_dir(&input).unwrap();
    assert_eq!(celsius(), [&[None], &before[1..]].concat());
    // A file of the kernel that can be opened but not read (EIO), like the sensors of sleeping devices.
    fs::remove_dir(&input).unwrap();
    symlink("/proc/self/mem", &input).unwrap();
    assert_eq!(celsius(), [&[None], &before[1..]].concat());
}

/// The temperatures of all chips, and the files that were not understood.
fn temperatures(fake: &Fake) -> (Vec<(String, Option<f64>)>, Vec<String>) {
    let names = ["coretemp", "nvme", "lm90"].map(str::to_owned);
    let faults = Faults::default();
    let sensors = temperature::read(&fake.sys(), &names, &faults).unwrap().unwrap_or_default();
    let shown =
        sensors.into_iter().map(|sensor| (format!("{} {}", sensor.chip, sensor.label), sensor.celsius));
    let named =
        faults.now().into_iter().map(|fault| fault.path.file_name().unwrap().to_str().unwrap().to_owned());
    (shown.collect(), named.collect())
}

#[test]
fn a_sensor_that_says_that_it_is_broken_has_no_temperature() {
    let fake = Fake::empty();
    let write = |name: &str, text: &str| fake.write(&format!("sys/class/hwmon/hwmon0/{name}"), text);
    write("name", "lm90\n");
    write("temp1_input", "35000\n");
    write("temp2_input", "127875\n");
    for (flag, wanted) in
        [("0\n", Some(127.875)), ("1\n", None), ("2\n", None), ("0", Some(127.875)), ("x\n", Some(127.875))]
    {
        write("temp2_fault", flag);
        let (seen, _) = temperatures(&fake);
        assert_eq!(
            seen,
            [("lm90 temp1".to_owned(), Some(35.0)), ("lm90 temp2".to_owned(), wanted)],
            "{flag:?}"
        );
    }
}

#[test]
fn one_file_of_hwmon_costs_itself_and_is_named() {
    // A plain file, and reading it is an input/output error.
    const EIO: &str = "/proc/self/mem";
    let fake = Fake::empty();
    let write = |name: &str, text: &str| fake.write(&format!("sys/class/hwmon/{name}"), text);
    write("hwmon0/name", "coretemp\n");
    write("hwmon0/temp2_input", "45000\n");
    write("hwmon0/temp3_input", "4x\n");
    fake.link("sys/class/hwmon/hwmon0/temp1_input", EIO);
    write("hwmon1/name", "nvme\n");
    write("hwmon1/temp1_input", "33850\n");
    write("hwmon1/temp1_fault", "?!\u{0}\n");
    fake.link("sys/class/hwmon/hwmon1/temp1_label", EIO);
    fake.link("sys/class/hwmon/hwmon2/name", EIO);
    // A chip that is no folder.
    fake.write("sys/class/hwmon/hwmon3", "");
    let (seen, named) = temperatures(&fake);
    let wanted = [
        ("coretemp temp1", None),
        ("coretemp temp2", Some(45.0)),
        ("coretemp temp3", None),
        ("nvme temp1", Some(33.85)),
    ];
    assert_eq!(seen, wanted.map(|(name, celsius)| (name.to_owned(), celsius)));
    assert_eq!(named, ["temp1_input", "temp3_input", "temp1_fault", "temp1_label", "name"]);
}

/// Runs as a user without permission, as [`a_forbidden_file_costs_its_own_value`] does.
#[test]
fn a_chip_that_cannot_be_listed_costs_itself() {
    let run = || {
        if rustix::process::geteuid().is_root() {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        let fake = Fake::empty();
        for chip in ["hwmon0", "hwmon1"] {
            fake.write(&format!("sys/class/hwmon/{chip}/name"), "nvme\n");
            fake.write(&format!("sys/class/hwmon/{chip}/temp1_input"), "45000\n");
        }
        // Its name can be read.
        let first = fake.path("sys/class/hwmon/hwmon0");
        fs::set_permissions(&first, fs::Permissions::from_mode(0o111)).unwrap();
        let (seen, named) = temperatures(&fake);
        fs::set_permissions(&first, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!((seen, named), (vec![("nvme temp1".to_owned(), Some(45.0))], vec!["hwmon0".to_owned()]));
    };
    thread::spawn(run).join().unwrap();
}

#[test]
fn the_list_of_mounts_is_read_whole_or_not_at_all() {
    let fake = Fake::of("zfs-server");
    let wanted = [PathBuf::from("/")];
    let found = |fake: &Fake| disk::mounts(&fake.proc(), &wanted, &Faults::default());
    assert!(found(&fake).unwrap().unwrap()[0].is_some());
    // An incomplete line and a line that is not text do not affect the other lines.
    let ours = fs::read(fake.path("proc/self/mountinfo")).unwrap();
    let with = [b"1 2 3\n\xff\xff\xff / /\xff rw - \xff x\n\\ - -\n".as_slice(), &ours].concat();
    fake.write("proc/self/mountinfo", with);
    assert!(found(&fake).unwrap().unwrap()[0].is_some());
    fake.write("proc/self/mountinfo", vec![b'x'; (1 << 20) + 1]);
    assert!(found(&fake).is_err());
    assert!(found(&Fake::empty()).unwrap().is_none());
}

/// A program that replaces systemctl.
fn systemctl(fake: &Fake, script: &str) -> PathBuf {
    let path = fake.path("systemctl");
    write_script(&path, &format!("#!/bin/sh\n{script}\n"));
    path
}

#[test]
fn failed_units_are_asked_for_where_systemd_runs_and_not_elsewhere() {
    let fake = Fake::empty();
    let program = systemctl(
        &fake,
        "[ \"$*\" = 'list-units --failed --plain --full --no-legend --no-pager' ] || exit 9
         echo 'nginx.service loaded failed failed A web server'",
    );
    let runtime = fake.path("run-systemd");
    assert_eq!(units::read(&runtime, &program).unwrap(), None);
    fs::create_dir_all(runtime.join("system")).unwrap();
    let units = units::read(&runtime, &program).unwrap().unwrap();
    assert_eq!((units.count, units.names), (1, vec!["nginx.service".to_owned()]));
}

#[test]
fn a_service_manager_that_does_not_answer_is_counted_as_slow() {
    let fake = Fake::empty();
    let runtime = fake.path("run-systemd");
    fs::create_dir_all(runtime.join("system")).unwrap();
    let collectors = Collectors::default();
    let counted = |script: &str| {
        let program = systemctl(&fake, script);
        assert_eq!(collectors.units.run(|| units::read(&runtime, &program)), None, "{script}");
        let stats = collectors.units.stats();
        (stats.runs, stats.errors, stats.timeouts)
    };
    assert_eq!(counted("echo 'Failed to connect to bus' >&2; exit 1"), (1, 1, 0));
    assert_eq!(counted("echo what"), (2, 2, 0));
    let begin = Instant::now();
    assert_eq!(counted("sleep 60"), (3, 2, 1));
    assert!(begin.elapsed() < LIMIT);
    fs::remove_file(fake.path("systemctl")).unwrap();
    assert_eq!(collectors.units.run(|| units::read(&runtime, &fake.path("systemctl"))), None);
    assert_eq!(collectors.units.stats().errors, 3);
}
