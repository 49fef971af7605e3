//! Throughput of the network interfaces.

use std::fs;
use std::path::{Path, PathBuf};

use crate::clock::Moment;
use crate::rate::{Counters, Meter};
use crate::source::{self, Sample};

/// Longest /proc/net/dev accepted, in bytes: about 8,000 interfaces.
const MAX_FILE: u64 = 1 << 20;

/// Throughput of all physical interfaces together, in bytes per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Network {
    /// Bytes received per second.
    pub received: f64,
    /// Bytes sent per second.
    pub sent: f64,
}

/// Parses /proc/net/dev: bytes received and sent by each interface.
#[cfg(target_os = "linux")]
pub fn parse(text: &str) -> Option<Counters> {
    use procfs::FromBufRead;
    let devices = procfs::net::InterfaceDeviceStatus::from_buf_read(text.as_bytes()).ok()?;
    // procfs skips the two header lines without checking them.
    let has_header = text.starts_with("Inter-|");
    has_header.then(|| {
        devices.0.into_iter().map(|(name, device)| (name, [device.recv_bytes, device.sent_bytes])).collect()
    })
}

/// Other systems do not have the file.
#[cfg(not(target_os = "linux"))]
pub fn parse(_: &str) -> Option<Counters> {
    None
}

/// Whether an interface is counted. Each byte must be counted once. So the interface needs hardware behind
/// it, which loopback, bridges, bonds, VLANs, tunnels and the interfaces of containers do not have. And it
/// must not be the lower half of another counted interface: a virtual function below its synthetic interface
/// (its master has hardware too), or a port of a switch behind the host's own port (it names another
/// interface as its link).
pub fn is_physical(class: &Path, name: &str) -> bool {
    let folder = class.join(name);
    let exists = |path: &str| fs::symlink_metadata(folder.join(path)).is_ok();
    exists("device")
        && !exists("master/device")
        && source::line(&folder.join("iflink")) == source::line(&folder.join("ifindex"))
}

/// Measures the throughput, and remembers the previous counters.
#[derive(Debug)]
pub struct NetworkMeter {
    path: PathBuf,
    class: PathBuf,
    meter: Meter,
}

impl NetworkMeter {
    /// Nothing is read yet.
    pub fn new(proc: &Path, sys: &Path) -> Self {
        Self { path: proc.join("net/dev"), class: sys.join("class/net"), meter: Meter::default() }
    }

    /// The rates since the previous reading; None at the first one, or if there is no physical interface.
    ///
    /// # Errors
    /// The file cannot be read or has an unexpected content.
    pub fn sample(&mut self, now: Moment) -> Sample<Network> {
        let Some(all) = source::parsed(&self.path, MAX_FILE, parse)? else { return Ok(None) };
        let counters = self.meter.select(all, now, |name| is_physical(&self.class, name));
        let rates = self.meter.rates(counters, now);
        Ok(rates.map(|[received, sent]| Network { received, sent }))
    }
}
