//! Files as the kernel writes them, made of numbers: each number arrives in its place.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nixfleet_vitals::{Parsed, cpu, disk, disk_io, load, memory, network, pressure, temperature};

/// Bytes of the input for one number. Such a number of kibibytes is less than 2^64 bytes.
const BYTES: usize = 5;

/// Kinds of files.
const KINDS: usize = 8;

/// Numbers that a file is made of, in their order; 0 when there are no more.
struct Numbers<'a>(std::slice::Chunks<'a, u8>);

impl Numbers<'_> {
    fn next(&mut self) -> u64 {
        self.0.next().unwrap_or_default().iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }

    fn all<const N: usize>(&mut self) -> [u64; N] {
        std::array::from_fn(|_| self.next())
    }
}

/// One file of the numbers in `data`.
pub(super) fn check(kind: usize, data: &[u8]) {
    let mut numbers = Numbers(data.chunks(BYTES));
    match kind % KINDS {
        0 => meminfo(&mut numbers),
        1 => arcstats(&mut numbers),
        2 => stat(&mut numbers),
        3 => counters(&mut numbers),
        4 => shares(&mut numbers),
        5 => mounts(data),
        6 => routes(&mut numbers),
        _ => single_values(&mut numbers),
    }
}

/// The value of a file in which nothing is odd.
fn whole<T>(parsed: Parsed<T>) -> T {
    assert_eq!(parsed.odd, None);
    parsed.value.expect("a file as the kernel writes it")
}

fn meminfo(numbers: &mut Numbers<'_>) {
    let [a, b, c, d, e] = numbers.all();
    let (total, swap) = (a.max(b).max(c), d.max(e));
    let swap_free = d.min(e);
    let found = whole(memory::parse(
        format!(
            "MemTotal: {total} kB\nMemFree: {b} kB\nMemAvailable: {c} kB\nHugePages_Total: 0\nSwapCached: 7 kB\n\
             SwapTotal: {swap} kB\nSwapFree: {swap_free} kB\n"
        )
        .as_bytes(),
    ));
    let bytes = |kibibytes: u64| Some(kibibytes * 1024);
    assert_eq!([found.total, found.free, found.available], [bytes(total), bytes(b), bytes(c)]);
    let used = found.swap.map(|swap| [swap.total, swap.used]);
    assert_eq!(used, Some([swap * 1024, (swap - swap_free) * 1024]));
}

fn arcstats(numbers: &mut Numbers<'_>) {
    let [hits, size, min, max] = numbers.all();
    let text =
        format!("5 1 0x01 2 3\nname type data\nhits 4 {hits}\nsize 4 {size}\nc_min 4 {min}\nc_max 4 {max}\n");
    assert_eq!(whole(memory::parse_arcstats(text.as_bytes())).reclaimable(), size.saturating_sub(min));
}

fn stat(numbers: &mut Numbers<'_>) {
    let parts: [u64; 8] = numbers.all();
    let text = |parts: [u64; 8]| {
        format!("cpu  {} 3 4\ncpu0 1 1 1 1 1 1 1 1\n", parts.map(|part| part.to_string()).join(" "))
    };
    let read = |parts| whole(cpu::parse(text(parts).as_bytes()));
    let found = cpu::between(&read([0; 8]), &read(parts));
    let total: u64 = parts.iter().sum();
    assert_eq!(found.is_some(), total > 0);
    let Some(found) = found else { return };
    let [user, nice, system, _idle, iowait, irq, softirq, steal] = parts;
    let busy = user + nice + system + irq + softirq + steal;
    for (share, part) in [
        (found.busy, busy),
        (found.user, user + nice),
        (found.system, system),
        (found.iowait, iowait),
        (found.irq, irq),
        (found.softirq, softirq),
        (found.steal, steal),
    ] {
        let wanted = part as f64 / total as f64;
        assert!((share - wanted).abs() < 1e-9, "{share} and not {wanted} of {parts:?}");
    }
}

fn counters(numbers: &mut Numbers<'_>) {
    let [read, written, received, sent] = numbers.all();
    let disks = format!("   8       0 sda 11 12 {read} 13 14 15 {written} 16 0 17 18 19 20 21 22\n");
    let disks = whole(disk_io::parse(disks.as_bytes()));
    assert_eq!(disks.get("sda"), Some(&[read * 512, written * 512]));
    let interfaces = format!(
        "Inter-| Receive | Transmit\n face |bytes packets|bytes packets\n  br-a:1: {received} 1 2 3 4 5 6 7 {sent} 11 12 13 14 15 16 17\n"
    );
    let interfaces = whole(network::parse(interfaces.as_bytes()));
    assert_eq!(interfaces.get("br-a:1"), Some(&[received, sent]));
    assert_eq!((disks.len(), interfaces.len()), (1, 1));
}

