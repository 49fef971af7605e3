//! The agent that is meant.

use std::collections::BTreeMap;
use std::path::Path;

use nixfleet_config::{Config, ConfigError, Connection, Host, LauncherKind, Source};

use super::unit::{self, Unit};
use super::{Finding, ok, warning};

/// The agent's unit.
pub(super) const AGENT_UNIT: &str = "nixfleet-agent.service";

/// The template of the units of jobs.
pub(super) const JOB_UNIT: &str = "nixfleet-job@.service";

/// Where the service manager looks for programs when a unit says nothing (systemd.exec(5)).
const UNIT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An agent's settings and units.
#[derive(Debug, Clone)]
pub struct Subject {
    pub(super) host: Host,
    pub(super) connection: Connection,
    /// The unit of the agent that is installed, if that is the one that is meant.
    pub(super) agent_unit: Option<Unit>,
    pub(super) job_unit: Option<Unit>,
    /// Whether everything may be looked at.
    pub(super) is_root: bool,
    warnings: Vec<String>,
    origin: String,
}

impl Subject {
    /// Whom the caller means: with a file or variables of the caller's own an agent with those; without
    /// any, the agent that is installed here, with what its unit sets.
    ///
    /// # Errors
    /// As for [`Config::load`].
    pub fn find(source: &Source) -> Result<Self, ConfigError> {
        let installed = source.names_nothing();
        let agent_unit = if installed { unit::find(AGENT_UNIT) } else { None };
        let job_unit = if installed { unit::find(JOB_UNIT) } else { None };
        let mut source = source.clone();
        if let Some(unit) = &agent_unit {
            let missing = |(name, value): (&String, &String)| (name.clone(), value.clone());
            let given = unit.environment.iter().filter(|(name, _)| !source.environment.contains_key(*name));
            let given: BTreeMap<String, String> = given.map(missing).collect();
            // The PATH of the agent is no setting, and systemctl is to be found further on.
            source.environment.extend(given.into_iter().filter(|(name, _)| name.starts_with("NIXFLEET_")));
        }
        let config = load(&mut source, agent_unit.as_ref())?;
        let mut warnings = nixfleet_config::warnings(&source);
        if config.host.jobs.launcher == LauncherKind::Systemd {
            warnings.extend(nixfleet_config::unseen_by_units(&source));
        }
        let file = nixfleet_config::file_in_use(&source).map(|file| file.display().to_string());
        let from_unit = agent_unit.is_some().then(|| AGENT_UNIT.to_owned());
        let variables = source.environment.keys().any(|name| name.starts_with("NIXFLEET_"));
        let variables = (variables && from_unit.is_none()).then(|| "variables".to_owned());
        let origin: Vec<String> = file.into_iter().chain(from_unit).chain(variables).collect();
        Ok(Self {
            host: config.host,
            connection: config.connection,
            agent_unit,
            job_unit,
            is_root: rustix::process::geteuid().is_root(),
            warnings,
            origin: origin.join(" and "),
        })
    }

    /// What there is to say of the settings.
    pub(super) fn findings(&self) -> Vec<Finding> {
        // A query may be a secret.
        let url = &self.connection.url[..url::Position::AfterPath];
        let Host { hostname, .. } = &self.host;
        let text = format!("{hostname} reports to {url} (from {})", self.origin);
        let odd = self.warnings.iter().map(|line| {
            let (text, fix) = line.split_once("; ").unwrap_or((line, ""));
            warning("configuration", text, fix.trim_end_matches('.'))
        });
        std::iter::once(ok("configuration", text)).chain(odd).collect()
    }

    /// Whether jobs are units of root's.
    pub(super) fn jobs_are_units(&self) -> bool {
        self.host.jobs.launcher == LauncherKind::Systemd
    }

    /// Where jobs look for programs.
    pub(super) fn jobs_path(&self) -> String {
        if !self.jobs_are_units() {
            return std::env::var("PATH").unwrap_or_default();
        }
        let set = self.job_unit.as_ref().and_then(|unit| unit.environment.get("PATH"));
        set.cloned().unwrap_or_else(|| UNIT_PATH.to_owned())
    }

    /// What jobs have in their environment that matters to git: proxies, for example.
    pub(super) fn jobs_environment(&self) -> BTreeMap<String, String> {
        let mut environment = self.job_unit.as_ref().map(|unit| unit.environment.clone()).unwrap_or_default();
        let home = if self.jobs_are_units() { Some("/root".to_owned()) } else { std::env::var("HOME").ok() };
        if let Some(home) = home {
            environment.entry("HOME".to_owned()).or_insert(home);
        }
        environment.insert("PATH".to_owned(), self.jobs_path());
        environment
    }

    /// Whether jobs have rights that who asks has not: what they see cannot be seen then.
    pub(super) fn jobs_see_more(&self) -> bool {
        self.jobs_are_units() && !self.is_root
    }
}

/// The settings; the token of a unit is a credential, whose file only the unit names.
fn load(source: &mut Source, unit: Option<&Unit>) -> Result<Config, ConfigError> {
    let err = match Config::load(source) {
        Ok(config) => return Ok(config),
        Err(err) => err,
    };
    let credential = unit.and_then(|unit| unit.credentials.get("token")).map(|path| absolute(path));
    match credential {
        Some(path) if err.problems().iter().any(|problem| problem.key == "token") => {
            source.environment.insert("NIXFLEET_TOKEN_FILE".to_owned(), path);
            Config::load(source)
        }
        _ => Err(err),
    }
}

/// A relative name is one in systemd's folders of credentials (systemd.exec(5)).
fn absolute(path: &Path) -> String {
    Path::new("/etc/credstore").join(path).display().to_string()
}
