//! Throughput of the network interfaces.
//!
//! Each byte should be counted once, although it passes through a bond, a VLAN and the adapter below them. So
//! only interfaces with hardware behind them are counted. A container has none of its own: there, the
//! interfaces with a default route are counted.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::clock::Moment;
use crate::fault::Faults;
use crate::lines::{self, Parsed, Problem};
use crate::rate::{Counters, Meter, Selection};
use crate::source::{self, Sample, Source};

/// Longest /proc/net/dev that is read whole, in bytes: about 8,000 interfaces.
const MAX_FILE: u64 = 1 << 20;

/// Longest list of routes that is read, in bytes: about 8,000 routes. The list of a router is longer, and a
/// router has hardware.
const MAX_ROUTES: u64 = 1 << 20;

/// Flags of a route (linux/route.h): usable, and one that rejects packets.
const UP: u32 = 0x1;
const REJECT: u32 = 0x200;

/// The interface of the host with itself.
const LOOPBACK: &str = "lo";

/// Most names of interfaces in a sentence for people.
const MAX_NAMES: usize = 8;

/// Throughput of all counted interfaces together, in bytes per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Network {
    /// Bytes received per second.
    pub received: f64,
    /// Bytes sent per second.
    pub sent: f64,
}

/// Parses /proc/net/dev: bytes received and sent by each interface.
pub fn parse(text: &[u8]) -> Parsed<Counters> {
    let mut interfaces = Counters::new();
    let mut has_header = false;
    let odd = lines::each(text, |line| {
        // The two lines of the header.
        if line.contains('|') {
            has_header = true;
            return Ok(());
        }
        // An alias has a colon in its name.
        let (name, figures) = line.rsplit_once(':').ok_or(Problem { label: "", reason: "has no colon" })?;
        let name = name.trim();
        let mut words = figures.split_ascii_whitespace();
        let mut number = |skipped: usize| words.nth(skipped)?.parse::<u64>().ok();
        // Bytes, and seven other figures; then the same of what was sent. Without a word behind them, digits
        // may be missing.
        let (received, sent) = (number(0), number(7));
        let (Some(received), Some(sent), Some(_)) = (received, sent, words.next()) else {
            return Err(Problem { label: name, reason: "lacks a whole number of bytes" });
        };
        interfaces.insert(name.to_owned(), [received, sent]);
        Ok(())
    });
    Parsed { value: (has_header || !interfaces.is_empty()).then_some(interfaces), odd }
}

/// Whether an interface is an adapter: it has hardware behind it, which loopback, bridges, bonds, VLANs,
/// tunnels and the interfaces of containers do not have. And it must not be the lower half of another counted
/// interface: a virtual function below its synthetic interface (its master has hardware too), or a port of a
/// switch behind the host's own port (it names another interface as its link).
pub fn is_physical(class: &Path, name: &str) -> bool {
    let folder = class.join(name);
    let exists = |path: &str| fs::symlink_metadata(folder.join(path)).is_ok();
    exists("device")
        && !exists("master/device")
        && source::line(&folder.join("iflink")) == source::line(&folder.join("ifindex"))
}

/// Parses /proc/net/route: the interfaces with a default route of IPv4.
pub fn parse_routes(text: &[u8]) -> Parsed<BTreeSet<String>> {
    default_routes(text, |words| {
        // Interface, destination, gateway, flags, three counters, mask.
        let [name, destination, _, flags, _, _, _, mask] = words.get(..8)?.try_into().ok()?;
        // The header.
        if name == "Iface" {
            return Some(None);
        }
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let is_default = [destination, mask].iter().all(|word| is_zero(word));
        Some((is_default && flags & UP != 0 && flags & REJECT == 0).then_some(name))
    })
}

/// Parses /proc/net/ipv6_route: the interfaces with a default route of IPv6.
pub fn parse_routes_v6(text: &[u8]) -> Parsed<BTreeSet<String>> {
    default_routes(text, |words| {
        // Destination and its length, source and its length, gateway, three counters, flags, interface.
        let [destination, length, _, _, _, _, _, _, flags, name] = words.get(..10)?.try_into().ok()?;
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let is_default = [destination, length].iter().all(|word| is_zero(word));
        Some((is_default && flags & UP != 0 && flags & REJECT == 0).then_some(name))
    })
}

