//! The table of keys, with the kind of each value and an example.

/// The type of a value. It determines how the text of a variable is parsed and how a wrong type is described.
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
    Checks,
    Table,
}

impl Kind {
    /// Completes the message "is not ..".
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
            Self::Checks => "a list of checks",
            Self::Table => "a table",
        }
    }
}

/// A key of the file.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    /// A valid value, as TOML.
    pub(super) example: &'static str,
}

impl Key {
    /// Whether its value may hold a secret, such as a password in the arguments of a program. Errors do not show
    /// such a value.
    pub(super) fn may_be_secret(&self) -> bool {
        matches!(
            self.path,
            "commands.*.run"
                | "commands.*.steps"
                | "commands.*.env"
                | "prewarm.hook"
                | "rebuild.env"
                | "rollback.checks"
        )
    }
}

const fn key(path: &'static str, kind: Kind, example: &'static str) -> Key {
    Key { path, kind, example }
}

/// All keys; `*` stands for the name of a command. A test compares them with the structs in `file.rs`.
pub(super) const KEYS: &[Key] = &[
    key("url", Kind::Text, "\"wss://fleet.example.org/ws\""),
    key("token_file", Kind::Text, "\"/run/secrets/nixfleet-token\""),
    key("ca_file", Kind::Text, "\"/etc/ssl/fleet-ca.pem\""),
    key("client_cert", Kind::Text, "\"/run/secrets/nixfleet-client.pem\""),
    key("client_key", Kind::Text, "\"/run/secrets/nixfleet-client.key\""),
    key("proxy", Kind::Text, "\"http://proxy.example.org:3128\""),
    key("proxy_login_file", Kind::Text, "\"/run/secrets/proxy-login\""),
    key("interval", Kind::Seconds, "30"),
    key("allow_insecure", Kind::Flag, "false"),
    key("hostname", Kind::Text, "\"web-1\""),
    key("user", Kind::Text, "\"alice\""),
    key("theme_color", Kind::Text, "\"#7aa2f7\""),
    key("location", Kind::Text, "\"home\""),
    key("device_type", Kind::Text, "\"server\""),
    key("reported_version", Kind::Text, "\"3.0.0\""),
    key("generation", Kind::Text, "\"deployed\""),
    key("nixpkgs_version", Kind::Text, "\"26.05.20260714.7beb50e\""),
    key("state_dir", Kind::Text, "\"/var/lib/nixfleet-agent\""),
    key("log_level", Kind::Text, "\"info\""),
    key("repo.url", Kind::Text, "\"https://git.example.org/fleet.git\""),
    key("repo.dir", Kind::Text, "\"/var/lib/nixfleet-agent/repo\""),
    key("repo.branch", Kind::Text, "\"main\""),
    key("repo.ssh_key", Kind::Text, "\"/run/secrets/fleet-key\""),
    key("repo.submodules", Kind::Flag, "true"),
    key("repo.lfs", Kind::Flag, "true"),
    key("rebuild.program", Kind::Words, "[\"nixos-rebuild\"]"),
    key("rebuild.flake_attr", Kind::Text, "\"web-1\""),
    key("rebuild.extra_args", Kind::Words, "[\"--impure\"]"),
    key("rebuild.log_format", Kind::Text, "\"internal-json\""),
    key("rebuild.env", Kind::Table, "{ GIT_SSH_COMMAND = \"ssh -i /run/secrets/inputs-key\" }"),
    key("rebuild.netrc_file", Kind::Text, "\"/run/secrets/netrc\""),
    key("rebuild.access_tokens_file", Kind::Text, "\"/run/secrets/nix-access-tokens\""),
    key("rollback.confirm_timeout", Kind::Seconds, "180"),
    key("rollback.hold", Kind::Seconds, "10"),
    key(
        "rollback.checks",
        Kind::Checks,
        "[{ run = [\"systemctl\", \"is-active\", \"sshd.service\"], timeout = 30 }]",
    ),
    key("jobs.launcher", Kind::Text, "\"systemd\""),
    key("jobs.dir", Kind::Text, "\"/var/lib/nixfleet-agent/jobs\""),
    key("jobs.log_limit", Kind::Bytes, "67108864"),
    key("jobs.stop_grace", Kind::Seconds, "10"),
    key("jobs.keep", Kind::Count, "20"),
    key("preflight.nix_free", Kind::Bytes, "268435456"),
    key("preflight.nix_inodes", Kind::Count, "10000"),
    key("preflight.state_free", Kind::Bytes, "67108864"),
    key("preflight.boot_free", Kind::Bytes, "100000000"),
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
    key("paths.system_profile", Kind::Text, "\"/nix/var/nix/profiles/system\""),
    key("paths.switch_lock", Kind::Text, "\"/run/nixos/switch-to-configuration.lock\""),
    key("paths.boot", Kind::Text, "\"/boot\""),
    key("paths.cgroups", Kind::Text, "\"/sys/fs/cgroup\""),
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
