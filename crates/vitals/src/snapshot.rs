//! The known values of the host at one moment.

use std::time::Duration;

use crate::clock::{Moment, Timed, fresh};
use crate::cpu::Cpu;
use crate::disk::Disk;
use crate::disk_io::DiskIo;
use crate::load::Load;
use crate::memory::{Memory, Swap};
use crate::network::Network;
use crate::pressure::Pressure;
use crate::proc::ProcSample;
use crate::temperature::Temperature;
use crate::units::FailedUnits;

/// Age limit of values from /proc. At the slowest pace, two readings are missing then. A reading that hangs is noticed
/// earlier.
pub const MAX_AGE: Duration = Duration::from_secs(75);

/// Age limit of disks, temperatures and `reboot_required`: three readings at the slowest pace.
pub const MAX_AGE_SLOW: Duration = Duration::from_secs(90);

/// Age limit of failed units: three readings at the slowest pace.
pub const MAX_AGE_UNITS: Duration = Duration::from_secs(180);

/// The known values of the host, each with the moment at which its source was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vitals {
    /// How busy the processors were since the previous reading.
    pub cpu: Option<Timed<Cpu>>,
    /// Memory.
    pub memory: Option<Timed<Memory>>,
    /// Swap; on hosts without swap it is known, with size 0.
    pub swap: Option<Timed<Swap>>,
    /// Load averages.
    pub load: Option<Timed<Load>>,
    /// Time since the boot, including sleep.
    pub uptime: Option<Timed<Duration>>,
    /// How long programs waited for a processor.
    pub cpu_pressure: Option<Timed<Pressure>>,
    /// How long programs waited for memory.
    pub memory_pressure: Option<Timed<Pressure>>,
    /// How long programs waited for disks.
    pub io_pressure: Option<Timed<Pressure>>,
    /// Network throughput since the previous reading.
    pub network: Option<Timed<Network>>,
    /// Disk throughput since the previous reading.
    pub disk_io: Option<Timed<DiskIo>>,
    /// The configured file systems that are mounted.
    pub disks: Option<Timed<Vec<Disk>>>,
    /// Temperatures of the configured chips; None if there are no such chips.
    pub temperatures: Option<Timed<Vec<Temperature>>>,
    /// Units in systemd's state "failed"; None where systemd does not run.
    pub failed_units: Option<Timed<FailedUnits>>,
    /// Whether the running system needs a reboot to be complete; None on other systems than NixOS.
    pub reboot_required: Option<Timed<bool>>,
    /// Identity of this boot. It has no age limit.
    pub boot_id: Option<String>,
}

impl Vitals {
    /// A copy without the values that are too old at `now`.
    #[must_use]
    pub fn at(&self, now: Moment) -> Self {
        let disks = fresh(self.disks.clone(), now, MAX_AGE_SLOW).map(|mut disks| {
            for disk in &mut disks.value {
                disk.usage = fresh(disk.usage, now, MAX_AGE_SLOW);
            }
            disks
        });
        Self {
            cpu: fresh(self.cpu, now, MAX_AGE),
            memory: fresh(self.memory, now, MAX_AGE),
            swap: fresh(self.swap, now, MAX_AGE),
            load: fresh(self.load, now, MAX_AGE),
            uptime: fresh(self.uptime, now, MAX_AGE),
            cpu_pressure: fresh(self.cpu_pressure, now, MAX_AGE),
            memory_pressure: fresh(self.memory_pressure, now, MAX_AGE),
            io_pressure: fresh(self.io_pressure, now, MAX_AGE),
            network: fresh(self.network, now, MAX_AGE),
            disk_io: fresh(self.disk_io, now, MAX_AGE),
            disks,
            temperatures: fresh(self.temperatures.clone(), now, MAX_AGE_SLOW),
            failed_units: fresh(self.failed_units.clone(), now, MAX_AGE_UNITS),
            reboot_required: fresh(self.reboot_required, now, MAX_AGE_SLOW),
            boot_id: self.boot_id.clone(),
        }
    }

    /// Replaces all values from /proc: a value that the newest reading does not have becomes unknown.
    pub(crate) fn take_proc(&mut self, sample: ProcSample, taken_at: Moment) {
        fn timed<T>(value: Option<T>, taken_at: Moment) -> Option<Timed<T>> {
            value.map(|value| Timed { value, taken_at })
        }
        self.cpu = timed(sample.cpu, taken_at);
        self.memory = timed(sample.memory, taken_at);
        self.swap = timed(sample.swap, taken_at);
        (self.load, self.uptime) = (sample.load, sample.uptime);
        self.cpu_pressure = sample.cpu_pressure;
        self.memory_pressure = sample.memory_pressure;
        self.io_pressure = sample.io_pressure;
        (self.network, self.disk_io) = (sample.network, sample.disk_io);
        self.boot_id = sample.boot_id.or(self.boot_id.take());
    }
}
