//! What is measured, and where the system's own files are.

use std::path::PathBuf;

/// What is measured on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether anything is.
    pub enabled: bool,
    /// Mount points whose space is measured, absolute.
    pub disks: Vec<PathBuf>,
    /// Names of the hwmon chips whose temperatures are read.
    pub temperatures: Vec<String>,
    /// Where the system's own files are.
    pub paths: Paths,
}

/// Where the system's own files are. Tests give other places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// procfs.
    pub proc: PathBuf,
    /// sysfs.
    pub sys: PathBuf,
    /// File or socket of local programs that tell their workload.
    pub workload: PathBuf,
    /// NVIDIA's library; none means the usual places.
    pub nvml: Option<PathBuf>,
    /// The service manager's runtime folder, which is there when systemd is.
    pub systemd: PathBuf,
    /// Link to the system that runs.
    pub current_system: PathBuf,
    /// Link to the system that was booted.
    pub booted_system: PathBuf,
}

/// Mount points measured by default.
pub const DISKS: [&str; 3] = ["/", "/nix", "/boot"];

/// Chips read by default: those of processors and NVMe disks.
pub const TEMPERATURES: [&str; 6] = ["coretemp", "k10temp", "zenpower", "cpu_thermal", "acpitz", "nvme"];

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            disks: DISKS.map(PathBuf::from).into(),
            temperatures: TEMPERATURES.map(str::to_owned).into(),
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
            systemd: "/run/systemd".into(),
            current_system: "/run/current-system".into(),
            booted_system: "/run/booted-system".into(),
        }
    }
}
