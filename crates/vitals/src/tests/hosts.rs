//! Readings of the hosts in the fixtures.

use super::*;

fn devices(counters: &rate::Counters, counts: impl Fn(&str) -> bool) -> Vec<&str> {
    counters.keys().map(String::as_str).filter(|name| counts(name)).collect()
}

fn read(host: &str, file: &str) -> String {
    fs::read_to_string(fixtures().join(host).join(file)).unwrap()
}

#[test]
fn a_virtual_machine() {
    let (sample, collectors) = Fake::of("cloud-vm").read_proc();
    let memory = sample.memory.unwrap();
    assert_eq!(memory.total, Some(24_684_096 * 1024));
    assert!(memory.available.is_some() && memory.zfs_reclaimable.is_none());
    about(
        memory.used().unwrap(),
        1.0 - memory.available.unwrap() as f64 / memory.total.unwrap() as f64,
        1e-12,
    );
    assert_eq!(sample.swap, Some(Swap { total: 0, used: 0 }));
    assert_eq!(sample.swap.unwrap().used_share(), None);
    assert_eq!(sample.load.unwrap().processors, Some(2));
    assert!(*sample.uptime.unwrap() > SECOND * 3600);
    for pressure in [sample.cpu_pressure, sample.memory_pressure, sample.io_pressure] {
        let pressure = pressure.unwrap();
        assert!(pressure.some.is_some() && pressure.full.is_some());
    }
    // Nothing changed between the two readings, so rates are 0. The processors' share is unknown: no tick
    // passed.
    assert_eq!(sample.network.map(|rate| rate.value), Some(Network { received: 0.0, sent: 0.0 }));
    assert_eq!(sample.disk_io.map(|rate| rate.value), Some(DiskIo { read: 0.0, written: 0.0 }));
    assert_eq!(sample.cpu, None);
    assert!(collectors.stats().iter().all(|stats| stats.errors == 0), "{:?}", collectors.stats());
}

#[test]
fn a_server_with_zfs() {
    let fake = Fake::of("zfs-server");
    let (sample, _) = fake.read_proc();
    let memory = sample.memory.unwrap();
    let arc = 33_502_740_480 - 2_104_707_328;
    assert_eq!(memory.zfs_reclaimable, Some(arc));
    assert_eq!(memory.available, Some(4_987_236 * 1024 + arc));
    // Without the cache of ZFS, 92 % would seem to be used.
    about(memory.used().unwrap(), 0.458, 0.001);
    assert_eq!(sample.swap.unwrap().used, (8_388_604 - 7_340_028) * 1024);
    about(sample.swap.unwrap().used_share().unwrap(), 0.125, 1e-4);
    assert_eq!(
        sample.load.map(|load| load.value),
        Some(Load { one: 12.4, five: 9.81, fifteen: 7.02, processors: Some(16) })
    );

    let counters = disk_io::parse(read("zfs-server", "diskstats").as_bytes()).value.unwrap();
    let counted = devices(&counters, |name| disk_io::is_physical(&fake.sys().join("block"), name));
    assert_eq!(counted, ["cciss/c0d0", "nvme0n1", "sda"]);
    assert_eq!(counters["nvme0n1"], [918_273_640 * 512, 817_263_548 * 512]);
}

#[test]
fn mounts_that_hold_no_answer_are_left_out() {
    let wanted: Vec<PathBuf> =
        ["/boot", "/", "/nix/", "/home", "/var", "/srv/with a space", "/nix/store"].map(PathBuf::from).into();
    let found = |host: &str| -> Vec<Option<String>> {
        disk::parse_mounts(read(host, "mountinfo").as_bytes(), &wanted)
            .0
            .into_iter()
            .map(|mount| mount.map(|mount| mount.filesystem))
            .collect()
    };
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(
        found("zfs-server"),
        // /home is hidden from the unit and /var is no mount point: both are None.
        [some("vfat"), some("zfs"), some("zfs"), None, None, some("zfs"), some("zfs")]
    );
    // /boot is mounted on first use: a query would mount it and keep it mounted.
    assert_eq!(found("laptop"), [None, some("btrfs"), some("btrfs"), None, None, None, None]);
    assert_eq!(found("container"), [None, some("overlay"), None, None, None, None, None]);
    // Once it is mounted, it has two lines.
    let both = read("laptop", "mountinfo") + "41 39 259:1 / /boot rw - vfat /dev/nvme0n1p1 rw\n";
    assert!(disk::parse_mounts(both.as_bytes(), &wanted).0[0].is_some());
}

