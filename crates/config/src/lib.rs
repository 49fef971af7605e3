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
//! proxy.rs        the way to the dashboard: direct, or through a proxy
//! ca_file.rs      certificates to trust in addition
//! pem_content.rs  what a file holds that should be in PEM
//! client_certificate.rs  the certificate by which the dashboard knows this host, and its key
//! folders.rs      checks the folders that the settings name
//! host.rs         this host and what may be done on it     (typed values)
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

use std::path::{Path, PathBuf};
use std::time::Duration;

use nixfleet_os::address::Address;
use url::Url;

use connection::Depth;

mod ca_file;
mod check;
mod client_certificate;
mod connection;
mod custom;
mod environment;
pub mod environment_file;
mod file;
mod folders;
mod host;
mod hostname;
mod keys;
mod last_good;
mod layers;
mod log_level;
mod loopback;
mod metrics;
mod names;
mod pem_content;
mod problem;
mod proxy;
mod proxy_variables;
mod rollback;
mod secret;
mod source;
mod start;
mod syntax;
mod token;
mod validate;

pub use ca_file::{CaFileError, certificates};
pub use client_certificate::{
    ClientCertificate, ClientCertificateError, ClientCertificateFiles, EXPIRES_SOON, Remark, RemarkKind,
};
pub use connection::{ABSENT, INTERVAL};
pub use file::DEFAULT_INTERVAL;
pub use host::{GenerationSource, Host, Jobs, LauncherKind, Metrics, Paths, Prewarm, Vitals};
pub use hostname::near_hostname;
pub use last_good::Proof;
pub use log_level::LOG_TARGETS;
pub use nixfleet_jobs::settings::{Check, CustomCommand, CustomStep, FreeSpace, Rebuild, Repo, Rollback};
pub use problem::{ConfigError, Problem};
pub use proxy::{
    Direct, LOGIN_CREDENTIAL, LoginSource, Proxy, ProxyLogin, ProxyLoginError, ProxyScheme, Way,
};
pub use proxy_variables::is_proxy_variable;
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
    /// Where the client certificate is, if there is one. It is read again for every connection attempt.
    pub client_certificate: Option<ClientCertificateFiles>,
    /// Direct, or through a proxy. It also counts for an address that the dashboard redirects to, which has the same
    /// host.
    pub way: Way,
    /// Time between heartbeats: whole seconds, 1 to 3600.
    pub interval: Duration,
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
