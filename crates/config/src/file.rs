//! The configuration file as serde sees it: every key, its meaning, its unit, its default.
//!
//! Values here are only of the right type. [`super::validate`] makes the typed configuration of them.
//! Numbers are signed and wide, so that `-5` is told off for being negative and not for its type.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What a key holds. Decides how a variable's text is read and how a wrong type is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Seconds,
    Bytes,
    Count,
    Percent,
    Degrees,
    Flag,
    Words,
    Steps,
    Table,
}

impl Kind {
    /// As in "is not ..".
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Seconds => "a whole number of seconds",
            Self::Bytes => "a whole number of bytes",
            Self::Count => "a whole number",
            Self::Percent => "a whole number of percent",
            Self::Degrees => "a whole number of degrees Celsius",
            Self::Flag => "true or false",
            Self::Words => "a list of words",
            Self::Steps => "a list of steps",
            Self::Table => "a table",
        }
    }
}

/// A key of the file.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    /// A value that works, as one would write it into the file.
    pub(super) example: &'static str,
}

const fn key(path: &'static str, kind: Kind, example: &'static str) -> Key {
    Key { path, kind, example }
}

/// Every key; `*` stands for a command's name. A test holds this against the structs below.
pub(super) const KEYS: &[Key] = &[
    key("url", Kind::Text, "\"wss://fleet.example.org/ws\""),
    key("token_file", Kind::Text, "\"/run/secrets/nixfleet-token\""),
    key("ca_file", Kind::Text, "\"/etc/ssl/fleet-ca.pem\""),
    key("interval", Kind::Seconds, "30"),
    key("allow_insecure", Kind::Flag, "false"),
    key("hostname", Kind::Text, "\"web-1\""),
    key("user", Kind::Text, "\"alice\""),
    key("theme_color", Kind::Text, "\"#7aa2f7\""),
    key("location", Kind::Text, "\"home\""),
    key("device_type", Kind::Text, "\"server\""),
    key("reported_version", Kind::Text, "\"3.0.0\""),
    key("nixpkgs_version", Kind::Text, "\"26.05.20260714.7beb50e\""),
    key("state_dir", Kind::Text, "\"/var/lib/nixfleet-agent\""),
    key("log_level", Kind::Text, "\"info\""),
    key("repo.url", Kind::Text, "\"https://git.example.org/fleet.git\""),
    key("repo.dir", Kind::Text, "\"/var/lib/nixfleet-agent/repo\""),
    key("repo.branch", Kind::Text, "\"main\""),
    key("repo.ssh_key", Kind::Text, "\"/run/secrets/fleet-key\""),
    key("rebuild.program", Kind::Words, "[\"nixos-rebuild\"]"),
    key("rebuild.flake_attr", Kind::Text, "\"web-1\""),
    key("rebuild.extra_args", Kind::Words, "[\"--impure\"]"),
    key("rebuild.log_format", Kind::Text, "\"internal-json\""),
    key("jobs.launcher", Kind::Text, "\"systemd\""),
    key("jobs.dir", Kind::Text, "\"/var/lib/nixfleet-agent/jobs\""),
    key("jobs.log_limit", Kind::Bytes, "67108864"),
    key("jobs.stop_grace", Kind::Seconds, "10"),
    key("jobs.keep", Kind::Count, "20"),
    key("vitals.enabled", Kind::Flag, "true"),
    key("vitals.disks", Kind::Words, "[\"/\", \"/nix\"]"),
    key("vitals.temperatures", Kind::Words, "[\"coretemp\"]"),
    key("prewarm.usage", Kind::Percent, "80"),
    key("prewarm.usage_low", Kind::Percent, "65"),
    key("prewarm.temperature", Kind::Degrees, "80"),
    key("prewarm.temperature_low", Kind::Degrees, "75"),
    key("prewarm.window", Kind::Seconds, "15"),
    key("prewarm.hook", Kind::Words, "[\"/run/current-system/sw/bin/unload-model\"]"),
    key("reboot.enable", Kind::Flag, "false"),
    key("metrics.listen", Kind::Text, "\"127.0.0.1:9464\""),
    key("metrics.allow_remote", Kind::Flag, "false"),
    key("paths.stasysmo", Kind::Text, "\"/dev/shm/stasysmo\""),
    key("paths.proc", Kind::Text, "\"/proc\""),
    key("paths.sys", Kind::Text, "\"/sys\""),
    key("paths.workload", Kind::Text, "\"/run/nixfleet/workload.json\""),
    key("paths.nvml", Kind::Text, "\"/run/opengl-driver/lib/libnvidia-ml.so.1\""),
    key("paths.status", Kind::Text, "\"/run/nixfleet-agent/status.sock\""),
    key("paths.systemd", Kind::Text, "\"/run/systemd\""),
    key("paths.current_system", Kind::Text, "\"/run/current-system\""),
    key("paths.booted_system", Kind::Text, "\"/run/booted-system\""),
    key("paths.os_release", Kind::Text, "\"/etc/os-release\""),
    key("commands.*.run", Kind::Words, "[\"restic\", \"backup\", \"/home\"]"),
    key("commands.*.steps", Kind::Steps, "[[\"nix\", \"flake\", \"update\"], [\"git\", \"commit\", \"-a\"]]"),
    key("commands.*.timeout", Kind::Seconds, "600"),
    key("commands.*.killable", Kind::Flag, "true"),
    key("commands.*.activation", Kind::Flag, "false"),
    key("commands.*.cwd", Kind::Text, "\"/srv\""),
    key("commands.*.env", Kind::Table, "{ LANG = \"C.UTF-8\" }"),
    key("commands.*.description", Kind::Text, "\"Back up /home\""),
];

