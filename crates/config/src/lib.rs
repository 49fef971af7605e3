//! The configuration. Environment variables override the configuration file, and the file overrides the
//! defaults.
//!
//! There are two structs with validated settings. [`Host`] has no dashboard and no token; it is enough for
//! the supervisor of a job. [`Config`] adds the connection and is what `run` needs.
//!
//! ```text
//! source.rs       command line and environment               (where settings come from)
//! file.rs         the structure of the file, for serde       (names, meanings, units, defaults)
//! keys.rs         the table of keys, with examples           (types)
//! environment.rs  the same keys as NIXFLEET_* variables
//! syntax.rs       the hint in an error of the file's syntax
//! layers.rs       both as figment layers, errors as lines    (precedence, origin of a value)
//! validate.rs     from strings and numbers to typed values   (what is allowed)
//! connection.rs   validates the connection
//! ca_file.rs      certificates to trust in addition
//! folders.rs      checks the folders that the settings name
//! hostname.rs     validates the name of this host
//! log_level.rs    validates the log level
//! custom.rs       validates custom commands
//! rollback.rs     validates when a new system is taken back
//! metrics.rs      validates the address of the metrics page
//! check.rs        checks that many keys share
//! names.rs        the nearest known name, for a hint
//! problem.rs      problems as lines for people
//! token.rs        where the token is, and how it is written there
//! environment_file.rs  lines NAME=value, as systemd reads them
//! secret.rs       text that no error or log shows
//! start.rs        starts with a wrong file: the last good settings, and what `status` and `logs` need
//! last_good.rs    the copy of the last good settings
//! ```
#![cfg_attr(test, allow(clippy::string_slice, reason = "a wrong index fails the test"))]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nixfleet_os::address::Address;
use nixfleet_vitals::prewarm::Limits;
use url::Url;

use connection::Depth;

mod ca_file;
mod check;
mod connection;
mod custom;
mod environment;
pub mod environment_file;
mod file;
mod folders;
mod hostname;
mod keys;
mod last_good;
mod layers;
mod log_level;
mod metrics;
mod names;
mod problem;
mod rollback;
mod secret;
mod source;
mod start;
mod syntax;
mod token;
mod validate;

pub use ca_file::{CaFileError, certificates};
pub use connection::INTERVAL;
pub use file::DEFAULT_INTERVAL;
pub use hostname::near_hostname;
pub use last_good::Proof;
pub use log_level::LOG_TARGETS;
pub use nixfleet_jobs::settings::{Check, CustomCommand, CustomStep, FreeSpace, Rebuild, Repo, Rollback};
pub use problem::{ConfigError, Problem};
pub use secret::Secret;
pub use source::{Source, VARIABLE_PREFIX};
pub use start::{LastGood, Started, keep_settings};
pub use token::{TOKEN_VARIABLE, Token, TokenError, TokenSource};

#[cfg(test)]
mod tests;

/// The configuration file that is read by default. It is optional, because the environment alone is enough.
pub const DEFAULT_FILE: &str = "/etc/nixfleet/agent.toml";

/// Everything `run` needs.
#[derive(Debug, Clone)]
pub struct Config {
    /// The dashboard and how to reach it.
    pub connection: Connection,
    /// This host and what may be done on it.
    pub host: Host,
    /// What does not keep the agent from running but should be known, one line each, often with a semicolon
    /// and what to do behind it.
    pub warnings: Vec<String>,
}

/// The dashboard and how to reach it.
#[derive(Debug, Clone)]
pub struct Connection {
    /// `ws` or `wss`, with a host, a path that is not `/`, and neither user info nor fragment.
    pub url: Address<Url>,
    /// Where the token is. It is read again for every connection attempt.
    pub token: TokenSource,
    /// File with additional trusted certificates, in PEM.
    pub ca_file: Option<PathBuf>,
    /// Time between heartbeats: whole seconds, 1 to 3600.
    pub interval: Duration,
}

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

