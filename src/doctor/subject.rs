//! The examined agent.

use std::collections::BTreeMap;

use nixfleet_config::{
    Config, ConfigError, Connection, Host, LOGIN_CREDENTIAL, LastGood, LauncherKind, Problem, Source,
    Started, VARIABLE_PREFIX, is_proxy_variable,
};

use super::{Finding, ok, warning, warning_of_line, wrong_setting};
use crate::unit::{self, AGENT_UNIT, Unit};

/// Name of the template unit of jobs.
pub(super) const JOB_UNIT: &str = "nixfleet-job@.service";

/// The variable that names the file with the token.
const TOKEN_FILE: &str = "NIXFLEET_TOKEN_FILE";

/// The credentials of the client certificate: each with the variable of its setting, and the key of that.
const CLIENT_CERTIFICATE: [(&str, &str, &str); 2] = [
    ("client-cert", "NIXFLEET_CLIENT_CERT", "client_cert"),
    ("client-key", "NIXFLEET_CLIENT_KEY", "client_key"),
];

/// Default PATH of units (systemd.exec(5)).
const UNIT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Settings and units of the examined agent.
#[derive(Debug, Clone)]
pub struct Subject {
    pub(super) host: Host,
    pub(super) connection: Connection,
    /// The unit of the installed agent, if that agent is examined.
    pub(super) agent_unit: Option<Unit>,
    pub(super) job_unit: Option<Unit>,
    /// Whether the caller is root and may read everything.
    pub(super) is_root: bool,
    /// The settings file is wrong; these settings are those that the agent last started with.
    pub(super) last_good: Option<LastGood>,
    warnings: Vec<String>,
    origin: String,
}

impl Subject {
    /// Finds the agent to examine. If the caller names a file or sets variables, it is an agent with these
    /// settings; otherwise the installed agent, with the settings of its unit.
    ///
    /// # Errors
    /// When the configuration is wrong, as for [`Config::load`], and there are no settings of an earlier start.
    pub fn find(source: &Source) -> Result<Self, ConfigError> {
        let job_unit = if source.means_installed() { unit::find(JOB_UNIT) } else { None };
        let installed = Installed::load(source, Config::last_good)?;
        let Installed { source, unit: agent_unit, config, mut warnings } = installed;
        let Started { config, last_good, .. } = config;
        warnings.extend(config.warnings);
        if config.host.jobs.launcher == LauncherKind::Systemd {
            warnings.extend(nixfleet_config::unseen_by_units(&source));
        }
        let file = nixfleet_config::file_in_use(&source).map(|file| file.display().to_string());
        let from_unit = agent_unit.is_some().then(|| AGENT_UNIT.to_owned());
        let variables = source.environment.keys().any(|name| name.starts_with(VARIABLE_PREFIX));
        let variables = (variables && from_unit.is_none()).then(|| "variables".to_owned());
        let origin: Vec<String> = file.into_iter().chain(from_unit).chain(variables).collect();
        Ok(Self {
            host: config.host,
            connection: config.connection,
            agent_unit,
            job_unit,
            is_root: rustix::process::geteuid().is_root(),
            last_good,
            warnings,
            origin: origin.join(" and "),
        })
    }

    /// Findings about the settings.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let Host { hostname, .. } = &self.host;
        if let Some(used) = &self.last_good {
            let wrong = used.problems.iter().map(wrong_setting);
            let instead = format!(
                "{hostname} reports to {}, with the settings that were accepted at {}: the agent uses them",
                self.connection.url, used.accepted_at
            );
            let instead = warning("configuration", instead, "the checks below are about these settings");
            return wrong.chain([instead]).collect();
        }
        let text = format!("{hostname} reports to {} (from {})", self.connection.url, self.origin);
        let warnings = self.warnings.iter().map(|line| warning_of_line("configuration", line));
        std::iter::once(ok("configuration", text)).chain(warnings).collect()
    }

    /// Whether jobs run as units, and so as root.
    pub(super) fn jobs_are_units(&self) -> bool {
        self.host.jobs.launcher == LauncherKind::Systemd
    }

    /// The PATH of jobs.
    pub(super) fn jobs_path(&self) -> String {
        if !self.jobs_are_units() {
            return std::env::var("PATH").unwrap_or_default();
        }
        let set = self.job_unit.as_ref().and_then(|unit| unit.environment.get("PATH"));
        set.cloned().unwrap_or_else(|| UNIT_PATH.to_owned())
    }

    /// The part of a job's environment that matters to git, such as proxies.
    pub(super) fn jobs_environment(&self) -> BTreeMap<String, String> {
        let mut environment = match &self.job_unit {
            Some(unit) => {
                let mut variables = unit.manager.clone();
                variables.extend(unit.environment.clone());
                variables
            }
            None => BTreeMap::new(),
        };
        let home = if self.jobs_are_units() { Some("/root".to_owned()) } else { std::env::var("HOME").ok() };
        if let Some(home) = home {
            environment.entry("HOME".to_owned()).or_insert(home);
        }
        environment.insert("PATH".to_owned(), self.jobs_path());
        environment
    }

    /// Whether jobs have more rights than the caller, who then cannot check what they can access.
    pub(super) fn jobs_see_more(&self) -> bool {
        self.jobs_are_units() && !self.is_root
    }
}

