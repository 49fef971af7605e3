//! The structure of the configuration file for serde: all keys with meaning, unit and default.
//!
//! Values here only have the right type. [`super::validate`] turns them into the validated configuration.
//! Numbers are signed and 64 bits wide, so that the error for `-5` says that it is out of range.

use std::collections::BTreeMap;

use nixfleet_vitals::settings::{DISKS, TEMPERATURES};
use serde::Deserialize;

pub(super) use command::{Command, Step};

mod command;

/// Seconds between heartbeats if nothing is set: dashboards consider a host offline after 90 s, which is three
/// intervals.
pub const DEFAULT_INTERVAL: i64 = 30;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    /// URL of the dashboard, `wss://HOST/ws`. Required. The path defaults to `/ws`, where dashboards listen.
    pub(super) url: Option<String>,
    /// File that holds only the token. Default: `NIXFLEET_TOKEN`, otherwise the systemd credential `token`.
    /// There is no key for the token itself, because the configuration file may be in the Nix store.
    pub(super) token_file: Option<String>,
    /// PEM file with additional trusted certificates. Default: none.
    pub(super) ca_file: Option<String>,
    /// PEM file with the certificate by which the dashboard knows this host, and those between it and its authority.
    /// Default: the systemd credential `client-cert`, otherwise none.
    pub(super) client_cert: Option<String>,
    /// PEM file with the key of that certificate. Default: the systemd credential `client-key`, otherwise none.
    pub(super) client_key: Option<String>,
    /// Proxy for the connection to the dashboard, `http://HOST:PORT`, also `https`, `socks5h`, `socks5`; or `none`.
    /// Default: what the environment says, as curl reads it.
    pub(super) proxy: Option<String>,
    /// File that holds only the login for the proxy, `USER:PASSWORD`. Default: the systemd credential `proxy-login`,
    /// otherwise the login in the address of the proxy.
    pub(super) proxy_login_file: Option<String>,
    /// Seconds between heartbeats, 1 to 3600. Default [`DEFAULT_INTERVAL`].
    pub(super) interval: i64,
    /// Allows `ws://` to other machines, which sends the token unencrypted. Default false.
    pub(super) allow_insecure: bool,
    /// Name of this host for the dashboard. Default: the name from the kernel, up to the first dot.
    pub(super) hostname: Option<String>,
    /// User whose home `home-manager` switches on macOS. Default: `$USER`, otherwise `$LOGNAME`.
    pub(super) user: Option<String>,
    /// Colour of the host in the dashboard. Default: empty, the dashboard chooses.
    pub(super) theme_color: String,
    /// `home`, `work` or `cloud`. Default: empty, not shown.
    pub(super) location: String,
    /// `server`, `desktop`, `laptop` or `gaming`. Default: empty, not shown.
    pub(super) device_type: String,
    /// Version that is reported to the dashboard. Default: that of the agent. Some dashboards call every
    /// version outdated that differs from their own, so it can be set.
    pub(super) reported_version: Option<String>,
    /// Which commit is reported as the generation of the host: `deployed` or `checkout`. Default `deployed`.
    pub(super) generation: String,
    /// Version of nixpkgs that is reported. Default: the version of the running system.
    pub(super) nixpkgs_version: Option<String>,
    /// State folder of the agent. Default: `$STATE_DIRECTORY`; for root `/var/lib/nixfleet-agent`; otherwise
    /// `nixfleet-agent` in `$XDG_STATE_HOME` or `~/.local/state`.
    pub(super) state_dir: Option<String>,
    /// Log level: `off`, `error`, `warn`, `info`, `debug` or `trace`, also `target=level`; separated by
    /// commas. Default `info`: enough to find the cause of a failure afterwards.
    pub(super) log_level: String,
    /// The checkout of the fleet's configuration.
    pub(super) repo: Repo,
    /// How a system is rebuilt.
    pub(super) rebuild: Rebuild,
    /// When a new system is taken back.
    pub(super) rollback: Rollback,
    /// How commands run.
    pub(super) jobs: Jobs,
    /// What must be free before a command.
    pub(super) preflight: Preflight,
    /// What is measured on the host.
    pub(super) vitals: Vitals,
    /// When pre-warm signals are sent.
    pub(super) prewarm: Prewarm,
    /// Whether the host may be rebooted.
    pub(super) reboot: Reboot,
    /// How the agent publishes its metrics.
    pub(super) metrics: Metrics,
    /// Paths of files of the system, for tests and unusual systems.
    pub(super) paths: Paths,
    /// Custom commands, by name.
    pub(super) commands: BTreeMap<String, Command>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            url: None,
            token_file: None,
            ca_file: None,
            client_cert: None,
            client_key: None,
            proxy: None,
            proxy_login_file: None,
            interval: DEFAULT_INTERVAL,
            allow_insecure: false,
            hostname: None,
            user: None,
            theme_color: String::new(),
            location: String::new(),
            device_type: String::new(),
            reported_version: None,
            generation: "deployed".to_owned(),
            nixpkgs_version: None,
            state_dir: None,
            log_level: "info".to_owned(),
            repo: Repo::default(),
            rebuild: Rebuild::default(),
            rollback: Rollback::default(),
            jobs: Jobs::default(),
            preflight: Preflight::default(),
            vitals: Vitals::default(),
            prewarm: Prewarm::default(),
            reboot: Reboot::default(),
            metrics: Metrics::default(),
            paths: Paths::default(),
            commands: BTreeMap::new(),
        }
    }
}

