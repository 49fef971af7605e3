//! What is known of the host at one moment.

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

/// What comes from /proc is not reported when it is older. Six looks are missed then, at the least.
pub const MAX_AGE: Duration = Duration::from_secs(30);

/// As [`MAX_AGE`], for disks, temperatures and the reboot: three looks at the slowest pace.
pub const MAX_AGE_SLOW: Duration = Duration::from_secs(90);

/// As [`MAX_AGE`], for failed units, which are looked at least often.
pub const MAX_AGE_UNITS: Duration = Duration::from_secs(180);

/// What is known of the host, each value with the moment at which its source was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vitals {
    /// What the processors did since the look before.
    pub cpu: Option<Timed<Cpu>>,
    /// Memory.
    pub memory: Option<Timed<Memory>>,
    /// Swap; there, with a size of 0, on hosts without any.
    pub swap: Option<Timed<Swap>>,
    /// Programs that run or want to.
    pub load: Option<Timed<Load>>,
    /// Time since the boot, sleep included.
    pub uptime: Option<Timed<Duration>>,
    /// How long programs waited for a processor.
    pub cpu_pressure: Option<Timed<Pressure>>,
    /// For memory.
    pub memory_pressure: Option<Timed<Pressure>>,
    /// For disks.
    pub io_pressure: Option<Timed<Pressure>>,
    /// Bytes over the network since the look before.
    pub network: Option<Timed<Network>>,
    /// Bytes to and from the disks since the look before.
    pub disk_io: Option<Timed<DiskIo>>,
    /// What of the configured mount points is mounted, and how full it is.
    pub disks: Option<Timed<Vec<Disk>>>,
    /// Temperatures of the configured chips; none where there are no such chips.
    pub temperatures: Option<Timed<Vec<Temperature>>>,
    /// Units that systemd calls failed; none where it does not run.
    pub failed_units: Option<Timed<FailedUnits>>,
    /// Whether the current system needs a reboot to run in full; none where it is not NixOS.
    pub reboot_required: Option<Timed<bool>>,
    /// Identity of this boot. It does not age.
    pub boot_id: Option<String>,
}

impl Vitals {
    /// Without what is older than it may be.
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

    /// The newest look decides: what it does not know is not known.
    pub(crate) fn take_proc(&mut self, sample: ProcSample, taken_at: Moment) {
        fn timed<T>(value: Option<T>, taken_at: Moment) -> Option<Timed<T>> {
            value.map(|value| Timed { value, taken_at })
        }
        self.cpu = timed(sample.cpu, taken_at);
        self.memory = timed(sample.memory, taken_at);
        self.swap = timed(sample.swap, taken_at);
        self.load = timed(sample.load, taken_at);
        self.uptime = timed(sample.uptime, taken_at);
        self.cpu_pressure = timed(sample.cpu_pressure, taken_at);
        self.memory_pressure = timed(sample.memory_pressure, taken_at);
        self.io_pressure = timed(sample.io_pressure, taken_at);
        self.network = timed(sample.network, taken_at);
        self.disk_io = timed(sample.disk_io, taken_at);
        self.boot_id = sample.boot_id.or(self.boot_id.take());
    }
}
