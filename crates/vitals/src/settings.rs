//! What is measured, and the paths of the system's files.

use std::path::PathBuf;

/// What is measured on the host. The default measures everything, in the usual places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// False: the host is not measured, and all its values are unknown.
    pub enabled: bool,
    /// Mount points whose space is measured; absolute paths.
    pub disks: Vec<PathBuf>,
    /// Names of the hwmon chips whose temperatures are read.
    pub temperatures: Vec<String>,
    /// Folder of StaSysMo's readings; None: they are not read.
    pub stasysmo: Option<PathBuf>,
    /// Paths of the system's files.
    pub paths: Paths,
}

/// Paths of the system's files. Tests use other paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// procfs, usually /proc.
    pub proc: PathBuf,
    /// sysfs, usually /sys.
    pub sys: PathBuf,
    /// File or socket where a local program reports its workload; see [`crate::workload`].
    pub workload: PathBuf,
    /// NVIDIA's library; None means the usual places.
    pub nvml: Option<PathBuf>,
    /// Program that reads NVIDIA's GPUs, so that this process never loads NVIDIA's library, which needs 20 MB and may
    /// crash or hang: `nixfleet-agent`. It is started with `gpu-reader` and the paths of the library as arguments, when
    /// there is such a GPU; a program that calls [`gpu::serve`](crate::gpu::serve) then will do. None: this process
    /// loads the library, on a thread of its own.
    pub gpu_reader: Option<PathBuf>,
    /// Runtime folder of systemd, which exists only if systemd runs.
    pub systemd: PathBuf,
    /// Link to the running system.
    pub current_system: PathBuf,
    /// Link to the booted system.
    pub booted_system: PathBuf,
}

/// Mount points measured by default.
pub const DISKS: [&str; 3] = ["/", "/nix", "/boot"];

/// hwmon chips read by default: those of processors and NVMe disks.
pub const TEMPERATURES: [&str; 6] = ["coretemp", "k10temp", "zenpower", "cpu_thermal", "acpitz", "nvme"];

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            disks: DISKS.map(PathBuf::from).into(),
            temperatures: TEMPERATURES.map(str::to_owned).into(),
            stasysmo: None,
            paths: Paths::default(),
        }
    }
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            proc: "/proc".into(),
            sys: "/sys".into(),
            workload: "/run/nixfleet/workload.json".into(),
            nvml: None,
            gpu_reader: None,
            systemd: "/run/systemd".into(),
            current_system: "/run/current-system".into(),
            booted_system: "/run/booted-system".into(),
        }
    }
}
