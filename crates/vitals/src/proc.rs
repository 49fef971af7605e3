//! All values that come from /proc, read at once. It costs some microseconds, and never hangs.

use std::path::PathBuf;
use std::time::Duration;

use crate::clock::Moment;
use crate::collector::Collectors;
use crate::cpu::{Cpu, CpuMeter};
use crate::disk_io::{DiskIo, DiskIoMeter};
use crate::load::{self, Load};
use crate::memory::{Memory, MemoryMeter, Swap};
use crate::network::{Network, NetworkMeter};
use crate::pressure::{self, Pressure};
use crate::settings::Paths;

/// The values of one reading; None is unknown.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "named after their types")]
pub struct ProcSample {
    pub cpu: Option<Cpu>,
    pub memory: Option<Memory>,
    pub swap: Option<Swap>,
    pub load: Option<Load>,
    pub uptime: Option<Duration>,
    pub cpu_pressure: Option<Pressure>,
    pub memory_pressure: Option<Pressure>,
    pub io_pressure: Option<Pressure>,
    pub network: Option<Network>,
    pub disk_io: Option<DiskIo>,
    pub boot_id: Option<String>,
}

/// Reads /proc, and remembers the previous reading for values that are a difference of two.
#[derive(Debug)]
pub struct ProcMeter {
    proc: PathBuf,
    sys: PathBuf,
    cpu: CpuMeter,
    memory: MemoryMeter,
    network: NetworkMeter,
    disk_io: DiskIoMeter,
    boot_id: Option<String>,
}

impl ProcMeter {
    /// Nothing is read yet.
    pub fn new(paths: &Paths) -> Self {
        Self {
            cpu: CpuMeter::new(&paths.proc),
            memory: MemoryMeter::new(&paths.proc),
            network: NetworkMeter::new(&paths.proc, &paths.sys),
            disk_io: DiskIoMeter::new(&paths.proc, &paths.sys),
            proc: paths.proc.clone(),
            sys: paths.sys.clone(),
            boot_id: None,
        }
    }

    /// Reads all values. A source that cannot be read makes its own value unknown and no other.
    pub fn sample(&mut self, now: Moment, collectors: &Collectors) -> ProcSample {
        let proc = &self.proc;
        let faults = &collectors.faults;
        let (memory, swap) = self.memory.sample(now, collectors);
        let pressure = |resource| collectors.pressure.run(|| pressure::read(proc, resource, faults));
        // It cannot change while this process runs.
        if self.boot_id.is_none() {
            self.boot_id = collectors.boot_id.run(|| Ok(nixfleet_os::boot_id(proc)));
        }
        ProcSample {
            cpu: collectors.cpu.run(|| self.cpu.sample(now, faults)),
            memory,
            swap,
            load: collectors.load.run(|| load::read(proc, &self.sys, faults)),
            uptime: collectors.uptime.run(|| load::read_uptime(proc, faults)),
            cpu_pressure: pressure("cpu"),
            memory_pressure: pressure("memory"),
            io_pressure: pressure("io"),
            network: collectors.network.run(|| self.network.sample(now, faults)),
            disk_io: collectors.disk_io.run(|| self.disk_io.sample(now, faults)),
            boot_id: self.boot_id.clone(),
        }
    }
}