/// `[repo]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Repo {
    /// URL that the checkout is cloned from. If set, the agent owns the checkout and `pull` resets it.
    /// Default: none; `pull` then runs `git pull` in `dir`.
    pub(super) url: Option<String>,
    /// Folder of the checkout. Default: `repo` in the state folder if `url` is set, otherwise none.
    pub(super) dir: Option<String>,
    /// Branch to follow. Default `main`.
    pub(super) branch: String,
    /// File with the private SSH key. Default: the keys that ssh finds.
    pub(super) ssh_key: Option<String>,
    /// Whether submodules are fetched, and are part of the flake. Default false.
    pub(super) submodules: bool,
    /// Whether files in Git LFS are fetched, and are part of the flake. Default false.
    pub(super) lfs: bool,
}

impl Default for Repo {
    fn default() -> Self {
        Self { url: None, dir: None, branch: "main".to_owned(), ssh_key: None, submodules: false, lfs: false }
    }
}

/// `[rebuild]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Rebuild {
    /// Program and first arguments. Default: `nixos-rebuild`, on macOS `home-manager`.
    pub(super) program: Option<Vec<String>>,
    /// Attribute of the flake. Default: the host name, on macOS `user@host`.
    pub(super) flake_attr: Option<String>,
    /// Arguments that are appended. Default: none.
    pub(super) extra_args: Vec<String>,
    /// Value of nix's `--log-format`. Default: the option is not passed.
    pub(super) log_format: Option<String>,
    /// Variables of rebuilds and of `update`, for nix and the programs below it. Default: none.
    pub(super) env: BTreeMap<String, String>,
    /// File with logins for nix, in the format of curl. Default: that of nix's settings.
    pub(super) netrc_file: Option<String>,
    /// File with settings of nix that hold tokens, such as `access-tokens`. Default: none.
    pub(super) access_tokens_file: Option<String>,
}

/// `[rollback]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Rollback {
    /// Seconds from the end of an activation within which the new system must be confirmed, 5 to 3600. Default:
    /// none; a new system is not taken back.
    pub(super) confirm_timeout: Option<i64>,
    /// Seconds for which the connection to the dashboard must hold, 0 to 600. Default 10.
    pub(super) hold: i64,
    /// Programs that must succeed before the new system is confirmed. Default: none.
    pub(super) checks: Vec<Check>,
}

impl Default for Rollback {
    fn default() -> Self {
        Self { confirm_timeout: None, hold: 10, checks: Vec::new() }
    }
}

/// A program that must succeed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a check is a table with `run` and `timeout`")]
pub(super) struct Check {
    /// Program and arguments, passed without a shell.
    pub(super) run: Vec<String>,
    /// Seconds that it may take, 1 to 600. Default 30.
    #[serde(default = "check_timeout")]
    pub(super) timeout: i64,
}

/// Longer than a unit or a page takes to answer on a busy machine.
fn check_timeout() -> i64 {
    30
}

/// `[jobs]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Jobs {
    /// How jobs are started. `direct`: as processes of the agent's user; `systemd`: as units of root. Default
    /// `direct`; the agent's unit sets `systemd`.
    pub(super) launcher: String,
    /// Folder of the jobs. Default: `jobs` in the state folder.
    pub(super) dir: Option<String>,
    /// Size limit of the log of one job, in bytes. Default 64 MiB, a hundred times the log of a long rebuild.
    pub(super) log_limit: i64,
    /// Seconds between SIGTERM and SIGKILL. Default 10: nix needs some seconds to release its locks.
    pub(super) stop_grace: i64,
    /// Number of jobs kept on disk. Default 20, which is some weeks on a typical host.
    pub(super) keep: i64,
}

impl Default for Jobs {
    fn default() -> Self {
        Self { launcher: "direct".to_owned(), dir: None, log_limit: 64 << 20, stop_grace: 10, keep: 20 }
    }
}

/// `[preflight]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Preflight {
    /// Bytes that must be free for the Nix store before a rebuild. Default 256 MiB: with less, a rebuild that fetches
    /// anything fails half-way. 0 turns the check off, as for the other three.
    pub(super) nix_free: i64,
    /// Inodes that must be free for the Nix store before a rebuild. Default 10000: a system has some thousand files
    /// that are not in other ones.
    pub(super) nix_inodes: i64,
    /// Bytes that must be free for the state folder before a pull or a rebuild. Default 64 MiB, the size of a long log.
    pub(super) state_free: i64,
    /// Bytes that must be free on the boot partition before a rebuild. Default: the size of the kernel and the initrd
    /// of the running system.
    pub(super) boot_free: Option<i64>,
}

