//! Files of /proc and /sys: a line that is not understood costs its own figure and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use nixfleet_os::failed_units;
use nixfleet_vitals::FailedUnits;
use nixfleet_vitals::{Parsed, cpu, disk, disk_io, load, memory, network, pressure, temperature};

mod written;

/// Longest name of a line that a fault shows, in characters.
const MAX_LABEL: usize = 32;

/// Most processors of one host. A list of more is not believed.
const MAX_PROCESSORS: u64 = 1 << 20;

/// Figures of a file by their names.
type Figures = BTreeMap<String, String>;

/// A parser: a clean file, its figures, and for an odd line the figures that it may change: those that it gives alone,
/// and those that depend on them.
struct Kind {
    clean: &'static [u8],
    figures: fn(&[u8]) -> Figures,
    /// For a figure of a line, others that are checked against it.
    depend: fn(&str) -> &'static [&'static str],
}

const KINDS: [Kind; 7] = [
    Kind {
        clean: b"MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 600 kB\nBuffers: 1 kB\nSwapTotal: 500 kB\nSwapFree: 400 kB\n",
        figures: meminfo,
        depend: |name| match name {
            "MemTotal" => &["MemFree", "MemAvailable"],
            "SwapTotal" | "SwapFree" => &["Swap"],
            _ => &[],
        },
    },
    Kind {
        clean: b"size 4 100\nc_min 4 10\nc_max 4 500\n",
        figures: arcstats,
        depend: |_| &["size", "c_min", "c_max"],
    },
    Kind {
        clean: b"cpu  10 1 5 100 3 0 1 0 0 0\ncpu0 10 1 5 100 3 0 1 0 0 0\nintr 5\nctxt 7\n",
        figures: stat,
        depend: |_| &[],
    },
    Kind {
        clean: b"   8       0 sda 5 0 400 1 6 0 800 2 0 3 3\n 259       0 nvme0n1 5 0 16 1 6 0 24 2 0 3 3\n",
        figures: diskstats,
        depend: |_| &[],
    },
    Kind {
        clean: b"Inter-|   Receive |  Transmit\n face |bytes |bytes\n    lo: 7 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n  eth0: 900 3 0 0 0 0 0 0 70 1 0 0 0 0 0 0\n",
        figures: net_dev,
        depend: |_| &[],
    },
    Kind {
        clean: b"some avg10=1.00 avg60=2.00 avg300=3.00 total=400\nfull avg10=0.50 avg60=0.25 avg300=0.00 total=50\n",
        figures: pressure_of,
        depend: |_| &[],
    },
    Kind {
        clean: b"22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n30 22 0:26 / /nix rw - zfs tank/nix rw\n31 22 0:27 / /srv\\040data rw - nfs4 srv:/ rw\n",
        figures: mountinfo,
        depend: |_| &[],
    },
];

/// One odd line at one place of a clean file, and the same bytes as a whole file; or the same bytes as numbers in a file
/// as the kernel writes it. The first byte says which file, the second one where.
pub fn vitals(data: &[u8]) {
    let [kind, place, text @ ..] = data else { return };
    let kind = usize::from(*kind) % 16;
    match KINDS.get(kind) {
        Some(kind) => odd_line(kind, usize::from(*place), text),
        None if kind == KINDS.len() => single(text),
        None => written::check(kind, text),
    }
}

fn odd_line(kind: &Kind, place: usize, text: &[u8]) {
    (kind.figures)(text);
    let line: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'\n').collect();
    let own = (kind.figures)(&[line.as_slice(), b"\n"].concat());
    let mut lines: Vec<&[u8]> = kind.clean.split_inclusive(|byte| *byte == b'\n').collect();
    let odd = [line.as_slice(), b"\n"].concat();
    lines.insert(place % (lines.len() + 1), &odd);
    let found = (kind.figures)(&lines.concat());
    for (name, figure) in (kind.figures)(kind.clean) {
        let may_change = own.keys().any(|own| *own == name || (kind.depend)(own).contains(&name.as_str()));
        assert!(
            may_change || found.get(&name) == Some(&figure),
            "{name} is {:?} and not {figure:?} because of {:?}",
            found.get(&name),
            String::from_utf8_lossy(&line)
        );
    }
}

/// The value of a file, after its fault was checked.
fn value<T>(parsed: Parsed<T>) -> Option<T> {
    if let Some(odd) = parsed.odd {
        assert!(odd.label.chars().count() <= MAX_LABEL && !odd.label.contains(char::is_control), "{odd:?}");
        assert!(odd.line != Some(0) && odd.reason.len() < 200, "{odd:?}");
    }
    parsed.value
}

