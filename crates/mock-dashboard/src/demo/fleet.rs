//! The hosts of the demo: what each of them is, its folder, and the settings of its agent.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use nixfleet_jobs::JobsDir;

/// How long a new system of [`Host::is_guarded`] may take to be confirmed, in seconds. Long enough for an agent that
/// starts on a busy machine, short enough to watch.
pub(super) const CONFIRM_TIMEOUT: u64 = 12;

/// A host of the demo.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: &'static str,
    location: &'static str,
    device_type: &'static str,
    color: &'static str,
    /// Whether StaSysMo's files are kept.
    pub(super) has_stasysmo: bool,
    /// Whether it has GPUs, by files of its own in place of sysfs.
    pub(super) has_gpus: bool,
    /// Whether a new system is taken back unless it is confirmed. Its agent reaches the dashboard by a network of its
    /// own, which its systems can cut.
    pub(super) is_guarded: bool,
    /// More tables of the settings file, with `BIN` for the folder of the demo's programs.
    commands: &'static str,
    /// The scripts that the command `test` runs, by their names.
    pub(super) tests: &'static [(&'static str, &'static str)],
}

/// All of them.
pub(super) const HOSTS: [Host; 3] = [
    Host {
        name: "web-1",
        location: "cloud",
        device_type: "server",
        color: "#7aa2f7",
        has_stasysmo: false,
        has_gpus: false,
        is_guarded: false,
        commands: r#"
[commands.commit]
run = ["BIN/commit", "motd", "web-1"]
description = "Commit a harmless change to the repository of the demo"
"#,
        tests: &[
            ("T01-uptime.sh", "echo \"up for $(cut -d' ' -f1 /proc/uptime) s\"\n"),
            ("T02-disk.sh", "sleep 1\ndf -h /\n"),
            ("T03-load.sh", "sleep 1\ncat /proc/loadavg\n"),
        ],
    },
    Host {
        name: "studio",
        location: "home",
        device_type: "gaming",
        color: "#bb9af7",
        has_stasysmo: true,
        has_gpus: true,
        is_guarded: true,
        commands: r#"
[commands.break-network]
run = ["BIN/commit", "break", "studio"]
description = "Commit a mistake that cuts this host off"

[commands.mend-network]
run = ["BIN/commit", "mend", "studio"]
description = "Commit the end of that mistake"
"#,
        tests: &[
            ("T01-uptime.sh", "echo \"up for $(cut -d' ' -f1 /proc/uptime) s\"\n"),
            ("T02-disk.sh", "sleep 1\ndf -h /\n"),
        ],
    },
    Host {
        name: "attic",
        location: "home",
        device_type: "laptop",
        color: "#e0af68",
        has_stasysmo: true,
        has_gpus: false,
        is_guarded: false,
        commands: r#"
[commands.backup]
run = ["sh", "-c", "echo 'looking for the disk attic-backup'; sleep 2; echo 'backup: the disk attic-backup is not attached' >&2; exit 3"]
description = "Back up /home"
"#,
        tests: &[
            ("T01-disk.sh", "df -h /\n"),
            (
                "T02-backup.sh",
                "sleep 1\necho 'The newest backup is 12 days old, and 7 days are allowed.' >&2\nexit 1\n",
            ),
            ("T03-load.sh", "sleep 1\ncat /proc/loadavg\n"),
        ],
    },
];

/// The folder of a host, and what is where in it.
#[derive(Debug, Clone)]
pub(super) struct Home(PathBuf);

impl Home {
    pub(super) fn new(demo: &Path, host: &Host) -> Self {
        Self(demo.join(host.name))
    }

    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn config(&self) -> PathBuf {
        self.join("agent.toml")
    }

    pub(super) fn stasysmo(&self) -> PathBuf {
        self.join("stasysmo")
    }

    /// What stands in for /sys.
    pub(super) fn sys(&self) -> PathBuf {
        self.join("sys")
    }

