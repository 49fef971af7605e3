//! The settings of this host, which are enough for the supervisor of a job.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use nixfleet_jobs::settings::{CustomCommand, FreeSpace, Rebuild, Repo, Rollback};
use nixfleet_vitals::prewarm::Limits;

/// This host and what may be done on it.
#[derive(Debug, Clone)]
pub struct Host {
    /// Name of this host for the dashboard: `[A-Za-z0-9-]{1,63}`.
    pub hostname: String,
    /// `macos` on macOS, otherwise `nixos`.
    pub host_type: &'static str,
    /// User whose home `home-manager` switches; empty if it is neither set nor known.
    pub user: String,
    /// Colour in the dashboard, such as `#7aa2f7`; may be empty.
    pub theme_color: String,
    /// `home`, `work` or `cloud`; may be empty.
    pub location: String,
    /// `server`, `desktop`, `laptop` or `gaming`; may be empty.
    pub device_type: String,
    /// Version that is reported to the dashboard, which may compare it with its own.
    pub reported_version: String,
    /// Which commit is reported as the generation.
    pub generation: GenerationSource,
    /// Version of nixpkgs that is reported. Default: the version of the running system.
    pub nixpkgs_version: Option<String>,
    /// The checkout of the fleet's configuration.
    pub repo: Repo,
    /// How `switch`, `pull-switch`, `boot` and `rollback` rebuild.
    pub rebuild: Rebuild,
    /// When a new system is taken back.
    pub rollback: Rollback,
    /// State folder of the agent, absolute.
    pub state_dir: PathBuf,
    /// How commands run.
    pub jobs: Jobs,
    /// What must be free before a command.
    pub preflight: FreeSpace,
    /// Custom commands by name. None has the name of a built-in command.
    pub commands: BTreeMap<String, CustomCommand>,
    /// What is measured on the host.
    pub vitals: Vitals,
    /// When pre-warm signals are sent.
    pub prewarm: Prewarm,
    /// Whether the dashboard may reboot this host.
    pub reboot: bool,
    /// How the agent publishes its metrics.
    pub metrics: Metrics,
    /// Runtime folder from the service manager, absolute. The service manager removes it when the agent
    /// stops.
    pub runtime_dir: Option<PathBuf>,
    /// Paths of files of the system.
    pub paths: Paths,
    /// Log level: `off`, `error`, `warn`, `info`, `debug` or `trace`, also as `target=level`; separated by
    /// commas.
    pub log_level: String,
}

/// Which commit every message reports as the generation of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GenerationSource {
    /// The commit of the deployed configuration, which a pull does not change.
    Deployed,
    /// HEAD of the checkout, for dashboards that judge a pull by the generation.
    Checkout,
}

/// How supervisors are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LauncherKind {
    /// As processes of the agent's user.
    Direct,
    /// As instances of the unit `nixfleet-job@.service`, as root.
    Systemd,
}

/// How commands run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jobs {
    /// How supervisors are started.
    pub launcher: LauncherKind,
    /// Folder with the job folders, absolute.
    pub dir: PathBuf,
    /// Size limit of the log of one job, in bytes. The beginning and the end of the log are kept.
    pub log_limit: u64,
    /// Time between SIGTERM and SIGKILL.
    pub stop_grace: Duration,
    /// Number of job folders that are kept.
    pub keep: usize,
}

/// What is measured on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vitals {
    /// Whether the host is measured at all.
    pub enabled: bool,
    /// Mount points whose space is measured, absolute.
    pub disks: Vec<PathBuf>,
    /// Names of the chips whose temperatures are read.
    pub temperatures: Vec<String>,
}

/// When pre-warm signals are sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Prewarm {
    /// Thresholds of usage and temperature.
    pub limits: Limits,
    /// Program and arguments that run for each signal.
    pub hook: Option<Vec<String>>,
}

/// How the agent publishes its metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Address of the page for Prometheus: a loopback address, unless `metrics.allow_remote` is set.
    pub listen: Option<SocketAddr>,
}

/// Paths of files of the system. Tests use other paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Folder of StaSysMo's readings.
    pub stasysmo: PathBuf,
    /// Mount point of procfs.
    pub proc: PathBuf,
    /// Mount point of sysfs.
    pub sys: PathBuf,
    /// File or socket where a local program publishes its workload.
    pub workload: PathBuf,
    /// NVIDIA's library. Default: the usual paths.
    pub nvml: Option<PathBuf>,
    /// Socket on which the agent answers `status`. Default: the usual path.
    pub status: Option<PathBuf>,
    /// systemd's runtime folder. It exists if systemd is running.
    pub systemd: PathBuf,
    /// Symbolic link to the running system.
    pub current_system: PathBuf,
    /// Symbolic link to the booted system.
    pub booted_system: PathBuf,
    /// The profile of the system.
    pub system_profile: PathBuf,
    /// The lock that NixOS holds while it activates a system.
    pub switch_lock: PathBuf,
    /// Mount point of the boot partition.
    pub boot: PathBuf,
    /// Mount point of the control groups.
    pub cgroups: PathBuf,
    /// os-release(5); on macOS SystemVersion.plist.
    pub os_release: PathBuf,
}

/// The running program, also after its file has been replaced. GPUs are read on Linux only.
const THIS_PROGRAM: &str = "/proc/self/exe";

impl Host {
    /// The settings for a supervisor.
    pub fn job_settings(&self) -> nixfleet_jobs::Settings {
        nixfleet_jobs::Settings {
            hostname: self.hostname.clone(),
            host_type: self.host_type,
            user: self.user.clone(),
            repo: self.repo.clone(),
            rebuild: self.rebuild.clone(),
            rollback: self.rollback.clone(),
            commands: self.commands.clone(),
            reboot: self.reboot,
            state_dir: self.state_dir.clone(),
            dir: self.jobs.dir.clone(),
            log_limit: self.jobs.log_limit,
            own_units: self.jobs.launcher == LauncherKind::Systemd,
            stop_grace: self.jobs.stop_grace,
            keep: self.jobs.keep,
            remarks: Vec::new(),
            proc: self.paths.proc.clone(),
            system: nixfleet_jobs::settings::SystemPaths {
                running: self.paths.current_system.clone(),
                profile: self.paths.system_profile.clone(),
                lock: self.paths.switch_lock.clone(),
                boot: self.paths.boot.clone(),
                efi_variables: self.paths.sys.join("firmware/efi/efivars"),
                cgroups: self.paths.cgroups.clone(),
                systemd: self.paths.systemd.clone(),
            },
            preflight: self.preflight,
        }
    }

    /// The settings for the collectors of vitals.
    pub fn vitals_settings(&self) -> nixfleet_vitals::Settings {
        nixfleet_vitals::Settings {
            enabled: self.vitals.enabled,
            disks: self.vitals.disks.clone(),
            temperatures: self.vitals.temperatures.clone(),
            stasysmo: None,
            paths: nixfleet_vitals::settings::Paths {
                proc: self.paths.proc.clone(),
                sys: self.paths.sys.clone(),
                workload: self.paths.workload.clone(),
                nvml: self.paths.nvml.clone(),
                gpu_reader: Some(THIS_PROGRAM.into()),
                systemd: self.paths.systemd.clone(),
                current_system: self.paths.current_system.clone(),
                booted_system: self.paths.booted_system.clone(),
            },
        }
    }

    /// The agent's own folder within the state folder. The jobs own the rest.
    pub fn own_dir(&self) -> PathBuf {
        self.state_dir.join("agent")
    }
}
