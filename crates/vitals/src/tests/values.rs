//! Parsers and differences, tested by tables.

use nixfleet_os::failed_units;

use super::*;

fn ticks(numbers: [u64; 8]) -> cpu::Ticks {
    let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
    cpu::parse(format!("cpu  {} 99 99\ncpu0 1\n", numbers.join(" ")).as_bytes()).value.unwrap()
}

#[test]
fn the_processors_share_is_that_of_the_time_between_two_looks() {
    //            user nice system idle iowait irq softirq steal
    let earlier = [1000, 100, 500, 90_000, 1000, 10, 20, 30];
    let later = [1030, 110, 520, 90_010, 1005, 13, 32, 40];
    let cpu = cpu::between(&ticks(earlier), &ticks(later)).unwrap();
    // 100 ticks passed. The 99 of guests are part of user already.
    let shown = [cpu.busy, cpu.user, cpu.system, cpu.iowait, cpu.irq, cpu.softirq, cpu.steal];
    for (value, wanted) in shown.into_iter().zip([0.85, 0.40, 0.20, 0.05, 0.03, 0.12, 0.10]) {
        about(value, wanted, 1e-12);
    }
}

#[test]
fn counters_of_the_processor_that_step_back_are_skipped() {
    let earlier = [1000, 100, 500, 90_000, 1000, 10, 20, 30];
    let between = |later: [u64; 8]| cpu::between(&ticks(earlier), &ticks(later));
    // The counters of waiting, idle and stolen time become smaller on healthy hosts: that counts as 0.
    let cpu = between([1050, 100, 500, 90_050, 990, 10, 20, 29]).unwrap();
    assert_eq!((cpu.busy, cpu.user, cpu.iowait, cpu.steal), (0.5, 0.5, 0.0, 0.0));
    assert_eq!(between([1050, 100, 500, 89_990, 1000, 10, 20, 30]).unwrap().busy, 1.0);
    // The other counters do not: these are other counters.
    for index in [0, 1, 2, 5, 6] {
        let mut later = earlier.map(|ticks| ticks + 100);
        later[index] = earlier[index] - 1;
        assert_eq!(between(later), None, "{index}");
    }
    assert_eq!(between(earlier), None, "no tick passed");
    let all = cpu::between(&ticks([0; 8]), &ticks([u64::MAX, 0, 0, u64::MAX, 0, 0, 0, 0])).unwrap();
    assert_eq!(all.busy, 0.5);
}

#[test]
fn the_first_look_and_one_after_a_step_back_know_no_share() {
    let fake = Fake::empty();
    let mut meter = cpu::CpuMeter::new(&fake.proc());
    let mut sample = |numbers: &str| {
        fake.write("proc/stat", format!("cpu  {numbers}\n"));
        meter.sample(Moment::now(), &Faults::default()).unwrap().map(|cpu| cpu.busy)
    };
    assert_eq!(sample("100 0 0 100 0 0 0 0 0 0"), None);
    assert_eq!(sample("150 0 0 150 0 0 0 0 0 0"), Some(0.5));
    assert_eq!(sample("10 0 0 10 0 0 0 0 0 0"), None);
    assert_eq!(sample("20 0 0 40 0 0 0 0 0 0"), Some(0.25));
}

#[test]
fn a_broken_line_of_the_processors_is_no_share() {
    for text in [
        "",
        "cpu",
        "cpu \n",
        "cpu  1 2 3 4 5 6 7\n",
        "cpu  1 2 3 4 5 6 7 x\n",
        "cpu  1 2 3 4 5 6 7 -8\n",
        "cpu  1 2 3 4 5 6 7 18446744073709551616\n",
        "cpu  1 2 3 4 5 6 7 8",
        "cpu0 1 2 3 4 5 6 7 8\n",
    ] {
        assert_eq!(cpu::parse(text.as_bytes()).value, None, "{text:?}");
    }
}

