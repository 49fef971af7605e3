//! What the operator decides: defaults, below the configuration file, below the environment.
//!
//! Two structs come out of the same settings. [`Host`] is what a job's supervisor needs too: it
//! knows no dashboard and no token. [`Config`] adds the connection and is what `run` needs.
//! Everything in them is checked: code that holds one need not look at the values again.
//!
//! ```text
//! file.rs         the file's keys, as serde sees them        (what may be written)
//! environment.rs  the same keys as NIXFLEET_* variables      (where else it may be written)
//! layers.rs       both as figment layers, errors as lines    (which one wins, who said so)
//! validate.rs     from strings and numbers to typed values   (what is allowed)
//! check.rs        what many keys share
//! custom.rs       the operator's own commands
//! metrics.rs      where the agent shows its metrics
//! names.rs        the nearest known name
//! secret.rs       the token, which no error or log shows
//! ```

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use url::Url;

use nixfleet_vitals::prewarm::Limits;

pub use nixfleet_jobs::settings::{CustomCommand, CustomStep, Rebuild, Repo};
pub use secret::{Secret, TokenError, TokenSource};

mod check;
mod custom;
mod environment;
mod file;
mod layers;
mod metrics;
mod names;
mod secret;
mod validate;

#[cfg(test)]
mod tests;

/// The configuration file that is read when none is named. It may be absent: the environment alone
/// is enough to run.
pub const DEFAULT_FILE: &str = "/etc/nixfleet/agent.toml";

/// Everything `run` needs.
#[derive(Debug, Clone)]
pub struct Config {
    /// The dashboard and how to reach it.
    pub connection: Connection,
    /// This host and what may be done on it.
    pub host: Host,
}

/// The dashboard and how to reach it.
#[derive(Debug, Clone)]
pub struct Connection {
    /// `ws` or `wss`, with a host, a path that is not `/`, and neither user info nor fragment.
    pub url: Url,
    /// Where the token is; read it anew for every attempt.
    pub token: TokenSource,
    /// Certificates trusted besides those of the system, in PEM.
    pub ca_file: Option<PathBuf>,
    /// Time between heartbeats: whole seconds, 1 to 3600 (T02, timing).
    pub interval: Duration,
}

/// This host and what may be done on it.
#[derive(Debug, Clone)]
pub struct Host {
    /// Name under which the dashboard files this host: `[A-Za-z0-9-]{1,63}` (T01).
    pub hostname: String,
    /// `macos` on macOS, else `nixos`.
    pub host_type: &'static str,
    /// Whose home `home-manager` switches; empty when neither set nor known.
    pub user: String,
    /// Colour in the dashboard, such as `#7aa2f7`; may be empty.
    pub theme_color: String,
    /// `home`, `work` or `cloud`; may be empty.
    pub location: String,
    /// `server`, `desktop`, `laptop` or `gaming`; may be empty.
    pub device_type: String,
    /// Version told to the dashboard, which may compare it with its own.
    pub reported_version: String,
    /// Told instead of the version that the running system names.
    pub nixpkgs_version: Option<String>,
    /// The checkout of the fleet's configuration.
    pub repo: Repo,
    /// How `switch`, `pull-switch` and `rollback` rebuild.
    pub rebuild: Rebuild,
    /// Folder for everything the agent keeps, absolute.
    pub state_dir: PathBuf,
    /// How commands run.
    pub jobs: Jobs,
    /// The operator's own commands by name; none shadows a built-in.
    pub commands: BTreeMap<String, CustomCommand>,
    /// What is measured on the host.
    pub vitals: Vitals,
    /// When pre-warm signals are given (seed 001).
    pub prewarm: Prewarm,
    /// Whether the dashboard may reboot this host.
    pub reboot: bool,
    /// What the agent shows of itself.
    pub metrics: Metrics,
    /// The service manager's folder for what goes when the agent goes, absolute; none without one.
    pub runtime_dir: Option<PathBuf>,
    /// Where the system's own files are.
    pub paths: Paths,
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`, also as `target=level`, joined by commas.
    pub log_level: String,
}

/// How supervisors are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LauncherKind {
    /// As processes with the agent's user and rights.
    Direct,
    /// As instances of the unit `nixfleet-job@.service`, with root's.
    Systemd,
}

/// How commands run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jobs {
    /// How their supervisors are started.
    pub launcher: LauncherKind,
    /// A folder for each job, absolute.
    pub dir: PathBuf,
    /// Size limit of one job's log in bytes; its head and its tail are kept.
    pub log_limit: u64,
    /// Time between SIGTERM and SIGKILL.
    pub stop_grace: Duration,
    /// Folders of finished jobs that are kept.
    pub keep: usize,
}

/// What is measured on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vitals {
    /// Whether anything is.
    pub enabled: bool,
    /// Mount points whose space is measured, absolute.
    pub disks: Vec<PathBuf>,
    /// Names of the chips whose temperatures are read.
    pub temperatures: Vec<String>,
}

/// When pre-warm signals are given.
#[derive(Debug, Clone, PartialEq)]
pub struct Prewarm {
    /// Limits of usage and temperature.
    pub limits: Limits,
    /// Program that is told of each signal.
    pub hook: Option<Vec<String>>,
}

/// What the agent shows of itself, besides the answer to `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Where Prometheus finds them; on loopback, unless the operator said otherwise.
    pub listen: Option<SocketAddr>,
}

