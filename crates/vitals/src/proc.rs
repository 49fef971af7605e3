//! All values that come from /proc, read at once. It costs some microseconds, and never hangs.

use std::path::PathBuf;
use std::time::Duration;

use crate::clock::{Moment, Timed};
use crate::collector::Collectors;
use crate::cpu::{Cpu, CpuMeter};
use crate::disk_io::{DiskIo, DiskIoMeter};
use crate::load::{Load, LoadMeter, UptimeMeter};
use crate::memory::{Memory, MemoryMeter, Swap};
use crate::network::{Network, NetworkMeter};
use crate::pressure::{Pressure, PressureMeter};
use crate::seldom::Seldom;
use crate::settings::Paths;

/// Time between two readings of the load averages. The kernel computes them every 5 s.
const LOAD: Duration = Duration::from_secs(5);

/// Time between two readings of a pressure. The kernel computes its averages every 2 s.
const PRESSURE: Duration = Duration::from_secs(2);

/// Shortest time of which a rate of network or disks is the mean. Their lists are the longest ones.
const RATE: Duration = Duration::from_secs(2);

/// Time between two readings of the uptime, which goes on as the clock does.
const UPTIME: Duration = Duration::from_secs(30);

/// The values of one reading; None is unknown.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "named after their types")]
pub struct ProcSample {
    pub cpu: Option<Cpu>,
    pub memory: Option<Memory>,
    pub swap: Option<Swap>,
    pub load: Option<Timed<Load>>,
    pub uptime: Option<Timed<Duration>>,
    pub cpu_pressure: Option<Timed<Pressure>>,
    pub memory_pressure: Option<Timed<Pressure>>,
    pub io_pressure: Option<Timed<Pressure>>,
    pub network: Option<Timed<Network>>,
    pub disk_io: Option<Timed<DiskIo>>,
    pub boot_id: Option<String>,
}

/// Reads /proc, and remembers the previous reading for values that are a difference of two.
#[derive(Debug)]
pub struct ProcMeter {
    proc: PathBuf,
    cpu: CpuMeter,
    memory: MemoryMeter,
    load: (LoadMeter, Seldom<Load>),
    uptime: (UptimeMeter, Seldom<Duration>),
    /// Of processors, memory and disks.
    pressure: [(PressureMeter, Seldom<Pressure>); 3],
    network: (NetworkMeter, Seldom<Network>),
    disk_io: (DiskIoMeter, Seldom<DiskIo>),
    boot_id: Option<String>,
}

impl ProcMeter {
    /// Nothing is read yet.
    pub fn new(paths: &Paths) -> Self {
        Self {
            cpu: CpuMeter::new(&paths.proc),
            memory: MemoryMeter::new(&paths.proc),
            load: (LoadMeter::new(&paths.proc, &paths.sys), Seldom::every(LOAD)),
            uptime: (UptimeMeter::new(&paths.proc), Seldom::every(UPTIME)),
            pressure: ["cpu", "memory", "io"]
                .map(|resource| (PressureMeter::new(&paths.proc, resource), Seldom::every(PRESSURE))),
            network: (NetworkMeter::new(&paths.proc, &paths.sys), Seldom::every(RATE)),
            disk_io: (DiskIoMeter::new(&paths.proc, &paths.sys), Seldom::every(RATE)),
            proc: paths.proc.clone(),
            boot_id: None,
        }
    }

    /// Reads all values. A source that cannot be read makes its own value unknown and no other.
    pub fn sample(&mut self, now: Moment, collectors: &Collectors) -> ProcSample {
        let faults = &collectors.faults;
        let (memory, swap) = self.memory.sample(now, collectors);
        let [cpu_pressure, memory_pressure, io_pressure] = self
            .pressure
            .each_mut()
            .map(|(meter, seldom)| seldom.sample(now, &collectors.pressure, || meter.sample(now, faults)));
        let (load, seldom) = &mut self.load;
        let load = seldom.sample(now, &collectors.load, || load.sample(now, faults));
        let (uptime, seldom) = &mut self.uptime;
        let uptime = seldom.sample(now, &collectors.uptime, || uptime.sample(now, faults));
        // It cannot change while this process runs.
        if self.boot_id.is_none() {
            self.boot_id = collectors.boot_id.run(|| Ok(nixfleet_os::boot_id(&self.proc)));
        }
        let (network, seldom) = &mut self.network;
        let network = seldom.sample(now, &collectors.network, || network.sample(now, faults));
        let (disk_io, seldom) = &mut self.disk_io;
        let disk_io = seldom.sample(now, &collectors.disk_io, || disk_io.sample(now, faults));
        ProcSample {
            cpu: collectors.cpu.run(|| self.cpu.sample(now, faults)),
            memory,
            swap,
            load,
            uptime,
            cpu_pressure,
            memory_pressure,
            io_pressure,
            network,
            disk_io,
            boot_id: self.boot_id.clone(),
        }
    }
}
