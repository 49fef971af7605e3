//! Measurements of the device, as heartbeats carry them and as `nixfleet-agent vitals` prints them.
//!
//! Shares are numbers from 0 to 1, sizes are bytes, rates are bytes per second. Unknown values are null or
//! absent; no number stands for something that was not measured.

use std::ops::Not;

use serde::{Deserialize, Serialize};

/// Measurements of the device. The fields up to `loaded_model` are always present, the others only when
/// known.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct DeviceVitals {
    /// Name of the device; the hostname unless another name was configured.
    pub device_id: String,
    /// When the measurements were collected into this object, RFC 3339.
    pub timestamp: String,
    /// Share of time in which the processors were busy since the previous measurement.
    pub cpu_usage: Option<f64>,
    /// Share of the memory that programs cannot allocate.
    pub memory_usage: Option<f64>,
    /// Busy share of the busiest GPU.
    pub gpu_usage: Option<f64>,
    /// Temperature of the hottest GPU, in degrees Celsius.
    pub gpu_temp_celsius: Option<f64>,
    /// Share of memory in use on the GPU whose memory is fullest.
    pub gpu_vram_usage: Option<f64>,
    /// Share in use of `/`, or of the fullest measured file system if `/` is not measured.
    pub disk_usage: Option<f64>,
    /// Count of sessions that a local program serves.
    pub active_sessions: Option<u32>,
    /// Count of queries that wait for that program.
    pub pending_queries: Option<u32>,
    /// Name of the model that the program has loaded.
    pub loaded_model: Option<String>,

    /// Seconds since the boot, including sleep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime_s: Option<u64>,
    /// Load averages over 1, 5 and 15 minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<[f64; 3]>,
    /// Share of the swap in use. Absent without swap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_usage: Option<f64>,
    /// Bytes of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_total: Option<u64>,
    /// Bytes of memory that are not used at all, not even as a cache: the kernel's MemFree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_free: Option<u64>,
    /// Shares of the last 10 s in which at least one program waited for a resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pressure: Option<Pressures>,
    /// The measured file systems.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskVitals>,
    /// Throughput of all counted network interfaces together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Throughput>,
    /// Throughput of all physical disks together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_io: Option<DiskIo>,
    /// Temperature sensors of processors and disks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub temperatures: Vec<TemperatureVitals>,
    /// The GPUs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuVitals>,
    /// Units in systemd's state "failed".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_units: Option<FailedUnits>,
    /// Whether the running system needs a reboot to be complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reboot_required: Option<bool>,
}

/// Shares of the last 10 s in which at least one program waited for a resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Pressures {
    /// Share of time waiting for a processor.
    pub cpu: Option<f64>,
    /// Share of time waiting for memory.
    pub memory: Option<f64>,
    /// Share of time waiting for a disk.
    pub io: Option<f64>,
}

/// One file system.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct DiskVitals {
    /// Mount point.
    pub path: String,
    /// Share in use, computed as `df` does; null while the file system does not answer.
    pub usage: Option<f64>,
    /// Bytes in use.
    pub used: Option<u64>,
    /// Size in bytes.
    pub total: Option<u64>,
    /// Share of inodes in use; null if there is no fixed number of inodes.
    pub inode_usage: Option<f64>,
}

/// Network throughput.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Throughput {
    /// Bytes received per second.
    pub received: f64,
    /// Bytes sent per second.
    pub sent: f64,
}

/// Disk throughput.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DiskIo {
    /// Bytes read per second.
    // The first agents had the names of a network here. A dashboard reads those as well.
    #[serde(alias = "received")]
    pub read: f64,
    /// Bytes written per second.
    #[serde(alias = "sent")]
    pub written: f64,
}

/// One temperature sensor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct TemperatureVitals {
    /// Name of the chip, followed by the label of the sensor if it has one.
    pub name: String,
    /// Degrees Celsius; null while the sensor gives no reading.
    pub celsius: Option<f64>,
}

/// One GPU.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct GpuVitals {
    /// `nvidia`, `amd` or `intel`.
    pub vendor: String,
    /// Name that the driver gives.
    pub name: Option<String>,
    /// Address on the PCI bus, such as `0000:01:00.0`.
    pub pci_address: String,
    /// `ok`, or why there are no readings, such as `suspended`, `driver_mismatch` or `lost`.
    pub status: String,
    /// Busy share.
    pub usage: Option<f64>,
    /// True if `usage` was derived, not measured.
    #[serde(skip_serializing_if = "Not::not")]
    pub usage_is_estimate: bool,
    /// Temperature in degrees Celsius.
    pub temp_celsius: Option<f64>,
    /// Bytes of GPU memory in use.
    pub vram_used: Option<u64>,
    /// Bytes of GPU memory.
    pub vram_total: Option<u64>,
    /// Power in watts.
    pub power_watts: Option<f64>,
}

/// Units in systemd's state "failed".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct FailedUnits {
    /// Count of failed units.
    pub count: u32,
    /// The first names in alphabetical order.
    pub names: Vec<String>,
}

/// The stress of a GPU has begun or ended (additive).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Prewarm {
    /// Name of the device; the hostname unless another name was configured.
    pub device_id: String,
    /// When the change was noticed, RFC 3339. A repeated message has the same time.
    pub timestamp: String,
    /// Mean busy share over the window.
    pub gpu_usage: Option<f64>,
    /// Mean temperature over the window, in degrees Celsius.
    pub gpu_temp: Option<f64>,
    /// Explanation for people.
    pub reason: String,
    /// `start` or `end`.
    pub phase: String,
}
