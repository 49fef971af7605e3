//! Each line stands alone: one that is odd costs its own figure and no other.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::values::memory_of;
use super::*;

/// A line that is not of the kernel: not UTF-8, long, negative, too large, a NUL, the head of a line.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>().prop_filter("no line end", |byte| *byte != b'\n'), 0..80),
        Just(b"\xff\xfe\xff".to_vec()),
        Just(vec![b'x'; 20_000]),
        Just(b"0 ".repeat(10_000)),
        Just(vec![0; 60]),
        Just(b"MemFree:      -1 kB".to_vec()),
        Just(b"MemTotal: 99999999999999999999 kB".to_vec()),
        Just(b"MemAvailable: 18446744073709551615 kB".to_vec()),
        Just(b"SwapFree: kB".to_vec()),
        Just(b"  eth0: -5 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0".to_vec()),
        Just(b"  eth0: 99999999999999999999 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0".to_vec()),
        Just(b"   8       0 sda 1 1 -1 1 1 1 1 1 1 1 1".to_vec()),
        Just(b"some avg10=NaN avg60=0.00 avg300=0.00 total=-1".to_vec()),
        Just(b"cpu".to_vec()),
    ]
}

/// The file with its line `index` replaced.
fn with_line(file: &[u8], index: usize, line: &[u8]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = file.split(|byte| *byte == b'\n').collect();
    lines[index] = line;
    lines.join(&b'\n')
}

/// Number of lines, without the end behind the last one.
fn count(file: &[u8]) -> usize {
    file.iter().filter(|byte| **byte == b'\n').count()
}

fn fixture(host: &str, file: &str) -> Vec<u8> {
    fs::read(fixtures().join(host).join(file)).unwrap()
}

/// The figures of meminfo by the name of the line that they need.
fn of_meminfo(text: &[u8]) -> BTreeMap<&'static str, Option<u64>> {
    let found = memory::parse(text).value.unwrap_or_default();
    BTreeMap::from([
        ("MemTotal", found.total),
        ("MemFree", found.free),
        ("MemAvailable", found.available),
        ("Swap", found.swap.map(|swap| swap.total - swap.used)),
    ])
}

proptest! {
    #[test]
    fn an_odd_line_of_meminfo_costs_its_own_figure(line in garbage(), place in any::<prop::sample::Index>()) {
        let file = fixture("zfs-server", "meminfo");
        let index = place.index(count(&file));
        let replaced = std::str::from_utf8(file.split(|byte| *byte == b'\n').nth(index).unwrap()).unwrap();
        let (whole, broken) = (of_meminfo(&file), of_meminfo(&with_line(&file, index, &line)));
        for (name, figure) in &whole {
            prop_assert!(figure.is_some());
            // What the new line itself claims is not looked at.
            let says_so = String::from_utf8_lossy(&line).contains(name);
            let needed = if *name == "Swap" { vec!["SwapTotal:", "SwapFree:"] } else { vec![*name] };
            if needed.iter().any(|name| replaced.starts_with(name)) {
                prop_assert!(broken[name].is_none() || says_so, "{}: {:?}", name, broken[name]);
            } else if !says_so {
                prop_assert_eq!(&broken[name], figure, "{}", name);
            }
        }
    }

    #[test]
    fn an_odd_line_of_interfaces_or_disks_costs_that_device(line in garbage(), place in any::<prop::sample::Index>()) {
        type Parse = fn(&[u8]) -> Parsed<rate::Counters>;
        let files: [(Vec<u8>, Parse); 2] =
            [(fixture("laptop", "net-dev"), network::parse), (fixture("zfs-server", "diskstats"), disk_io::parse)];
        for (file, parse) in files {
            let index = place.index(count(&file));
            let whole = parse(&file).value.unwrap();
            let replaced = file.split(|byte| *byte == b'\n').nth(index).unwrap();
            let own = parse(replaced).value.unwrap_or_default();
            let broken = parse(&with_line(&file, index, &line)).value.unwrap();
            for (name, counters) in whole.iter().filter(|(name, _)| !own.contains_key(*name)) {
                prop_assert_eq!(broken.get(name), Some(counters), "{}", name);
            }
            // Only a line that reads like one of a device could add one.
            prop_assert!(broken.len() <= whole.len() + 1);
        }
    }

    #[test]
    fn an_odd_line_of_pressure_costs_the_other_line_nothing(line in garbage(), first in any::<bool>()) {
        let file = fixture("cloud-vm", "pressure/memory");
        let whole = pressure::parse(&file).value.unwrap();
        let broken = pressure::parse(&with_line(&file, usize::from(!first), &line)).value.unwrap();
        let (kept, wanted) = if first { (broken.full, whole.full) } else { (broken.some, whole.some) };
        prop_assert_eq!(kept, wanted);
        prop_assert!(kept.is_some());
    }

    #[test]
    fn an_odd_line_of_processors_behind_the_first_costs_nothing(line in garbage(), place in any::<prop::sample::Index>()) {
        let file = fixture("cloud-vm", "stat");
        let whole = cpu::parse(&file).value.unwrap();
        let index = 1 + place.index(count(&file) - 1);
        prop_assert_eq!(cpu::parse(&with_line(&file, index, &line)).value, Some(whole));
        // A line more before it.
        let before = [&line[..], b"\n", &file[..]].concat();
        prop_assert_eq!(cpu::parse(&before).value, Some(whole));
    }

    #[test]
    fn an_odd_mount_costs_itself(line in garbage(), place in any::<prop::sample::Index>()) {
        let wanted: Vec<PathBuf> = ["/", "/nix", "/boot", "/srv/with a space"].map(PathBuf::from).into();
        let file = fixture("zfs-server", "mountinfo");
        let index = place.index(count(&file));
        let whole = disk::parse_mounts(&file, &wanted).0;
        let own = disk::parse_mounts(file.split(|byte| *byte == b'\n').nth(index).unwrap(), &wanted).0;
        let broken = disk::parse_mounts(&with_line(&file, index, &line), &wanted).0;
        for ((whole, own), broken) in whole.iter().zip(own).zip(broken) {
            prop_assert!(own.is_some() || *whole == broken, "{:?} {:?}", whole, broken);
        }
    }
}

