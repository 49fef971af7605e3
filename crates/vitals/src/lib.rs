//! The vitals of a host. Each module publishes its newest reading with its age; a heartbeat takes what is there.
//!
//! Whatever is unknown is None: no figure is made up, and none is shown that is older than it may be.
//! Shares are numbers from 0 to 1, never percentages; sizes are bytes; rates are bytes in a second.
//!
//! ```text
//! cpu.rs load.rs memory.rs pressure.rs network.rs disk_io.rs rate.rs   /proc, four times an interval
//! disk.rs temperature.rs units.rs reboot.rs                            what may hang, once an interval
//! proc.rs         the first row as one look
//! scheduler.rs    who looks when
//! worker.rs       threads that may hang
//! snapshot.rs     what is known, without what is too old
//! handle.rs       starting and stopping all that
//! clock.rs        moments and ages
//! collector.rs    what each look cost, and how often it failed
//! source.rs       reading files that may be missing, wrong or endless
//! gpu.rs          GPUs, which have threads of their own
//! stasysmo.rs     readings that another program makes
//! workload.rs     what local programs say of their work
//! prewarm.rs      signals that a GPU is under stress
//! device.rs       all of it as one object; a service for other programs
//! settings.rs     what is measured, and where the system's files are
//! ```

pub use clock::{Moment, Timed};
pub use collector::{Collector, CollectorStats, Collectors};
pub use cpu::Cpu;
pub use disk::{Disk, Inodes, Mount, Usage};
pub use disk_io::DiskIo;
pub use handle::{VitalsHandle, spawn};
pub use load::Load;
pub use memory::{Memory, Swap};
pub use network::Network;
pub use pressure::{Pressure, Stall};
pub use proc::{ProcMeter, ProcSample};
pub use settings::Settings;
pub use snapshot::{MAX_AGE, MAX_AGE_SLOW, MAX_AGE_UNITS, Vitals};
pub use source::{Sample, SourceError};
pub use temperature::Temperature;
pub use units::FailedUnits;

mod clock;
mod collector;
pub mod cpu;
pub mod device;
pub mod disk;
pub mod disk_io;
pub mod gpu;
mod handle;
pub mod load;
pub mod memory;
pub mod network;
pub mod pressure;
pub mod prewarm;
mod proc;
pub mod rate;
pub mod reboot;
mod scheduler;
pub mod settings;
mod snapshot;
mod source;
pub mod stasysmo;
pub mod temperature;
pub mod units;
mod worker;
pub mod workload;

#[cfg(test)]
mod tests;