/// The key at a path such as `["commands", "backup", "run"]`.
pub(super) fn find(path: &[String]) -> Option<&'static Key> {
    KEYS.iter().find(|key| {
        let mut parts = key.path.split('.');
        path.iter().all(|given| parts.next().is_some_and(|part| part == "*" || part == given))
            && parts.next().is_none()
    })
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    /// The dashboard, `wss://HOST/ws`. No default: there is none to guess. Without a path (or with
    /// `/`) it means `/ws`, where dashboards listen.
    pub(super) url: Option<String>,
    /// File that holds the token and nothing else. Default: `NIXFLEET_TOKEN`, else the systemd
    /// credential `token`. The token itself has no key: this file ends up in the Nix store.
    pub(super) token_file: Option<String>,
    /// PEM file of certificates to trust besides the system's. Default: none.
    pub(super) ca_file: Option<String>,
    /// Seconds between heartbeats, 1 to 3600. Default 30 (T02): a host counts as offline after
    /// three of them, so 90 s.
    pub(super) interval: i64,
    /// Allows `ws://` to other machines, which shows the token to the network. Default false.
    pub(super) allow_insecure: bool,
    /// Name of this host for the dashboard. Default: the kernel's, up to the first dot.
    pub(super) hostname: Option<String>,
    /// Whose home `home-manager` switches on macOS. Default: `$USER`, else `$LOGNAME`.
    pub(super) user: Option<String>,
    /// Colour of the host in the dashboard. Default: empty, the dashboard chooses.
    pub(super) theme_color: String,
    /// `home`, `work` or `cloud`. Default: empty, not shown.
    pub(super) location: String,
    /// `server`, `desktop`, `laptop` or `gaming`. Default: empty, not shown.
    pub(super) device_type: String,
    /// Version told to the dashboard. Default: the agent's own. A setting, because some dashboards
    /// call every version outdated that is not theirs.
    pub(super) reported_version: Option<String>,
    /// Told instead of the version that the running system names. Default: that one.
    pub(super) nixpkgs_version: Option<String>,
    /// Folder for everything the agent keeps. Default: `$STATE_DIRECTORY`; for root
    /// `/var/lib/nixfleet-agent`; else `nixfleet-agent` in `$XDG_STATE_HOME` or `~/.local/state`.
    pub(super) state_dir: Option<String>,
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`, also `target=level`, joined by commas.
    /// Default `info`: what an operator wants to find after a bad night.
    pub(super) log_level: String,
    /// The checkout of the fleet's configuration.
    pub(super) repo: Repo,
    /// How a system is rebuilt.
    pub(super) rebuild: Rebuild,
    /// How commands run.
    pub(super) jobs: Jobs,
    /// What is measured on the host.
    pub(super) vitals: Vitals,
    /// When pre-warm signals are given.
    pub(super) prewarm: Prewarm,
    /// What the agent shows of itself.
    pub(super) reboot: Reboot,
    pub(super) metrics: Metrics,
    /// Where the system's own files are. For tests and odd systems.
    pub(super) paths: Paths,
    /// Commands of the operator's own, by name.
    pub(super) commands: BTreeMap<String, Command>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            url: None,
            token_file: None,
            ca_file: None,
            interval: 30,
            allow_insecure: false,
            hostname: None,
            user: None,
            theme_color: String::new(),
            location: String::new(),
            device_type: String::new(),
            reported_version: None,
            nixpkgs_version: None,
            state_dir: None,
            log_level: "info".to_owned(),
            repo: Repo::default(),
            rebuild: Rebuild::default(),
            jobs: Jobs::default(),
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
    /// Where the checkout is cloned from; then it is the agent's own and `pull` resets it. Default:
    /// none, `pull` runs `git pull` in `dir`.
    pub(super) url: Option<String>,
    /// The checkout. Default: `repo` in the state folder if `url` is set, else none.
    pub(super) dir: Option<String>,
    /// Branch to follow. Default `main`.
    pub(super) branch: String,
    /// Private SSH key. Default: whatever ssh finds.
    pub(super) ssh_key: Option<String>,
}

impl Default for Repo {
    fn default() -> Self {
        Self { url: None, dir: None, branch: "main".to_owned(), ssh_key: None }
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
    /// Arguments added at the end. Default: none.
    pub(super) extra_args: Vec<String>,
    /// `--log-format` of nix. Default: none is given.
    pub(super) log_format: Option<String>,
}

/// `[jobs]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Jobs {
    /// `direct`: a process of the agent's own user; `systemd`: a unit of root's. Default `direct`; the
    /// agent's unit sets `systemd`.
    pub(super) launcher: String,
    /// Folder of the jobs. Default: `jobs` in the state folder.
    pub(super) dir: Option<String>,
    /// Bytes of log kept for a job. Default 64 MiB, a hundred times a long rebuild's.
    pub(super) log_limit: i64,
    /// Seconds between SIGTERM and SIGKILL. Default 10: Nix needs a few to give up its locks.
    pub(super) stop_grace: i64,
    /// Finished jobs kept on disk. Default 20, some weeks of a usual host.
    pub(super) keep: i64,
}