/// Where the system's own files are. Tests give other places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// StaSysMo's folder (T02 scenario 3).
    pub stasysmo: PathBuf,
    /// procfs.
    pub proc: PathBuf,
    /// sysfs.
    pub sys: PathBuf,
    /// File or socket of local programs that tell their workload.
    pub workload: PathBuf,
    /// NVIDIA's library; none means the usual places.
    pub nvml: Option<PathBuf>,
    /// Socket on which the agent answers `status`; none means the usual place.
    pub status: Option<PathBuf>,
    /// The service manager's runtime folder, which is there when systemd is.
    pub systemd: PathBuf,
    /// Link to the system that runs.
    pub current_system: PathBuf,
    /// Link to the system that was booted.
    pub booted_system: PathBuf,
    /// os-release(5), or macOS' SystemVersion.plist.
    pub os_release: PathBuf,
}

/// Where the settings come from. An argument, so that tests need not touch the process.
#[derive(Clone, Default)]
pub struct Source {
    /// File named on the command line: it must exist. None: `NIXFLEET_CONFIG`, else [`DEFAULT_FILE`]
    /// if there is one.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
}

/// Why there is no configuration: one line for each problem that was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

/// One thing that is wrong, where, and what to do about it. Never shows the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Key of the file, such as `repo.branch`, whichever layer the value came from.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// The file or the variable that said it; empty when nobody did.
    pub origin: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys and paths are the operator's text: a line end in one must not make two lines of it.
        let mut line = |text: &str| {
            text.chars().try_for_each(|letter| {
                if letter.is_control() {
                    write!(f, "{}", letter.escape_default())
                } else {
                    f.write_char(letter)
                }
            })
        };
        line(&self.key)?;
        line(": ")?;
        line(&self.what)?;
        if !self.origin.is_empty() {
            line(" (")?;
            line(&self.origin)?;
            line(")")?;
        }
        if !self.fix.is_empty() {
            line("; ")?;
            line(&self.fix)?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl ConfigError {
    /// The problems, at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names only: one of the values is the token, and others may be secrets of other programs.
        let names: Vec<&String> = self.environment.keys().collect();
        f.debug_struct("Source").field("file", &self.file).field("environment", &names).finish()
    }
}

impl Source {
    /// From the command line's file and a process's environment (`std::env::vars_os()`).
    ///
    /// # Errors
    /// A variable that matters holds bytes that are not UTF-8. Other such variables are left out.
    pub fn new(
        file: Option<PathBuf>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut environment = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, value) in variables {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => {
                    environment.insert(name, value);
                }
                Err(_) if environment::matters(&name) => problems.push(Problem {
                    key: name.clone(),
                    what: "not UTF-8".to_owned(),
                    origin: environment::origin_of(&name),
                    fix: "set it to plain text or unset it".to_owned(),
                }),
                Err(_) => {}
            }
        }
        if problems.is_empty() { Ok(Self { file, environment }) } else { Err(ConfigError { problems }) }
    }

    /// Whether neither command line nor environment says anything: then whoever asks means the agent that
    /// is installed on this host.
    pub fn names_nothing(&self) -> bool {
        let names = self.environment.keys().filter(|name| environment::is_ours(name));
        self.file.is_none() && names.count() == 0
    }

    /// A variable's value; an empty one counts as unset.
    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The file to read, and whether it must exist.
    fn file(&self) -> (PathBuf, bool) {
        match (&self.file, self.variable("NIXFLEET_CONFIG")) {
            (Some(file), _) => (file.clone(), true),
            (None, Some(file)) => (PathBuf::from(file), true),
            (None, None) => (PathBuf::from(DEFAULT_FILE), false),
        }
    }
}