#[test]
fn a_rate_is_what_was_added_while_the_host_was_awake() {
    let counters = |list: &[(&str, u64, u64)]| -> rate::Counters {
        list.iter().map(|(name, first, second)| ((*name).to_owned(), [*first, *second])).collect()
    };
    let check = |earlier: &[(&str, u64, u64)], later: &[(&str, u64, u64)], wanted: Option<[f64; 2]>| {
        assert_eq!(rate::per_second(&counters(earlier), &counters(later), SECOND * 10), wanted, "{later:?}");
    };
    check(&[("a", 100, 200)], &[("a", 1100, 200)], Some([100.0, 0.0]));
    check(&[("a", 0, 0), ("b", 0, 50)], &[("a", 10, 20), ("b", 30, 60)], Some([4.0, 3.0]));
    // A device that is new, gone or restarted is not part of the sum once.
    check(&[("a", 0, 0)], &[("a", 10, 10), ("usb", 1 << 40, 1 << 40)], Some([1.0, 1.0]));
    check(&[("a", 0, 0), ("usb", 1 << 40, 0)], &[("a", 10, 10)], Some([1.0, 1.0]));
    check(&[("a", 0, 0), ("b", 500, 9)], &[("a", 10, 10), ("b", 499, 9999)], Some([1.0, 1.0]));
    // No remaining device does not mean "no traffic".
    check(&[("b", 500, 500)], &[("b", 499, 9999)], None);
    check(&[("b", 500, 500)], &[("c", 501, 501)], None);
    check(&[], &[], None);
    // No device is that fast: its counter jumped.
    let fast = (10 << 40, 1);
    check(&[("a", 0, 0)], &[("a", fast.0, fast.1)], Some([(1_u64 << 40) as f64, 0.1]));
    check(&[("a", 0, 0), ("b", 0, 0)], &[("a", fast.0 + 1, 0), ("b", 10, 10)], Some([1.0, 1.0]));
    check(&[("a", 0, 0)], &[("a", 0, u64::MAX)], None);
    assert_eq!(rate::per_second(&counters(&[("a", 0, 0)]), &counters(&[("a", 1, 1)]), Duration::ZERO), None);
}

#[test]
fn sleep_does_not_thin_out_a_rate() {
    let fake = Fake::of("cloud-vm");
    let mut meter = network::NetworkMeter::new(&fake.proc(), &fake.sys());
    let begin = Moment::now();
    let mut at = |bytes: u64, awake: Duration, asleep: Duration| {
        let head = "Inter-|\n face |\n    lo: 1 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0\n";
        fake.write("proc/net/dev", format!("{head}  eth0: {bytes} 0 0 0 0 0 0 0 {bytes} 0 0 0 0 0 0 0\n"));
        meter.sample(begin.after(awake, asleep), &Faults::default()).unwrap().map(|network| network.received)
    };
    assert_eq!(at(1000, Duration::ZERO, Duration::ZERO), None);
    assert_eq!(at(11_000, SECOND * 10, Duration::ZERO), Some(1000.0));
    assert_eq!(at(31_000, SECOND * 20, SECOND * 3600), Some(2000.0));
}

#[test]
fn a_device_that_appears_is_looked_up_and_one_that_changes_is_noticed_within_a_minute() {
    let fake = Fake::of("cloud-vm");
    let class = fake.sys().join("class/net");
    let mut physical = rate::Selection::default();
    let begin = Moment::now();
    let mut selected = |names: &[&str], seconds: u32| -> Vec<String> {
        let all: rate::Counters = names.iter().map(|name| ((*name).to_owned(), [0, 0])).collect();
        let now = begin.after(SECOND * seconds, Duration::ZERO);
        physical.of(&all, now, |name| network::is_physical(&class, name)).into_keys().collect()
    };
    assert_eq!(selected(&["eth0", "lo"], 0), ["eth0"]);
    fake.link("sys/class/net/eth1/device", "../../../x");
    assert_eq!(selected(&["eth0", "eth1", "lo"], 5), ["eth0", "eth1"]);
    // A device that left and returned as another one is checked at once.
    assert_eq!(selected(&["eth0"], 10), ["eth0"]);
    fs::remove_file(class.join("eth1/device")).unwrap();
    assert_eq!(selected(&["eth0", "eth1"], 15), ["eth0"]);
    fs::remove_file(class.join("eth0/device")).unwrap();
    assert_eq!(selected(&["eth0"], 20), ["eth0"]);
    assert!(selected(&["eth0"], 61).is_empty());
}