#[test]
fn all_of_a_host_but_the_odd_lines_is_known() {
    let fake = Fake::of("cloud-vm");
    // The first line with such a beginning becomes something else.
    for (file, begins, odd) in [
        ("proc/meminfo", "MemFree", b"MemFree:   \xff kB".as_slice()),
        ("proc/net/dev", "    lo", b"    l\xff: 1 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0"),
        ("proc/diskstats", " ", b"   7       0 loop0 1 1 -1 1"),
        ("proc/pressure/io", "full", &[b'x'; 50_000]),
    ] {
        let text = fs::read(fake.path(file)).unwrap();
        let index = text.split(|byte| *byte == b'\n').position(|line| line.starts_with(begins.as_bytes()));
        fake.write(file, with_line(&text, index.unwrap(), odd));
    }
    let (sample, collectors) = fake.read_proc();
    let memory = sample.memory.unwrap();
    assert!(memory.total.is_some() && memory.used().is_some() && memory.free.is_none(), "{memory:?}");
    assert!(sample.swap.is_some() && sample.network.is_some() && sample.disk_io.is_some(), "{sample:?}");
    assert!(sample.io_pressure.unwrap().some.is_some());
    let named: Vec<String> = collectors.faults.now().iter().map(ToString::to_string).collect();
    let wanted = [
        ("diskstats, line ", "(loop0): lacks a whole number of sectors"),
        ("meminfo, line 2", ": is not UTF-8"),
        ("net/dev, line 3", ": is not UTF-8"),
        ("pressure/io, line 2", ": is neither `some` nor `full`"),
    ];
    assert_eq!(named.len(), wanted.len(), "{named:?}");
    for (named, (file, reason)) in named.iter().zip(wanted) {
        assert!(named.contains(file) && named.ends_with(reason), "{named}");
    }
    assert!(collectors.stats().iter().all(|stats| stats.errors == 0), "{:?}", collectors.stats());
}

#[test]
fn of_a_file_without_end_the_lines_before_the_limit_count() {
    let fake = Fake::of("cloud-vm");
    let (whole, _) = fake.read_proc();
    for file in ["proc/meminfo", "proc/net/dev", "proc/diskstats"] {
        let text = fs::read(fake.path(file)).unwrap();
        // A line that goes on behind the limit: its digits that are read are not its value.
        let more = [b"x: 1\n".repeat(50_000), b"MemFree: ".to_vec(), vec![b'1'; 1 << 20]].concat();
        fake.write(file, [text, more].concat());
    }
    let (cut, collectors) = fake.read_proc();
    let rates =
        |sample: &ProcSample| (sample.network.map(|rate| rate.value), sample.disk_io.map(|rate| rate.value));
    assert_eq!((cut.memory, cut.swap, rates(&cut)), (whole.memory, whole.swap, rates(&whole)));
    assert!(cut.memory.is_some() && cut.network.is_some() && cut.disk_io.is_some());
    let reasons: Vec<String> = collectors.faults.now().into_iter().map(|fault| fault.odd.reason).collect();
    let wanted = "is longer than 1048576 bytes; the rest is not read";
    // In diskstats and net/dev, the lines before it are odd as well.
    assert_eq!(reasons.len(), 3);
    assert!(reasons.iter().any(|reason| reason == wanted), "{reasons:?}");
}