impl Config {
    /// Reads and validates all settings.
    ///
    /// # Errors
    /// [`ConfigError`] with all problems that could be found. The exit code of the program is then 64.
    pub fn load(source: &Source) -> Result<Self, ConfigError> {
        Self::validated(source, layers::Layers::read(source), Depth::Settings)
    }

    /// Like [`Config::load`], and looks at the files and folders that the settings name: a token file that holds
    /// something else is a problem, and so are certificates that nobody can read. The agent itself starts with
    /// such a file, because it may be replaced while the agent runs.
    ///
    /// # Errors
    /// As for [`Config::load`].
    pub fn check(source: &Source) -> Result<Self, ConfigError> {
        Self::validated(source, layers::Layers::read(source), Depth::Files)
    }

    /// Validates the text of a settings file before it is written to `file`, with the variables of `source`.
    ///
    /// # Errors
    /// As for [`Config::load`].
    pub fn of_text(source: &Source, file: &Path, text: &str) -> Result<Self, ConfigError> {
        Self::validated(source, layers::Layers::of_text(source, file, text), Depth::Settings)
    }

    fn validated(
        source: &Source,
        read: Result<(layers::Layers, Vec<Problem>), Vec<Problem>>,
        depth: Depth,
    ) -> Result<Self, ConfigError> {
        let (config, problems) = Self::checked(source, read, depth);
        config.ok_or(ConfigError { problems })
    }

    /// The configuration if there are no problems, and the problems.
    fn checked(
        source: &Source,
        read: Result<(layers::Layers, Vec<Problem>), Vec<Problem>>,
        depth: Depth,
    ) -> (Option<Self>, Vec<Problem>) {
        let (layers, mut problems) = match read {
            Ok(read) => read,
            Err(problems) => return (None, problems),
        };
        let mut check = check::Checker::new(&layers, source, &mut problems);
        let connection = connection::connection(&mut check, depth);
        let host = validate::host(&mut check);
        if depth == Depth::Files {
            folders::folders(&mut check, &host);
        }
        let mut warnings = environment::warnings(source);
        warnings.append(&mut check.warnings);
        let connection = connection.filter(|_| problems.is_empty());
        (connection.map(|connection| Self { connection, host, warnings }), problems)
    }
}

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
            paths: nixfleet_vitals::settings::Paths {
                proc: self.paths.proc.clone(),
                sys: self.paths.sys.clone(),
                workload: self.paths.workload.clone(),
                nvml: self.paths.nvml.clone(),
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

    /// Reads and validates the settings for vitals without a dashboard. Problems of the connection, the host
    /// name and the state folder are ignored.
    ///
    /// # Errors
    /// As for [`Config::load`].
    pub fn for_meters(source: &Source) -> Result<Self, ConfigError> {
        let needless = |problem: &Problem| ["hostname", "state_dir"].contains(&problem.key.as_str());
        let (layers, mut problems) =
            layers::Layers::read(source).map_err(|problems| ConfigError { problems })?;
        problems.retain(|problem| !connection::KEYS.contains(&problem.key.as_str()));
        let host = validate::host(&mut check::Checker::new(&layers, source, &mut problems));
        problems.retain(|problem| !needless(problem));
        if problems.is_empty() { Ok(host) } else { Err(ConfigError { problems }) }
    }
}

/// Settings that jobs in units of their own do not see, one line each. Such jobs read [`DEFAULT_FILE`], but
/// not the command line and the environment of this process.
pub fn unseen_by_units(source: &Source) -> Vec<String> {
    let (file, named) = source.file();
    let other = (named && file != Path::new(DEFAULT_FILE))
        .then(|| format!("jobs read {DEFAULT_FILE}, not {}; move the settings there", file.display()));
    other.into_iter().chain(environment::unseen_by_units(source)).collect()
}

/// The configuration file that is read for `source`; `None` if it is optional and does not exist.
pub fn file_in_use(source: &Source) -> Option<PathBuf> {
    let (file, named) = source.file();
    (named || Path::new(&file).exists()).then_some(file)
}