#[test]
fn each_byte_on_the_network_counts_once() {
    let fake = Fake::of("laptop");
    let counters = network::parse(read("laptop", "net-dev").as_bytes()).value.unwrap();
    let counted = devices(&counters, |name| network::is_physical(&fake.sys().join("class/net"), name));
    assert_eq!(counted, ["enp0s31f6", "eth9", "vm0", "wlp0s20f3"]);
    assert_eq!(counters["wlp0s20f3"], [18_446_744_073_709_000_000, 918_273_645]);
}

#[test]
fn a_laptops_chips() {
    let names = Settings::default().temperatures;
    let sensors = temperature::read(&Fake::of("laptop").sys(), &names, &Faults::default()).unwrap().unwrap();
    let shown: Vec<(&str, Option<&str>, &str, Option<f64>)> = sensors
        .iter()
        .map(|sensor| (sensor.chip.as_str(), sensor.device.as_deref(), sensor.label.as_str(), sensor.celsius))
        .collect();
    assert_eq!(
        shown,
        [
            ("acpitz", Some("thermal_zone0"), "temp1", Some(53.0)),
            ("nvme", Some("nvme0"), "Composite", Some(38.85)),
            // All bits of a register set is no temperature.
            ("nvme", Some("nvme0"), "Sensor 1", None),
            ("coretemp", Some("coretemp.0"), "Package id 0", Some(55.0)),
            ("coretemp", Some("coretemp.0"), "Core 0", None),
            // Sorted by number: 10 comes after 9.
            ("nvme", Some("nvme1"), "Composite", Some(41.85)),
        ]
    );
    let read = |host: &str, names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let sensors = temperature::read(&Fake::of(host).sys(), &names, &Faults::default()).unwrap();
        sensors.map(|sensors| sensors.into_iter().filter_map(|sensor| sensor.celsius).collect::<Vec<_>>())
    };
    assert_eq!(read("laptop", &["thinkpad"]), Some(vec![53.0]));
    assert_eq!(read("zfs-server", &["coretemp"]), Some(vec![47.0, 44.0, 45.0]));
    assert_eq!(read("raspberry-pi", &["cpu_thermal"]), Some(vec![48.199]));
    assert_eq!(read("raspberry-pi", &["coretemp"]), None);
    assert_eq!(read("container", &["coretemp"]), None);
    assert_eq!(read("laptop", &[]), None);
}

#[test]
fn a_raspberry_pi() {
    let fake = Fake::of("raspberry-pi");
    let (sample, collectors) = fake.read_proc();
    about(sample.memory.unwrap().used().unwrap(), 0.145, 0.001);
    assert_eq!(sample.load.unwrap().processors, Some(4));
    // A kernel before 5.13 has one line for processors.
    let pressure = sample.cpu_pressure.unwrap();
    about(pressure.some.unwrap().avg10, 0.045, 1e-12);
    assert_eq!(pressure.some.unwrap().total, Duration::from_micros(681_245));
    assert_eq!(pressure.full, None);
    let counters = disk_io::parse(read("raspberry-pi", "diskstats").as_bytes()).value.unwrap();
    let counted = devices(&counters, |name| disk_io::is_physical(&fake.sys().join("block"), name));
    assert_eq!(counted, ["mmcblk0"]);
    assert!(collectors.stats().iter().all(|stats| stats.errors == 0), "{:?}", collectors.stats());
}

#[test]
fn a_container_lacks_half_of_it_without_an_error() {
    let (sample, collectors) = Fake::of("container").read_proc();
    assert!(sample.memory.is_some() && sample.load.is_some());
    assert_eq!(sample.uptime.map(|uptime| uptime.value), Some(Duration::from_millis(86_461_250)));
    assert_eq!((sample.cpu_pressure, sample.memory_pressure, sample.io_pressure), (None, None, None));
    // Its interface has no hardware behind it but a default route, so it is counted.
    assert_eq!(sample.network.map(|rate| rate.value), Some(Network { received: 0.0, sent: 0.0 }));
    assert_eq!(sample.disk_io, None);
    assert!(collectors.stats().iter().all(|stats| stats.errors == 0), "{:?}", collectors.stats());
}