impl Default for Jobs {
    fn default() -> Self {
        Self { launcher: "direct".to_owned(), dir: None, log_limit: 64 << 20, stop_grace: 10, keep: 20 }
    }
}

/// `[vitals]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Vitals {
    /// Whether the host is measured at all. Default true. StaSysMo's readings do not depend on it.
    pub(super) enabled: bool,
    /// Mount points whose space is measured. Default `/`, `/nix` and `/boot`, the three that stop a
    /// NixOS host when they are full. What is not a mount point is part of another one and left out.
    pub(super) disks: Vec<String>,
    /// Chips whose temperatures are read, by the `name` of their hwmon. Default: those of processors and
    /// NVMe disks. Not all there are: to read some keeps a sleeping disk or graphics card awake.
    pub(super) temperatures: Vec<String>,
}

impl Default for Vitals {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            enabled: true,
            disks: words(&["/", "/nix", "/boot"]),
            temperatures: words(&["coretemp", "k10temp", "zenpower", "cpu_thermal", "acpitz", "nvme"]),
        }
    }
}

/// `[prewarm]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Prewarm {
    /// Percent of GPU usage above which stress begins. Default 80 (seed 001).
    pub(super) usage: i64,
    /// Percent below which it ends. Default 65.
    pub(super) usage_low: i64,
    /// Degrees Celsius above which stress begins. Default 80.
    pub(super) temperature: i64,
    /// Degrees Celsius below which it ends. Default 75.
    pub(super) temperature_low: i64,
    /// Seconds over which readings are averaged. Default 15.
    pub(super) window: i64,
    /// Program and arguments that are told of each signal. Default: none.
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
    /// Whether the dashboard may reboot this host. Default: it may not.
    pub(super) enable: bool,
}