    /// What stands in for NVIDIA's library, if there is one.
    pub(super) fn nvml(&self) -> PathBuf {
        self.join("nvml/libnvidia-ml.so.1")
    }

    /// The link to the system that runs, by the rebuild's account.
    pub(super) fn current_system(&self) -> PathBuf {
        self.join("current-system")
    }

    /// The process id of the agent, for the activation of a system, which restarts it.
    pub(super) fn agent_pid(&self) -> PathBuf {
        self.join("agent.pid")
    }

    pub(super) fn jobs(&self) -> JobsDir {
        JobsDir::new(self.join("state/jobs"))
    }
}

/// The settings of a host's agent, which reaches the dashboard at this address.
pub(super) fn settings(host: &Host, demo: &Path, dashboard: SocketAddr) -> String {
    let home = Home::new(demo, host);
    let path = |name: &str| home.join(name).display().to_string();
    // Without encryption an agent connects by loopback only, unless it is told that the network may be trusted.
    let on_loopback = dashboard.ip().is_loopback();
    let insecure =
        if on_loopback { "" } else { "# The dashboard is on this machine.\nallow_insecure = true\n" };
    let mut text = format!(
        r##"# The agent of {name} in the demo. On a host this file is /etc/nixfleet/agent.toml.
url = "ws://{dashboard}/ws"
proxy = "none"
token_file = "{token}"
hostname = "{name}"
interval = 1
state_dir = "{state}"
location = "{location}"
device_type = "{device_type}"
theme_color = "{color}"
{insecure}
[repo]
url = "file://{origin}"

[rebuild]
program = ["{rebuild}"]
"##,
        name = host.name,
        token = demo.join("token").display(),
        state = path("state"),
        location = host.location,
        device_type = host.device_type,
        color = host.color,
        insecure = insecure,
        origin = demo.join("origin").display(),
        rebuild = path("rebuild"),
    );
    if host.is_guarded {
        // nix's log for machines, so that its builds are counted.
        text += &format!(
            "log_format = \"internal-json\"\n\n\
             # A new system that nobody can reach is taken back.\n\
             [rollback]\nconfirm_timeout = {CONFIRM_TIMEOUT}\nhold = 2\n"
        );
    }
    if host.has_gpus {
        // The load of the demo's GPU rises and falls every two minutes.
        text += "\n[prewarm]\nwindow = 10\n";
    }
    text += &format!(
        r#"
[paths]
current_system = "{current}"
booted_system = "{booted}"
system_profile = "{profile}"
switch_lock = "{lock}"
boot = "{boot}"
stasysmo = "{stasysmo}"
workload = "{workload}"
"#,
        current = home.current_system().display(),
        booted = path("booted-system"),
        profile = path("nix/profiles/system"),
        lock = path("switch.lock"),
        boot = path("boot"),
        stasysmo = home.stasysmo().display(),
        workload = path("workload.json"),
    );
    if host.has_gpus {
        let (sys, nvml) = (home.sys(), home.nvml());
        text += &format!("sys = \"{}\"\nnvml = \"{}\"\n", sys.display(), nvml.display());
    }
    text += r#"
# 30 s of output.
[commands.test-long]
run = ["sh", "-c", "for i in $(seq 1 30); do echo \"line $i of 30\"; sleep 1; done"]
description = "Write a line each second, for 30 s"
"#;
    text += &host.commands.replace("BIN", &demo.join("bin").display().to_string());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_may_reach_a_dashboard_that_is_not_on_loopback() {
        let allows = |address: &str| {
            let text = settings(&HOSTS[0], Path::new("/demo"), address.parse().unwrap());
            let (top, _) = text.split_once("\n[").unwrap();
            top.contains("\nallow_insecure = true\n")
        };
        for (address, allowed) in [
            ("127.0.0.1:8000", false),
            ("[::1]:8000", false),
            ("192.0.2.1:8000", true),
            ("[2001:db8::1]:8000", true),
        ] {
            assert_eq!(allows(address), allowed, "{address}");
        }
    }
}
