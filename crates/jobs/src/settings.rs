//! What a supervisor has to know of the host's configuration. Whoever starts one fills it in; everything
//! in here has been checked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

/// How commands run on this host, and what they do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Name of the host: in the flake and in the repository's folder of tests.
    pub hostname: String,
    /// `macos` on macOS, else `nixos`.
    pub host_type: &'static str,
    /// Whose home `home-manager` switches; empty when neither set nor known.
    pub user: String,
    /// The checkout of the fleet's configuration.
    pub repo: Repo,
    /// How `switch`, `pull-switch` and `rollback` rebuild.
    pub rebuild: Rebuild,
    /// The operator's own commands by name; none shadows a built-in.
    pub commands: BTreeMap<String, CustomCommand>,
    /// Whether the dashboard may reboot this host.
    pub reboot: bool,
    /// Folder for everything the agent keeps, absolute.
    pub state_dir: PathBuf,
    /// A folder for each job, absolute.
    pub dir: PathBuf,
    /// Size limit of one job's log in bytes; its head and its tail are kept.
    pub log_limit: u64,
    /// Time between SIGTERM and SIGKILL.
    pub stop_grace: Duration,
    /// Folders of finished jobs that are kept.
    pub keep: usize,
    /// procfs.
    pub proc: PathBuf,
    /// Link to the system that runs.
    pub current_system: PathBuf,
}

/// The checkout of the fleet's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo {
    /// Where it is cloned from. Set: the checkout is the agent's own ("isolated mode", T03).
    pub url: Option<String>,
    /// The checkout, absolute. With `url` set there always is one.
    pub dir: Option<PathBuf>,
    /// Branch that is pulled.
    pub branch: String,
    /// Private key for SSH, absolute.
    pub ssh_key: Option<PathBuf>,
}

impl Repo {
    /// [`Repo::url`] without user name and password, either of which may be a secret, and which a
    /// dashboard has no need to know.
    pub fn public_url(&self) -> Option<String> {
        let given = self.url.as_deref()?;
        Some(match Url::parse(given) {
            Ok(mut url) if url.password().is_some() || !url.username().is_empty() => {
                // Both fail only for URLs that cannot have user info, and this one has it.
                let _ = url.set_password(None).is_ok() && url.set_username("").is_ok();
                url.to_string()
            }
            _ => given.to_owned(),
        })
    }
}

/// How a system is rebuilt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuild {
    /// Program and first arguments instead of `nixos-rebuild` (macOS: `home-manager`); not empty.
    pub program: Option<Vec<String>>,
    /// Attribute behind `#` of the flake; the host name by default (macOS: `user@host`).
    pub flake_attr: Option<String>,
    /// Added at the end of every rebuild.
    pub extra_args: Vec<String>,
    /// Value of `--log-format` for every rebuild; without it the option is not given.
    pub log_format: Option<String>,
}

/// A command of the operator's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomCommand {
    /// Run in order until one fails; at least one.
    pub steps: Vec<CustomStep>,
    /// Time for all steps together; none means no limit.
    pub timeout: Option<Duration>,
    /// Whether `stop` may end it.
    pub killable: bool,
    /// Folder it runs in, absolute.
    pub cwd: Option<PathBuf>,
    /// Added to its environment.
    pub env: BTreeMap<String, String>,
    /// For people; may be empty.
    pub description: String,
}

/// One program of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomStep {
    /// Program and arguments, as they are: no shell reads them. Neither list nor program is empty.
    pub argv: Vec<String>,
    /// True if stopping it half-way leaves the system worse than letting it end.
    pub activation: bool,
}
