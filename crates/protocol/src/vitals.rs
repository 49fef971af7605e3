//! How the device is (seed 001), as heartbeats carry it and as `vitals` prints it.
//!
//! Shares are numbers from 0 to 1, sizes are bytes, rates bytes in a second. What is unknown is null
//! or missing; no figure stands for something that was not measured.

use serde::{Deserialize, Serialize};

/// Vitals of the device. The fields of seed 001 are always present; the others only when known.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceVitals {
    /// Name of the device; the hostname where nothing else was chosen.
    pub device_id: String,
    /// When this was put together, RFC 3339.
    pub timestamp: String,
    /// Share of time in which the processors were busy since the look before.
    pub cpu_usage: Option<f64>,
    /// Share of the memory that is in use and cannot be had by asking.
    pub memory_usage: Option<f64>,
    /// Busy share of the busiest GPU.
    pub gpu_usage: Option<f64>,
    /// Temperature of the hottest GPU, in degrees Celsius.
    pub gpu_temp_celsius: Option<f64>,
    /// Memory in use of the fullest GPU: used by total.
    pub gpu_vram_usage: Option<f64>,
    /// How full `/` is, or else the fullest of the file systems that are looked at.
    pub disk_usage: Option<f64>,
    /// Sessions that a local program serves.
    pub active_sessions: Option<u32>,
    /// Queries that wait for it.
    pub pending_queries: Option<u32>,
    /// The model that it has loaded.
    pub loaded_model: Option<String>,

    /// Seconds since the boot, sleep included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime_s: Option<u64>,
    /// Load averages over 1, 5 and 15 minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<[f64; 3]>,
    /// Share of the swap in use; none without swap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_usage: Option<f64>,
    /// Bytes of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_total: Option<u64>,
    /// Bytes of it that nobody uses, not even as a cache: the kernel's MemFree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_free: Option<u64>,
    /// Share of the last 10 s in which some program waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pressure: Option<Pressures>,
    /// File systems.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskVitals>,
    /// Over all physical interfaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Throughput>,
    /// Over all physical disks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_io: Option<DiskIo>,
    /// Temperature sensors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub temperatures: Vec<TemperatureVitals>,
    /// GPUs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuVitals>,
    /// Units that systemd calls failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_units: Option<FailedUnits>,
    /// Whether the system that was switched to runs in full only after a reboot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reboot_required: Option<bool>,
}

/// Shares of the last 10 s in which some program waited for a resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pressures {
    /// For a processor.
    pub cpu: Option<f64>,
    /// For memory.
    pub memory: Option<f64>,
    /// For a disk.
    pub io: Option<f64>,
}

/// One file system.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiskVitals {
    /// Where it is mounted.
    pub path: String,
    /// Share in use, as `df` has it; null for one that does not answer.
    pub usage: Option<f64>,
    /// Bytes in use.
    pub used: Option<u64>,
    /// Bytes in all.
    pub total: Option<u64>,
    /// Share of inodes in use; null where there are none.
    pub inode_usage: Option<f64>,
}

/// Bytes in a second, in both directions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// In.
    pub received: f64,
    /// Out.
    pub sent: f64,
}

/// Bytes in a second, from and to disks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct DiskIo {
    /// From the disks.
    pub read: f64,
    /// To the disks.
    pub written: f64,
}

/// One sensor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TemperatureVitals {
    /// Chip and, if it has one, the sensor's label.
    pub name: String,
    /// Degrees Celsius; null for one that gives no reading.
    pub celsius: Option<f64>,
}

/// One GPU.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuVitals {
    /// `nvidia`, `amd` or `intel`.
    pub vendor: String,
    /// What its driver calls it.
    pub name: Option<String>,
    /// Such as `0000:01:00.0`.
    pub pci_address: String,
    /// `ok`, or why there are no readings: `suspended`, `driver_mismatch`, `lost`, ..
    pub status: String,
    /// Busy share.
    pub usage: Option<f64>,
    /// Whether `usage` was derived rather than measured.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub usage_is_estimate: bool,
    /// Degrees Celsius.
    pub temp_celsius: Option<f64>,
    /// Bytes of its memory in use.
    pub vram_used: Option<u64>,
    /// Bytes of its memory.
    pub vram_total: Option<u64>,
    /// Watts.
    pub power_watts: Option<f64>,
}

/// Units that systemd calls failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailedUnits {
    /// How many.
    pub count: u32,
    /// The first of them by name.
    pub names: Vec<String>,
}

/// A GPU is under stress, or no longer (seed 001).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Prewarm {
    /// As in [`DeviceVitals::device_id`].
    pub device_id: String,
    /// When it was noticed, RFC 3339.
    pub timestamp: String,
    /// Mean busy share that decided.
    pub gpu_usage: Option<f64>,
    /// Mean temperature that decided, in degrees Celsius.
    pub gpu_temp: Option<f64>,
    /// For people.
    pub reason: String,
    /// `start` or `end`.
    pub phase: String,
}