fn shares(numbers: &mut Numbers<'_>) {
    let averages: [u64; 3] = numbers.all().map(|number: u64| number % 10_001);
    let total = numbers.next();
    let [ten, sixty, more] = averages.map(|number| format!("{}.{:02}", number / 100, number % 100));
    let line = format!("avg10={ten} avg60={sixty} avg300={more} total={total}\n");
    let found = whole(pressure::parse(
        format!("some {line}full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n").as_bytes(),
    ));
    let some = found.some.expect("some");
    for (share, wanted) in [some.avg10, some.avg60, some.avg300].into_iter().zip(averages) {
        assert!((share - wanted as f64 / 10_000.0).abs() < 1e-9, "{share} of {wanted}");
    }
    assert_eq!(some.total.as_micros(), total.into());
    assert!(found.full.is_some_and(|full| full.total.is_zero() && full.avg10 == 0.0));
}

/// A mount point of any bytes, with escapes as the kernel writes them.
fn mounts(data: &[u8]) {
    let path: Vec<u8> = std::iter::once(b'/').chain(data.iter().copied().filter(|byte| *byte != 0)).collect();
    let mut escaped = Vec::new();
    for byte in &path {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => escaped.extend(format!("\\{byte:03o}").into_bytes()),
            byte => escaped.push(*byte),
        }
    }
    let line = |point: &[u8], kind: &str| {
        [b"30 22 0:26 / ".as_slice(), point, b" rw shared:1 - ", kind.as_bytes(), b" a rw\n"].concat()
    };
    let wanted = [PathBuf::from(OsString::from_vec(path))];
    let list = [line(&escaped, "ext4"), line(b"/\x01elsewhere", "tmpfs")].concat();
    let (mounts, odd) = disk::parse_mounts(&list, &wanted);
    assert_eq!(odd, None);
    let found = mounts.first().and_then(Option::as_ref);
    assert!(found.is_some_and(|mount| mount.point == wanted[0] && mount.filesystem == "ext4"), "{mounts:?}");
    // The last mount on a point counts.
    let (mounts, _) = disk::parse_mounts(&[list, line(&escaped, "zfs")].concat(), &wanted);
    assert!(
        mounts.first().and_then(Option::as_ref).is_some_and(|mount| mount.filesystem == "zfs"),
        "{mounts:?}"
    );
}

fn routes(numbers: &mut Numbers<'_>) {
    let [flags, destination, mask, length] = numbers.all();
    let (destination, mask) = (destination >> 8 & 0xffff_ffff, mask >> 8 & 0xffff_ffff);
    let (flags, length) = (flags & 0xffff, length & 0x7f);
    let serves = flags & 1 != 0 && flags & 0x200 == 0;
    let text = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n".to_owned()
        + &format!("eth0\t{destination:08X}\t0102A8C0\t{flags:04X}\t0\t0\t100\t{mask:08X}\t0\t0\t0\n")
        + "lo\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n";
    let found = whole(network::parse_routes(text.as_bytes()));
    let is_default = destination == 0 && mask == 0 && serves;
    assert_eq!(
        found.into_iter().collect::<Vec<_>>(),
        if is_default { vec!["eth0"] } else { vec![] },
        "{text}"
    );
    let text = format!(
        "{destination:032x} {length:02x} {:032x} 00 {:032x} 00000400 00000001 00000000 {flags:08x}     eth0\n",
        0, 0
    );
    let found = whole(network::parse_routes_v6(text.as_bytes()));
    let is_default = destination == 0 && length == 0 && serves;
    assert_eq!(
        found.into_iter().collect::<Vec<_>>(),
        if is_default { vec!["eth0"] } else { vec![] },
        "{text}"
    );
}

fn single_values(numbers: &mut Numbers<'_>) {
    let [load, uptime, degrees, first, more] = numbers.all();
    let hundredths = |number: u64| format!("{}.{:02}", number / 100, number % 100);
    let text = format!("{} {} {} 1/234 5678\n", hundredths(load), hundredths(uptime), hundredths(degrees));
    let found = whole(load::parse(text.as_bytes()));
    for (found, wanted) in [(found.one, load), (found.five, uptime), (found.fifteen, degrees)] {
        assert!((found * 100.0 - wanted as f64).abs() < 0.01, "{found} of {text}");
    }
    let found = whole(load::parse_uptime(format!("{} 7.00\n", hundredths(uptime)).as_bytes()));
    assert!((found.as_secs_f64() * 100.0 - uptime as f64).abs() < 0.01, "{found:?} of {uptime}");
    let millidegrees = i64::try_from(degrees % 400_000).unwrap_or_default() - 150_000;
    let wanted = (-100_000..=200_000).contains(&millidegrees).then(|| millidegrees as f64 / 1000.0);
    assert_eq!(temperature::parse(&millidegrees.to_string()), wanted);
    let (first, more) = (first % 200_000, more % 200_000);
    let found = load::parse_processors(&format!("{first}-{},{}\n", first + more, first + more + 2));
    assert_eq!(found, Some(more + 2).filter(|count| *count <= 131_072), "{first} {more}");
}