/// Settings, and the unit that they are from.
#[derive(Debug)]
pub struct Installed<C> {
    /// The settings of the caller, and those of the unit.
    pub source: Source,
    /// The unit of the installed agent, unless the caller means another agent.
    pub(crate) unit: Option<Unit>,
    /// What `load` made of them.
    pub config: C,
    /// What this user could not find out about the settings of the unit.
    pub warnings: Vec<String>,
}

impl<C> Installed<C> {
    /// Loads the settings of the installed agent, with the variables and the token of its unit, unless the caller names
    /// another file or sets variables.
    ///
    /// # Errors
    /// Those of `load`.
    pub fn load(source: &Source, load: fn(&Source) -> Result<C, ConfigError>) -> Result<Self, ConfigError> {
        let unit = if source.means_installed() { unit::find(AGENT_UNIT) } else { None };
        let mut source = source.clone();
        let mut unread = Vec::new();
        if let Some(unit) = &unit {
            let variables;
            (variables, unread) = unit.variables();
            // Only settings: the PATH of this process must stay, or it would no longer find systemctl.
            // The proxies of this process are those of somebody's shell.
            source.environment.retain(|name, _| !is_proxy_variable(name));
            let counts = |name: &str| name.starts_with(VARIABLE_PREFIX) || is_proxy_variable(name);
            for (name, value) in variables.into_iter().filter(|(name, _)| counts(name)) {
                // The caller's own log level counts.
                source.environment.entry(name).or_insert(value);
            }
            unread.extend(encrypted(unit));
            if let Some((path, _)) = unit.content(AGENT_UNIT, LOGIN_CREDENTIAL) {
                let name = "NIXFLEET_PROXY_LOGIN_FILE".to_owned();
                source.environment.entry(name).or_insert_with(|| path.display().to_string());
            }
            for (credential, variable, _) in CLIENT_CERTIFICATE {
                let Some((path, _)) = unit.content(AGENT_UNIT, credential) else { continue };
                source.environment.entry(variable.to_owned()).or_insert_with(|| path.display().to_string());
            }
        }
        let origin = format!("LoadCredential= of {AGENT_UNIT}");
        let load = |source: &Source| {
            load(source).map_err(|err| match &unit {
                Some(unit) => with_origin(err, unit, &origin),
                None => err,
            })
        };
        let config = match load(&source) {
            Ok(config) => config,
            Err(err) => {
                // The token of a unit is a credential. Its path is only in the unit.
                let credential = unit.as_ref().and_then(|unit| unit.content(AGENT_UNIT, "token"));
                let is_missing = err.problems().iter().any(|problem| problem.key == "token");
                let Some((path, setting)) = credential.filter(|_| is_missing) else {
                    return Err(err.with(unread));
                };
                let origin = format!("{setting} of {AGENT_UNIT}");
                source.environment.insert(TOKEN_FILE.to_owned(), path.display().to_string());
                match load(&source) {
                    Ok(config) => config,
                    Err(err) => return Err(err.called(TOKEN_FILE, "token", &origin).with(unread)),
                }
            }
        };
        let warnings = unread.iter().map(Problem::to_string).collect();
        Ok(Self { source, unit, config, warnings })
    }

    /// The name of the unit, if the settings are those of the installed agent.
    pub fn of_unit(&self) -> Option<&'static str> {
        self.unit.as_ref().map(|_| AGENT_UNIT)
    }
}

/// What to say of the encrypted credentials whose content this user cannot look at.
fn encrypted(unit: &Unit) -> Vec<Problem> {
    let names = ["token", LOGIN_CREDENTIAL].into_iter().chain(CLIENT_CERTIFICATE.map(|(name, ..)| name));
    let unseen = names.filter_map(|name| {
        let (path, setting) = unit.content(AGENT_UNIT, name)?;
        (unit.encrypted.contains_key(name) && std::fs::metadata(path).is_err()).then(|| Problem {
            key: name.to_owned(),
            what: "is encrypted in the unit, so its content cannot be read here".to_owned(),
            origin: format!("{setting} of {AGENT_UNIT}"),
            fix: "run it as root while the agent runs".to_owned(),
        })
    });
    unseen.collect()
}

/// Names the line of the unit, instead of the variable, where the client certificate is a credential.
fn with_origin(err: ConfigError, unit: &Unit, origin: &str) -> ConfigError {
    CLIENT_CERTIFICATE
        .iter()
        .filter(|(credential, variable, _)| {
            unit.content(AGENT_UNIT, credential).is_some() && !unit.environment.contains_key(*variable)
        })
        .fold(err, |err, (_, variable, key)| err.called(variable, key, origin))
}