fn named<T: std::fmt::Debug>(figures: impl IntoIterator<Item = (&'static str, Option<T>)>) -> Figures {
    figures
        .into_iter()
        .filter_map(|(name, figure)| Some((name.to_owned(), format!("{:?}", figure?))))
        .collect()
}

fn meminfo(text: &[u8]) -> Figures {
    let found = value(memory::parse(text)).unwrap_or_default();
    let free = found.free.or(found.available);
    assert!(found.total.zip(free).is_none_or(|(total, free)| free <= total), "{found:?}");
    assert!(found.swap.is_none_or(|swap| swap.used <= swap.total), "{found:?}");
    for bytes in [found.total, found.free, found.available].into_iter().flatten() {
        let kibibytes = (bytes / 1024).to_string();
        assert!(
            text.windows(kibibytes.len()).any(|part| part == kibibytes.as_bytes()),
            "{bytes} is invented"
        );
    }
    let mut figures = named([
        ("MemTotal", found.total),
        ("MemFree", found.free),
        ("MemAvailable", found.available),
        ("Swap", found.swap.map(|swap| swap.used)),
    ]);
    // Half of the swap is no figure, and yet it changes one.
    for half in ["SwapTotal", "SwapFree"] {
        if text.starts_with(half.as_bytes()) {
            figures.insert(half.to_owned(), String::new());
        }
    }
    figures
}

fn arcstats(text: &[u8]) -> Figures {
    let found = value(memory::parse_arcstats(text));
    let mut figures = named([("size", found.map(|found| found.reclaimable()))]);
    // Two of them make the figure.
    for half in ["size", "c_min", "c_max"] {
        if text.trim_ascii_start().starts_with(half.as_bytes()) {
            figures.entry(half.to_owned()).or_default();
        }
    }
    figures
}

fn stat(text: &[u8]) -> Figures {
    let ticks = value(cpu::parse(text));
    let boot = value(cpu::parse(b"cpu  0 0 0 0 0 0 0 0\n"));
    if let Some(cpu) = boot.zip(ticks).and_then(|(boot, ticks)| cpu::between(&boot, &ticks)) {
        assert!((0.0..=1.0).contains(&cpu.busy), "{cpu:?}");
    }
    let mut figures = named([("cpu", ticks)]);
    // The kernel has one such line. Of two, the first one counts, even if it is not understood.
    if text.starts_with(b"cpu ") {
        figures.entry("cpu".to_owned()).or_default();
    }
    figures
}

fn diskstats(text: &[u8]) -> Figures {
    counters(value(disk_io::parse(text)))
}

fn net_dev(text: &[u8]) -> Figures {
    counters(value(network::parse(text)))
}

fn counters(found: Option<BTreeMap<String, [u64; 2]>>) -> Figures {
    found.unwrap_or_default().into_iter().map(|(name, figure)| (name, format!("{figure:?}"))).collect()
}

fn pressure_of(text: &[u8]) -> Figures {
    let found = value(pressure::parse(text));
    let stalls = found.iter().flat_map(|found| [found.some, found.full]).flatten();
    for stall in stalls {
        let shares = [stall.avg10, stall.avg60, stall.avg300];
        assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "{shares:?}");
    }
    named([
        ("some", found.as_ref().and_then(|found| found.some)),
        ("full", found.as_ref().and_then(|found| found.full)),
    ])
}

fn mountinfo(text: &[u8]) -> Figures {
    let wanted = ["/", "/nix", "/srv data", "/missing"].map(PathBuf::from);
    let (mounts, _) = disk::parse_mounts(text, &wanted);
    assert_eq!(mounts.len(), wanted.len());
    let is_known = |(point, mount): (&PathBuf, Option<disk::Mount>)| {
        mount.map(|mount| {
            assert_eq!(mount.point, *point);
            (point.display().to_string(), mount.filesystem)
        })
    };
    let mut figures: Figures = wanted.iter().zip(mounts).filter_map(is_known).collect();
    // A hidden mount is no figure, and yet it hides one.
    let hides = text.windows(6).any(|word| word == b"autofs" || word == b"/syste") || text.contains(&b'\\');
    if hides && text.iter().filter(|byte| **byte == b'\n').count() <= 1 {
        figures.extend(wanted.iter().map(|point| (point.display().to_string(), String::new())));
    }
    figures
}

/// Files with one value, and lists of which nothing is a rate.
fn single(text: &[u8]) {
    if let Some(load) = value(load::parse(text)) {
        let loads = [load.one, load.five, load.fifteen];
        assert!(loads.iter().all(|load| load.is_finite() && load.is_sign_positive()), "{loads:?}");
    }
    let uptime = value(load::parse_uptime(text));
    assert!(
        uptime.is_none() || text.first().is_some_and(|byte| b"+.-0123456789".contains(byte)),
        "{uptime:?}"
    );
    let routes: [Option<BTreeSet<String>>; 2] =
        [value(network::parse_routes(text)), value(network::parse_routes_v6(text))];
    for name in routes.into_iter().flatten().flatten() {
        assert!(text.windows(name.len()).any(|part| part == name.as_bytes()), "{name:?} is invented");
    }
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Some(degrees) = temperature::parse(text) {
        assert!(degrees.is_finite() && (-273.2..=1000.0).contains(&degrees), "{degrees}");
    }
    assert!(load::parse_processors(text).is_none_or(|count| count <= MAX_PROCESSORS));
    if let Some(failed) = failed_units::parse(text).map(FailedUnits::from) {
        assert!(failed.count >= failed.names.len() && failed.names.len() <= 32, "{failed:?}");
    }
}
