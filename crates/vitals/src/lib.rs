//! Vitals of a host: processors, memory, disks, network, temperatures, GPUs, and signals when a GPU is under
//! stress.
//!
//! Background threads measure and publish a snapshot. A heartbeat reads the snapshot; it never waits for a
//! file, a driver or a program. Each value has an age limit. An unknown value is `None`; no value is
//! invented. Shares are numbers from 0 to 1, never percentages. Sizes are bytes, rates are bytes per second.
//!
//! Start with [`device`], which combines everything into one object:
//!
//! ```
//! let vitals = nixfleet_vitals::device::collect_device_vitals("my-device");
//! assert_eq!(vitals.device_id, "my-device");
//! if let Some(usage) = vitals.cpu_usage {
//!     println!("processors: {:.0} % busy", usage * 100.0);
//! }
//! ```
//!
//! ```text
//! cpu.rs load.rs memory.rs pressure.rs network.rs disk_io.rs rate.rs   /proc, shortly before each heartbeat
//! disk.rs temperature.rs units.rs reboot.rs                            sources that may hang, seldom
//! proc.rs         reads all of the first row at once
//! seldom.rs       what the kernel itself computes seldom
//! probes.rs       one reading of each source
//! lane.rs         a thread that reads sources one after the other, and may hang; lane/plan.rs: when, without I/O
//! board.rs        puts what was found into snapshots
//! snapshot.rs     the newest values, without those that are too old
//! handle.rs       which sources are in which lane; gives access to the snapshots
//! clock.rs        moments and ages
//! collector.rs    counts cost and failures of each source
//! fault.rs        which files could not be read or understood, for the log and for people
//! lines.rs        files of lines, of which each stands alone
//! source.rs       reads files that may be missing, invalid or endless; source/kept.rs: files that stay open
//! gpu.rs          GPUs, with threads of their own
//! stasysmo.rs     readings that StaSysMo writes
//! workload.rs     workload that a local program reports
//! prewarm.rs      signals that a GPU is under stress
//! device.rs       everything in one object; a heartbeat service for other programs
//! settings.rs     what is measured, and the paths of the system's files
//! ```
#![cfg_attr(test, allow(clippy::string_slice, reason = "a wrong index fails the test"))]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub use clock::{Moment, Timed};
pub use collector::{Collector, CollectorStats, Collectors};
pub use cpu::Cpu;
pub use disk::{Disk, Inodes, Mount, Usage};
pub use disk_io::DiskIo;
pub use fault::{Fault, Faults, Odd};
pub use handle::{VitalsHandle, spawn};
pub use lines::Parsed;
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

mod board;
mod clock;
mod collector;
pub mod cpu;
pub mod device;
pub mod disk;
pub mod disk_io;
mod fault;
pub mod gpu;
mod handle;
mod lane;
mod lines;
pub mod load;
pub mod memory;
pub mod network;
pub mod pressure;
pub mod prewarm;
mod probes;
mod proc;
pub mod rate;
pub mod reboot;
mod seldom;
pub mod settings;
mod snapshot;
mod source;
pub mod stasysmo;
pub mod temperature;
pub mod units;
pub mod workload;

#[cfg(test)]
mod tests;