impl Config {
    /// Reads and checks all settings.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem that could be found. The caller's exit code is 64.
    pub fn load(source: &Source) -> Result<Self, ConfigError> {
        let (layers, mut problems) =
            layers::Layers::read(source).map_err(|problems| ConfigError { problems })?;
        let mut check = check::Checker::new(&layers, source, &mut problems);
        let connection = validate::connection(&mut check);
        let host = validate::host(&mut check);
        match connection {
            Some(connection) if problems.is_empty() => Ok(Self { connection, host }),
            _ => Err(ConfigError { problems }),
        }
    }
}

impl Host {
    /// What a supervisor has to know of all this.
    pub fn job_settings(&self) -> nixfleet_jobs::Settings {
        nixfleet_jobs::Settings {
            hostname: self.hostname.clone(),
            host_type: self.host_type,
            user: self.user.clone(),
            repo: self.repo.clone(),
            rebuild: self.rebuild.clone(),
            commands: self.commands.clone(),
            reboot: self.reboot,
            state_dir: self.state_dir.clone(),
            dir: self.jobs.dir.clone(),
            log_limit: self.jobs.log_limit,
            stop_grace: self.jobs.stop_grace,
            keep: self.jobs.keep,
            proc: self.paths.proc.clone(),
            current_system: self.paths.current_system.clone(),
        }
    }

    /// What the meters have to know of all this.
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

    /// The agent's own folder within the state folder; the rest is the jobs'.
    pub fn own_dir(&self) -> PathBuf {
        self.state_dir.join("agent")
    }

    /// Reads and checks the settings that meters need: for vitals without a dashboard. Neither a state
    /// folder nor a name that a dashboard would accept is needed for that.
    ///
    /// # Errors
    /// As for [`Config::load`].
    pub fn for_meters(source: &Source) -> Result<Self, ConfigError> {
        let needless = |problem: &Problem| ["hostname", "state_dir"].contains(&problem.key.as_str());
        let (layers, mut problems) =
            layers::Layers::read(source).map_err(|problems| ConfigError { problems })?;
        problems.retain(|problem| !validate::CONNECTION_KEYS.contains(&problem.key.as_str()));
        let host = validate::host(&mut check::Checker::new(&layers, source, &mut problems));
        problems.retain(|problem| !needless(problem));
        if problems.is_empty() { Ok(host) } else { Err(ConfigError { problems }) }
    }

    /// Reads and checks the settings that a job's supervisor needs. What is wrong with the URL, the
    /// token or the interval does not matter to it.
    ///
    /// # Errors
    /// As for [`Config::load`].
    pub fn load(source: &Source) -> Result<Self, ConfigError> {
        let (layers, mut problems) =
            layers::Layers::read(source).map_err(|problems| ConfigError { problems })?;
        problems.retain(|problem| !validate::CONNECTION_KEYS.contains(&problem.key.as_str()));
        let host = validate::host(&mut check::Checker::new(&layers, source, &mut problems));
        if problems.is_empty() { Ok(host) } else { Err(ConfigError { problems }) }
    }
}

/// What is odd about the settings without being wrong, one line each: unknown `NIXFLEET_*` variables
/// (files for older agents may set more than this one reads) and old names.
pub fn warnings(source: &Source) -> Vec<String> {
    environment::warnings(source)
}

/// What jobs in units of their own do not get to see: they read [`DEFAULT_FILE`], not this process's
/// command line and environment. One line each.
pub fn unseen_by_units(source: &Source) -> Vec<String> {
    let (file, named) = source.file();
    let other = (named && file != Path::new(DEFAULT_FILE))
        .then(|| format!("jobs read {DEFAULT_FILE}, not {}; move the settings there", file.display()));
    other.into_iter().chain(environment::unseen_by_units(source)).collect()
}

/// Whether the default file would be read for `source`; `check-config` says which file it looked at.
pub fn file_in_use(source: &Source) -> Option<PathBuf> {
    let (file, named) = source.file();
    (named || Path::new(&file).exists()).then_some(file)
}
