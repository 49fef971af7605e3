//! Bytes over the network interfaces.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::clock::Moment;
use super::rate::{Counters, Meter};
use super::source;
use super::source::Sample;

/// Longest /proc/net/dev read, in bytes: some 8,000 interfaces.
const MAX_FILE: u64 = 1 << 20;

/// Bytes in a second, all interfaces with hardware behind them together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Network {
    /// Received.
    pub received: f64,
    /// Sent.
    pub sent: f64,
}

/// /proc/net/dev: bytes received and sent by each interface.
#[cfg(target_os = "linux")]
pub fn parse(text: &str) -> Option<Counters> {
    use procfs::FromBufRead;
    let devices = procfs::net::InterfaceDeviceStatus::from_buf_read(text.as_bytes()).ok()?;
    // The two lines of its head are skipped without a look.
    let head = text.starts_with("Inter-|");
    head.then(|| {
        devices.0.into_iter().map(|(name, device)| (name, [device.recv_bytes, device.sent_bytes])).collect()
    })
}

/// There is no such file elsewhere.
#[cfg(not(target_os = "linux"))]
pub fn parse(_: &str) -> Option<Counters> {
    None
}

/// Whether an interface counts, so that each byte counts once: it has hardware behind it, which the
/// loopback, bridges, bonds, VLANs, tunnels and containers' ends have not. It is not the lower half of
/// one that counts: a virtual function below its synthetic interface (its master has hardware as
/// well), or a switch's port behind the host's (it names another one as its link).
pub fn is_physical(class: &Path, name: &str) -> bool {
    let folder = class.join(name);
    let exists = |path: &str| fs::symlink_metadata(folder.join(path)).is_ok();
    exists("device")
        && !exists("master/device")
        && source::line(&folder.join("iflink")) == source::line(&folder.join("ifindex"))
}

/// Remembers the last look.
#[derive(Debug)]
pub struct NetworkMeter {
    path: PathBuf,
    class: PathBuf,
    meter: Meter,
}

impl NetworkMeter {
    /// Has not looked yet.
    pub fn new(proc: &Path, sys: &Path) -> Self {
        Self { path: proc.join("net/dev"), class: sys.join("class/net"), meter: Meter::default() }
    }

    /// The rates since the last look; none at the first one, or if no interface counts.
    ///
    /// # Errors
    /// The file cannot be read, or is not what it should be.
    pub fn sample(&mut self, now: Moment) -> Sample<Network> {
        let Some(all) = source::parsed(&self.path, MAX_FILE, parse)? else { return Ok(None) };
        let counters = self.meter.chosen(all, now, |name| is_physical(&self.class, name));
        let rates = self.meter.rates(counters, now);
        Ok(rates.map(|[received, sent]| Network { received, sent }))
    }
}