fn is_zero(word: &str) -> bool {
    word.bytes().all(|byte| byte == b'0')
}

/// The interfaces that `interface` finds in the words of a line. None is a line that is not understood.
fn default_routes(
    text: &[u8],
    interface: impl for<'a> Fn(&[&'a str]) -> Option<Option<&'a str>>,
) -> Parsed<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let odd = lines::each(text, |line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let name = interface(&words).ok_or(Problem { label: "", reason: "is no route" })?;
        found.extend(name.filter(|name| *name != LOOPBACK).map(str::to_owned));
        Ok(())
    });
    Parsed { value: Some(found), odd }
}

/// The interfaces with a default route.
fn routed(proc: &Path, faults: &Faults) -> BTreeSet<String> {
    let read = |name: &str, parse: fn(&[u8]) -> Parsed<BTreeSet<String>>| {
        // Without a list, there is no route.
        source::parsed_lines(&proc.join(name), MAX_ROUTES, faults, parse).ok().flatten().unwrap_or_default()
    };
    let mut names = read("net/route", parse_routes);
    names.extend(read("net/ipv6_route", parse_routes_v6));
    names
}

/// Measures the throughput, and remembers the previous counters.
#[derive(Debug)]
pub struct NetworkMeter {
    proc: PathBuf,
    class: PathBuf,
    dev: Source,
    physical: Selection,
    routed: Selection,
    meter: Meter,
}

impl NetworkMeter {
    /// Nothing is read yet.
    pub fn new(proc: &Path, sys: &Path) -> Self {
        Self {
            proc: proc.to_owned(),
            class: sys.join("class/net"),
            dev: Source::new(proc.join("net/dev"), MAX_FILE),
            physical: Selection::default(),
            routed: Selection::default(),
            meter: Meter::default(),
        }
    }

    /// The rates since the previous reading; None at the first one, or if no interface is counted.
    ///
    /// # Errors
    /// The file cannot be read, or none of its lines is understood.
    pub fn sample(&mut self, now: Moment, faults: &Faults) -> Sample<Network> {
        let Some(all) = self.dev.parsed_lines(now, faults, parse)? else { return Ok(None) };
        let mut counters = self.physical.of(&all, now, |name| is_physical(&self.class, name));
        if counters.is_empty() {
            // The lists of routes are read only when a name is checked.
            let mut routes = None;
            counters = self.routed.of(&all, now, |name| {
                routes.get_or_insert_with(|| routed(&self.proc, faults)).contains(name)
            });
        }
        let rates = self.meter.rates(counters, now);
        Ok(rates.map(|[received, sent]| Network { received, sent }))
    }
}

/// Why this host has no figure of its network, for people. None if an interface is counted.
pub fn why_none(proc: &Path, sys: &Path) -> Option<String> {
    let faults = Faults::default();
    let all = match source::parsed_lines(&proc.join("net/dev"), MAX_FILE, &faults, parse) {
        Ok(Some(all)) => all,
        Ok(None) => return Some(format!("there is no {}", proc.join("net/dev").display())),
        // The file itself is reported.
        Err(_reported) => return None,
    };
    let class = sys.join("class/net");
    let routes = routed(proc, &faults);
    if all.keys().any(|name| is_physical(&class, name) || routes.contains(name)) {
        return None;
    }
    let others: Vec<&str> = all.keys().map(String::as_str).filter(|name| *name != LOOPBACK).collect();
    if others.is_empty() {
        return Some("there is no interface besides loopback".to_owned());
    }
    let more = if others.len() > MAX_NAMES { ", .." } else { "" };
    let shown: Vec<String> =
        others.iter().take(MAX_NAMES).map(|name| name.escape_debug().to_string()).collect();
    Some(format!("no interface has hardware behind it or a default route: {}{more}", shown.join(", ")))
}