#[test]
fn pressure_is_a_share_and_each_line_stands_alone() {
    let both = "some avg10=7.74 avg60=100.00 avg300=0.00 total=1866088069\nfull avg10=0.10 avg60=0.00 avg300=0.00 total=7\n";
    let pressure = pressure::parse(both.as_bytes()).value.unwrap();
    let some = pressure.some.unwrap();
    about(some.avg10, 0.0774, 1e-12);
    assert_eq!((some.avg60, some.avg300, some.total), (1.0, 0.0, Duration::from_micros(1_866_088_069)));
    assert_eq!(pressure.full.unwrap().total, Duration::from_micros(7));
    let half = pressure::parse(
        b"some avg10=x avg60=1.00 avg300=0.00 total=1\nfull avg10=0.10 avg60=0.00 avg300=0.00 total=7",
    );
    assert!(half.value.is_some_and(|pressure| pressure.some.is_none() && pressure.full.is_some()));
    for text in [
        "",
        "some",
        "some ",
        "full avg10=1",
        "some avg10=-1 avg60=1 avg300=1 total=1",
        "some avg10=NaN avg60=1 avg300=1 total=1",
        "some avg10=1 avg60=1 avg300=1 total=-1",
        "\u{e9}",
    ] {
        assert_eq!(pressure::parse(text.as_bytes()).value, None, "{text:?}");
    }
}

#[test]
fn what_zfs_would_give_back_is_its_cache_but_for_the_least_it_keeps() {
    for (text, wanted) in [
        ("c_min 4 100\nsize 4 1000\n", Some(900)),
        ("size                            4    50\nc_min                           4    100\n", Some(0)),
        ("size 4 1000\n", None),
        ("c_min 4 100\ndata_size 4 1000\n", None),
        ("c_min 4 100\nsize 4 -1\n", None),
        ("c_min 4\nsize 4\n", None),
    ] {
        assert_eq!(
            memory::parse_arcstats(text.as_bytes()).value.map(|cache| cache.reclaimable()),
            wanted,
            "{text:?}"
        );
    }
    // The sum is limited to the total.
    let fake = Fake::of("raspberry-pi");
    let (before, _) = memory_of(&fake);
    let (total, available) = (before.total.unwrap(), before.available.unwrap());
    fake.write("proc/spl/kstat/zfs/arcstats", format!("c_min 4 0\nsize 4 {}\n", total - available + 1));
    let (memory, _) = memory_of(&fake);
    assert_eq!((memory.available, memory.used()), (memory.total, Some(0.0)));
}

/// Memory and swap of a host.
pub(super) fn memory_of(fake: &Fake) -> (Memory, Option<Swap>) {
    let (memory, swap) = memory::MemoryMeter::new(&fake.proc()).sample(Moment::now(), &Collectors::default());
    (memory.unwrap(), swap)
}

#[test]
fn memory_of_an_old_kernel_is_not_known_to_be_available() {
    let fake = Fake::of("raspberry-pi");
    let text = fs::read_to_string(fake.path("proc/meminfo")).unwrap();
    let without: String = text
        .lines()
        .filter(|line| !line.starts_with("MemAvailable"))
        .map(|line| format!("{line}\n"))
        .collect();
    fake.write("proc/meminfo", without);
    let (memory, swap) = memory_of(&fake);
    assert_eq!((memory.available, memory.used(), swap.unwrap().used), (None, None, 0));
}

#[test]
fn lists_of_processors_are_counted() {
    for (text, wanted) in [
        ("0\n", Some(1)),
        ("0-7", Some(8)),
        ("0-3,8,10-11\n", Some(7)),
        ("", None),
        ("3-0", None),
        ("0-18446744073709551615", None),
        ("0-9999999", None),
        ("0-", None),
        ("a", None),
    ] {
        assert_eq!(load::parse_processors(text), wanted, "{text:?}");
    }
}

