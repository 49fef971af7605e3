//! The part of the host's configuration that a supervisor needs. The caller fills it in with validated
//! values.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use nixfleet_os::address::Address;

use crate::secrets::Secrets;

/// How commands run on this host, and what they do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Name of the host, as in the flake and in `hosts/<name>/tests` of the repository.
    pub hostname: String,
    /// `macos` on macOS, otherwise `nixos`.
    pub host_type: &'static str,
    /// User whose home `home-manager` switches; empty if it is neither set nor known.
    pub user: String,
    /// The checkout of the fleet's configuration.
    pub repo: Repo,
    /// How `switch`, `pull-switch`, `boot` and `rollback` rebuild.
    pub rebuild: Rebuild,
    /// When a new system is taken back.
    pub rollback: Rollback,
    /// Custom commands by name. None has the name of a built-in command.
    pub commands: BTreeMap<String, CustomCommand>,
    /// Whether the dashboard may reboot this host.
    pub reboot: bool,
    /// State folder of the agent, absolute.
    pub state_dir: PathBuf,
    /// Folder with the job folders, absolute.
    pub dir: PathBuf,
    /// Size limit of the log of one job, in bytes. The beginning and the end of the log are kept.
    pub log_limit: u64,
    /// Whether each job has a unit of the service manager for itself, which no switch restarts.
    pub own_units: bool,
    /// Time between SIGTERM and SIGKILL.
    pub stop_grace: Duration,
    /// Number of job folders that are kept.
    pub keep: usize,
    /// What each job says about its settings at the beginning of its log: that they are not those of the file, for
    /// example.
    pub remarks: Vec<String>,
    /// Mount point of procfs.
    pub proc: PathBuf,
    /// Where the system is found.
    pub system: SystemPaths,
    /// What must be free before a command.
    pub preflight: FreeSpace,
}

/// What must be free on the file systems that a command needs, before it begins. 0 turns a check off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeSpace {
    /// Bytes for the Nix store.
    pub nix_bytes: u64,
    /// Inodes for the Nix store.
    pub nix_inodes: u64,
    /// Bytes for the state folder, in which the checkout and the logs are.
    pub state_bytes: u64,
    /// Bytes for the boot partition. Default: as many as the kernel and the initrd of the running system have.
    pub boot_bytes: Option<u64>,
}

/// Where NixOS and systemd have what belongs to the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemPaths {
    /// Symbolic link to the running system: `/run/current-system`.
    pub running: PathBuf,
    /// The profile of the system: `/nix/var/nix/profiles/system`.
    pub profile: PathBuf,
    /// The lock that is held while a system is activated: `/run/nixos/switch-to-configuration.lock`.
    pub lock: PathBuf,
    /// Mount point of the boot partition: `/boot`.
    pub boot: PathBuf,
    /// The variables of the firmware: `/sys/firmware/efi/efivars`. It does not exist without UEFI.
    pub efi_variables: PathBuf,
    /// Mount point of the control groups: `/sys/fs/cgroup`.
    pub cgroups: PathBuf,
    /// systemd's runtime folder: `/run/systemd`.
    pub systemd: PathBuf,
}

/// The checkout of the fleet's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo {
    /// URL that it is cloned from. If set, the agent owns the checkout ("isolated mode").
    pub url: Option<Address<String>>,
    /// Folder of the checkout, absolute. Always set if `url` is set.
    pub dir: Option<PathBuf>,
    /// Branch that is pulled.
    pub branch: String,
    /// Private key for SSH, absolute.
    pub ssh_key: Option<PathBuf>,
    /// Submodules are fetched, and are part of the flake.
    pub submodules: bool,
    /// Files in Git LFS are fetched, and are part of the flake.
    pub lfs: bool,
}

impl Repo {
    /// [`Repo::url`] without login and query, either of which may be a secret.
    pub fn public_url(&self) -> Option<String> {
        self.url.as_ref().map(Address::to_string)
    }
}

/// How a system is rebuilt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuild {
    /// Program and first arguments, not empty. Default: `nixos-rebuild` (macOS: `home-manager`).
    pub program: Option<Vec<String>>,
    /// Attribute of the flake, after `#`. Default: the host name (macOS: `user@host`).
    pub flake_attr: Option<String>,
    /// Arguments that are appended to every rebuild.
    pub extra_args: Vec<String>,
    /// Value of `--log-format` for every rebuild. Default: the option is not passed.
    pub log_format: Option<String>,
    /// Variables of rebuilds and of `update`, which may be secret.
    pub env: Secrets,
    /// File with logins for nix, as of curl, absolute.
    pub netrc_file: Option<PathBuf>,
    /// File with settings of nix that hold tokens, absolute.
    pub access_tokens_file: Option<PathBuf>,
}

/// When a new system is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollback {
    /// Time from the end of an activation within which the new system must be confirmed. Default: none; a new system
    /// is not taken back.
    pub confirm_timeout: Option<Duration>,
    /// How long the connection to the dashboard must hold.
    pub hold: Duration,
    /// Programs that must succeed as well, all of them.
    pub checks: Vec<Check>,
}

/// A program that must succeed before a new system is confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Program and arguments, passed without a shell. Neither the list nor the program is empty.
    pub argv: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
}

/// A custom command of the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomCommand {
    /// Programs that run in order until one fails; not empty.
    pub steps: Vec<CustomStep>,
    /// Time limit for all steps together. Default: no limit.
    pub timeout: Option<Duration>,
    /// Whether `stop` may end the command.
    pub killable: bool,
    /// Working directory, absolute.
    pub cwd: Option<PathBuf>,
    /// Variables that are added to the environment.
    pub env: BTreeMap<String, String>,
    /// Description for people; may be empty.
    pub description: String,
}

/// One program of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomStep {
    /// Program and arguments, passed without a shell. Neither the list nor the program is empty.
    pub argv: Vec<String>,
    /// True if stopping the program half-way does more harm than letting it finish.
    pub activation: bool,
}
