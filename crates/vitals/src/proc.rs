//! All values that come from /proc, read at once. It costs some microseconds, and never hangs.

use std::path::PathBuf;
use std::time::Duration;

use crate::clock::Moment;
use crate::collector::Collectors;
use crate::cpu::{Cpu, CpuMeter};
use crate::disk_io::{DiskIo, DiskIoMeter};
use crate::load::{Load, LoadMeter};
use crate::memory::{Memory, MemoryMeter, Swap};
use crate::network::{Network, NetworkMeter};
use crate::pressure::{Pressure, PressureMeter};
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
    cpu: CpuMeter,
    memory: MemoryMeter,
    load: LoadMeter,
    /// Of processors, memory and disks.
    pressure: [PressureMeter; 3],
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
            load: LoadMeter::new(&paths.proc, &paths.sys),
            pressure: ["cpu", "memory", "io"].map(|resource| PressureMeter::new(&paths.proc, resource)),
            network: NetworkMeter::new(&paths.proc, &paths.sys),
            disk_io: DiskIoMeter::new(&paths.proc, &paths.sys),
            proc: paths.proc.clone(),
            boot_id: None,
        }
    }

    /// Reads all values. A source that cannot be read makes its own value unknown and no other.
    pub fn sample(&mut self, now: Moment, collectors: &Collectors) -> ProcSample {
        let faults = &collectors.faults;
        let (memory, swap) = self.memory.sample(now, collectors);
        let [cpu_pressure, memory_pressure, io_pressure] =
            self.pressure.each_mut().map(|meter| collectors.pressure.run(|| meter.sample(now, faults)));
        // It cannot change while this process runs.
        if self.boot_id.is_none() {
            self.boot_id = collectors.boot_id.run(|| Ok(nixfleet_os::boot_id(&self.proc)));
        }
        ProcSample {
            cpu: collectors.cpu.run(|| self.cpu.sample(now, faults)),
            memory,
            swap,
            load: collectors.load.run(|| self.load.sample(now, faults)),
            uptime: collectors.uptime.run(|| self.load.uptime(now, faults)),
            cpu_pressure,
            memory_pressure,
            io_pressure,
            network: collectors.network.run(|| self.network.sample(now, faults)),
            disk_io: collectors.disk_io.run(|| self.disk_io.sample(now, faults)),
            boot_id: self.boot_id.clone(),
        }
    }
}