/// `[metrics]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Metrics {
    /// Address and port of the page for Prometheus. Default: none, there is no page.
    pub(super) listen: Option<String>,
    /// Allows addresses that other machines can reach. Default false: the page asks for no password.
    pub(super) allow_remote: bool,
}

/// `[paths]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Paths {
    /// StaSysMo's folder. Default `/dev/shm/stasysmo`, on macOS `/tmp/stasysmo` (T02 scenario 3).
    pub(super) stasysmo: String,
    /// procfs. Default `/proc`.
    pub(super) proc: String,
    /// sysfs. Default `/sys`.
    pub(super) sys: String,
    /// File or Unix socket where a local program tells its workload. Default `/run/nixfleet/workload.json`.
    pub(super) workload: String,
    /// NVIDIA's library. Default: where NixOS has it, else the loader's choice, else where WSL has it.
    pub(super) nvml: Option<String>,
    /// Socket on which the agent answers `status`. Default: `status.sock` in `$RUNTIME_DIRECTORY`, else in
    /// `agent` in the state folder.
    pub(super) status: Option<String>,
    /// The service manager's runtime folder. Default `/run/systemd`.
    pub(super) systemd: String,
    /// Link to the system that runs. Default `/run/current-system`.
    pub(super) current_system: String,
    /// Link to the system that was booted. Default `/run/booted-system`.
    pub(super) booted_system: String,
    /// os-release(5), or macOS' property list. Default `/etc/os-release`, on macOS
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
            os_release: version.to_owned(),
        }
    }
}

/// `[commands.NAME]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Command {
    /// Program and arguments; no shell reads them. Either this or `steps`.
    pub(super) run: Option<Vec<String>>,
    /// Several programs, run in order until one fails.
    pub(super) steps: Option<Vec<Step>>,
    /// Seconds for all steps together, 1 to 604800. Default: no limit.
    pub(super) timeout: Option<i64>,
    /// Whether `stop` may end it. Default true.
    pub(super) killable: bool,
    /// Marks every step as one that should not be stopped half-way. Default false.
    pub(super) activation: bool,
    /// Folder it runs in. Default: the supervisor's.
    pub(super) cwd: Option<String>,
    /// Variables added to its environment. Default: none.
    pub(super) env: BTreeMap<String, String>,
    /// For people. Default: empty.
    pub(super) description: String,
}

impl Default for Command {
    fn default() -> Self {
        Self {
            run: None,
            steps: None,
            timeout: None,
            killable: true,
            activation: false,
            cwd: None,
            env: BTreeMap::new(),
            description: String::new(),
        }
    }
}

/// One step: words, or a table with `run` and `activation`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "a step is a list of words, or a table with `run` and `activation`")]
pub(super) enum Step {
    Words(Vec<String>),
    Table(StepTable),
}

/// The long form of a step.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepTable {
    /// Program and arguments.
    pub(super) run: Vec<String>,
    /// Whether it should not be stopped half-way. Default false.
    #[serde(default)]
    pub(super) activation: bool,
}