#[test]
fn temperatures_are_thousandths_of_a_degree() {
    for (text, wanted) in [
        ("42000", Some(42.0)),
        ("-5500", Some(-5.5)),
        ("0", Some(0.0)),
        ("-128000", None),
        ("255500", None),
        ("65261850", None),
        ("42.0", None),
        ("", None),
    ] {
        assert_eq!(temperature::parse(text), wanted, "{text:?}");
    }
}

#[test]
fn failed_units_are_counted_by_name() {
    let units = |text: &str| {
        let found = failed_units::parse(text).map(FailedUnits::from);
        found.map(|units| (units.count, units.names))
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(units(""), Some((0, vec![])));
    assert_eq!(
        units(
            "nginx.service      loaded failed failed A web server\nbackup@a-b.timer loaded failed failed \u{201e}Backup\u{201c}\n"
        ),
        Some((2, names(&["backup@a-b.timer", "nginx.service"])))
    );
    assert_eq!(units("gone.mount not-found failed failed gone.mount"), Some((1, names(&["gone.mount"]))));
    let many: String = (0..1000).map(|n| format!("u{n:04}.service loaded failed failed x\n")).collect();
    let (count, shown) = units(&many).unwrap();
    assert_eq!((count, shown.len(), shown[31].as_str()), (1000, 32, "u0031.service"));
    for text in [
        "nginx.service loaded active running x",
        "\u{25cf} nginx.service loaded failed failed x",
        "Failed to list units",
        "x",
    ] {
        assert_eq!(units(text), None, "{text:?}");
    }
}

#[test]
fn a_reboot_is_due_when_kernel_initrd_or_modules_are_others() {
    let fake = Fake::empty();
    let required = || reboot::required(&fake.path("booted-system"), &fake.path("current-system")).unwrap();
    let system = |name: &str, parts: [&str; 3]| {
        for (link, part) in ["kernel", "initrd", "kernel-modules"].iter().zip(parts) {
            if !part.is_empty() {
                fake.link(&format!("{name}/{link}"), &format!("/nix/store/{part}"));
            }
        }
        fs::create_dir_all(fake.path(name)).unwrap();
        fake.path(name).to_str().unwrap().to_owned()
    };
    assert_eq!(required(), None, "no NixOS");
    let first = system("first", ["linux-6.6/bzImage", "initrd-1/initrd", "modules-1"]);
    fake.link("current-system", &first);
    assert_eq!(required(), None, "it is not known what was booted");
    fake.link("booted-system", &first);
    assert_eq!(required(), Some(false));
    for (name, parts, wanted) in [
        ("same", ["linux-6.6/bzImage", "initrd-1/initrd", "modules-1"], Some(false)),
        ("kernel", ["linux-6.7/bzImage", "initrd-1/initrd", "modules-1"], Some(true)),
        ("initrd", ["linux-6.6/bzImage", "initrd-2/initrd", "modules-1"], Some(true)),
        ("modules", ["linux-6.6/bzImage", "initrd-1/initrd", "modules-2"], Some(true)),
        ("without", ["linux-6.6/bzImage", "", "modules-1"], Some(true)),
    ] {
        fake.link("current-system", &system(name, parts));
        assert_eq!(required(), wanted, "{name}");
    }
    let container = system("container", ["", "", ""]);
    fake.link("current-system", &container);
    fake.link("booted-system", &container);
    assert_eq!(required(), None, "a container has no kernel of its own");
    fake.link("current-system", &first);
    fake.link("booted-system", "/nix/store/collected");
    assert_eq!(required(), None, "it leads nowhere");
}

#[test]
fn moments_tell_sleep_from_waking() {
    let begin = Moment::now();
    let later = begin.after(SECOND, SECOND * 60);
    assert_eq!((later.since(begin), later.awake_since(begin)), (SECOND * 61, SECOND));
    assert_eq!((begin.since(later), begin.awake_since(later)), (Duration::ZERO, Duration::ZERO));
    thread::sleep(Duration::from_millis(20));
    let slept = Moment::now().since(begin);
    assert!(slept >= Duration::from_millis(20) && slept < LIMIT, "{slept:?}");
}