#[test]
fn a_kernel_that_says_little_is_taken_at_its_word() {
    let lines =
        "MemTotal:\t2000000 kB\nMemFree:\t600000 kB\nMemAvailable:\t1500000 kB\nKernelHeap:\t9000 kB\n";
    let parse = |text: &str| memory::parse(text.as_bytes());
    let Parsed { value, odd } = parse(lines);
    let found = value.unwrap();
    assert_eq!((found.total, found.free), (Some(2_048_000_000), Some(614_400_000)));
    assert_eq!((found.available, found.swap, odd), (Some(1_536_000_000), None, None));
    // Nothing stands in for what is missing.
    let without = parse("MemTotal: 8 kB\nMemFree: 1 kB\nBuffers: 2 kB\nCached: 3 kB\n");
    assert_eq!((without.value.unwrap().available, without.odd), (None, None));
    let swap_only = parse("SwapTotal: 8 kB\nSwapFree: 2 kB\n");
    assert_eq!(swap_only.value.unwrap().swap, Some(Swap { total: 8192, used: 6144 }));
    assert_eq!(swap_only.odd.unwrap().label, "MemTotal");
    for text in ["", "HugePages_Total: 0\n", "MemTotal: 8\n", "MemTotal: 8 MB\n", "MemTotal:8kB\n"] {
        assert_eq!(parse(text).value, None, "{text:?}");
    }
}

#[test]
fn a_part_that_is_larger_than_its_whole_is_unknown() {
    for (line, reason) in [
        ("MemFree: 101 kB", "MemFree is more than MemTotal"),
        ("MemAvailable: 101 kB", "MemAvailable is more than MemTotal"),
        ("SwapFree: 51 kB", "SwapFree is more than SwapTotal"),
    ] {
        let lines = [
            "MemTotal: 100 kB",
            "MemFree: 1 kB",
            "MemAvailable: 2 kB",
            "SwapTotal: 50 kB",
            "SwapFree: 50 kB",
        ];
        let name = line.split_once(':').unwrap().0;
        let text: Vec<&str> = lines
            .iter()
            .map(|kept| if kept.starts_with(&format!("{name}:")) { line } else { kept })
            .collect();
        let Parsed { value, odd } = memory::parse(text.join("\n").as_bytes());
        let (found, odd) = (value.unwrap(), odd.unwrap());
        assert_eq!(format!("{} {}", odd.label, odd.reason), reason);
        let known =
            [found.total.is_some(), found.free.is_some(), found.available.is_some(), found.swap.is_some()];
        let wanted = ["MemTotal", "MemFree", "MemAvailable", "SwapFree"].map(|figure| figure != name);
        assert_eq!(known, wanted, "{line}");
    }
}

/// A container as lxcfs makes it: meminfo is its own, arcstats is the host's.
#[test]
fn the_cache_of_the_hosts_zfs_is_not_memory_of_a_container() {
    const OWN: &str = "22 1 0:50 / / rw - zfs rpool/root rw\n";
    const LXCFS: &str =
        "606 22 0:61 /proc/meminfo /proc/meminfo rw shared:5 master:8 - fuse.lxcfs lxcfs rw\n";
    let (small, big) = ("c_min 4 100000000\nsize 4 300000000\n", "c_min 4 100000000\nsize 4 9000000000\n");
    let may_grow = "c_min 4 100000000\nc_max 4 9000000000\nsize 4 300000000\n";
    for (what, mounts, arcstats, cache) in [
        ("a host", OWN.to_owned(), small, Some(200_000_000)),
        ("a container", OWN.to_owned() + LXCFS, small, None),
        ("a container with the cache of a large host", OWN.to_owned() + LXCFS, big, None),
        ("a container of another kind", OWN.to_owned(), big, None),
        ("one that is told apart by the most that the cache may take", OWN.to_owned(), may_grow, None),
        ("no list of mounts", String::new(), small, Some(200_000_000)),
    ] {
        let fake = Fake::empty();
        fake.write("proc/meminfo", "MemTotal: 1572864 kB\nMemFree: 500000 kB\nMemAvailable: 1100000 kB\n");
        fake.write("proc/spl/kstat/zfs/arcstats", arcstats);
        if !mounts.is_empty() {
            fake.write("proc/self/mountinfo", mounts);
        }
        let (memory, _) = memory_of(&fake);
        let available = 1_100_000 * 1024 + cache.unwrap_or(0);
        assert_eq!((memory.zfs_reclaimable, memory.available), (cache, Some(available)), "{what}");
    }
}

#[test]
fn a_cache_that_cannot_be_read_makes_only_the_available_memory_unknown() {
    let fake = Fake::of("zfs-server");
    fake.write("proc/spl/kstat/zfs/arcstats", "c_min 4 1\nsize 4 -1\n");
    let (memory, swap) = memory_of(&fake);
    assert!(memory.total.is_some() && memory.free.is_some() && swap.is_some(), "{memory:?}");
    assert_eq!(memory.available, None);
    // In a container it does not matter.
    fake.write("proc/self/mountinfo", "1 1 0:1 / /proc/meminfo rw - fuse.lxcfs lxcfs rw\n");
    assert!(memory_of(&fake).0.available.is_some());
}