impl Default for Preflight {
    fn default() -> Self {
        Self { nix_free: 256 << 20, nix_inodes: 10_000, state_free: 64 << 20, boot_free: None }
    }
}

/// `[vitals]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Vitals {
    /// Whether the host is measured at all. Default true. StaSysMo's readings do not depend on it.
    pub(super) enabled: bool,
    /// Mount points whose space is measured. Default `/`, `/nix` and `/boot`: a NixOS host fails when one of
    /// them is full. A folder that is not a mount point is left out, because it is part of another one.
    pub(super) disks: Vec<String>,
    /// Chips whose temperatures are read, by their hwmon `name`. Default: those of processors and NVMe disks.
    /// Other chips are not read by default, because reading some of them keeps a sleeping disk or graphics
    /// card awake.
    pub(super) temperatures: Vec<String>,
}

impl Default for Vitals {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self { enabled: true, disks: words(&DISKS), temperatures: words(&TEMPERATURES) }
    }
}

/// `[prewarm]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Prewarm {
    /// GPU usage in percent above which stress begins. Default 80.
    pub(super) usage: i64,
    /// GPU usage in percent below which stress ends. Default 65.
    pub(super) usage_low: i64,
    /// GPU temperature in degrees Celsius above which stress begins. Default 80.
    pub(super) temperature: i64,
    /// GPU temperature in degrees Celsius below which stress ends. Default 75.
    pub(super) temperature_low: i64,
    /// Seconds over which readings are averaged. Default 15.
    pub(super) window: i64,
    /// Program and arguments that run for each signal. Default: none.
    pub(super) hook: Option<Vec<String>>,
}

impl Default for Prewarm {
    fn default() -> Self {
        Self { usage: 80, usage_low: 65, temperature: 80, temperature_low: 75, window: 15, hook: None }
    }
}

/// `[reboot]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Reboot {
    /// Whether the dashboard may reboot this host. Default false.
    pub(super) enable: bool,
}

/// `[metrics]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Metrics {
    /// Address and port of the page for Prometheus. Default: none; there is no page.
    pub(super) listen: Option<String>,
    /// Allows addresses that other machines can reach. Default false, because the page needs no password.
    pub(super) allow_remote: bool,
}

/// `[paths]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Paths {
    /// Folder of StaSysMo's readings. Default `/dev/shm/stasysmo`, on macOS `/tmp/stasysmo`.
    pub(super) stasysmo: String,
    /// Mount point of procfs. Default `/proc`.
    pub(super) proc: String,
    /// Mount point of sysfs. Default `/sys`.
    pub(super) sys: String,
    /// File or Unix socket where a local program publishes its workload. Default
    /// `/run/nixfleet/workload.json`.
    pub(super) workload: String,
    /// NVIDIA's library. Default, in this order: the path on NixOS, the dynamic loader's search, the path on
    /// WSL.
    pub(super) nvml: Option<String>,
    /// Socket on which the agent answers `status`. Default: `status.sock` in `$RUNTIME_DIRECTORY`, otherwise
    /// in `agent` in the state folder.
    pub(super) status: Option<String>,
    /// systemd's runtime folder. Default `/run/systemd`.
    pub(super) systemd: String,
    /// Symbolic link to the running system. Default `/run/current-system`.
    pub(super) current_system: String,
    /// Symbolic link to the booted system. Default `/run/booted-system`.
    pub(super) booted_system: String,
    /// The profile of the system. Default `/nix/var/nix/profiles/system`.
    pub(super) system_profile: String,
    /// The lock that is held while a system is activated. Default `/run/nixos/switch-to-configuration.lock`.
    pub(super) switch_lock: String,
    /// Mount point of the boot partition. Default `/boot`.
    pub(super) boot: String,
    /// Mount point of the control groups. Default `/sys/fs/cgroup`.
    pub(super) cgroups: String,
    /// os-release(5); on macOS a property list. Default `/etc/os-release`, on macOS
    /// `/System/Library/CoreServices/SystemVersion.plist`.
    pub(super) os_release: String,
}

impl Default for Paths {
    fn default() -> Self {
        let (stasysmo, version) = if cfg!(target_os = "macos") {
            ("/tmp/stasysmo", "/System/Library/CoreServices/SystemVersion.plist")
        } else {
            ("/dev/shm/stasysmo", "/etc/os-release")
        };
        Self {
            stasysmo: stasysmo.to_owned(),
            proc: "/proc".to_owned(),
            sys: "/sys".to_owned(),
            workload: "/run/nixfleet/workload.json".to_owned(),
            nvml: None,
            status: None,
            systemd: "/run/systemd".to_owned(),
            current_system: "/run/current-system".to_owned(),
            booted_system: "/run/booted-system".to_owned(),
            system_profile: "/nix/var/nix/profiles/system".to_owned(),
            switch_lock: "/run/nixos/switch-to-configuration.lock".to_owned(),
            boot: "/boot".to_owned(),
            cgroups: "/sys/fs/cgroup".to_owned(),
            os_release: version.to_owned(),
        }
    }
}
