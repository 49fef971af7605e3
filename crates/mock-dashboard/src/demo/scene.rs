//! The folder of the demo: a git origin with test scripts, and the configuration and state of the agent.

use std::fs::{self, DirBuilder, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nixfleet_jobs::JobsDir;

use super::{git, write};

/// The folder of the demo. It is removed when this is dropped.
pub(super) struct Scene {
    folder: PathBuf,
}

impl Scene {
    pub(super) fn build(dashboard: SocketAddr, token: &str) -> Result<Self, String> {
        let folder = std::env::temp_dir().join(format!("nixfleet-demo-{}", std::process::id()));
        // The folder must be new and private, because programs are run from it.
        let made = DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|err| format!("cannot make {}: {err}", folder.display()))?;
        let scene = Self { folder };
        scene.make_origin()?;
        scene.configure(dashboard, token)?;
        Ok(scene)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn origin(&self) -> PathBuf {
        self.folder.join("origin")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.folder.join("agent.toml")
    }

    pub(super) fn stasysmo(&self) -> PathBuf {
        self.folder.join("stasysmo")
    }

    pub(super) fn jobs(&self) -> JobsDir {
        JobsDir::new(self.folder.join("state/jobs"))
    }

    fn make_origin(&self) -> Result<(), String> {
        let origin = self.origin();
        write(
            &origin.join("flake.nix"),
            "{\n  description = \"A throw-away fleet\";\n  outputs = _: { };\n}\n",
        )?;
        let scripts = [
            ("T01-uptime.sh", "echo \"up for $(cut -d' ' -f1 /proc/uptime) s\"\n"),
            ("T02-disk.sh", "sleep 1\ndf -h /\n"),
            ("T03-load.sh", "sleep 1\ncat /proc/loadavg\n"),
        ];
        for (name, body) in scripts {
            let path = origin.join("hosts/demo-host/tests").join(name);
            write(&path, &format!("#!/bin/sh\nset -eu\n{body}"))?;
            executable(&path)?;
        }
        git(&origin, &["init", "--quiet"])?;
        git(&origin, &["add", "."])?;
        git(&origin, &["commit", "--quiet", "--message", "A throw-away fleet"])
    }

    fn configure(&self, dashboard: SocketAddr, token: &str) -> Result<(), String> {
        let rebuild = self.folder.join("rebuild");
        write(&rebuild, REBUILD)?;
        executable(&rebuild)?;
        let token_file = self.folder.join("token");
        write(&token_file, token)?;
        only_owner(&token_file)?;
        let folder = |name: &str| self.folder.join(name).display().to_string();
        let config = format!(
            r##"# The demo's agent. On a host this file is /etc/nixfleet/agent.toml.
url = "ws://{dashboard}/ws"
token_file = "{token}"
hostname = "demo-host"
interval = 1
state_dir = "{state}"
location = "home"
device_type = "laptop"
theme_color = "#7aa2f7"

[repo]
url = "file://{origin}"

[rebuild]
program = ["{rebuild}"]

[paths]
stasysmo = "{stasysmo}"

# 30 s of output.
[commands.test-long]
run = ["sh", "-c", "for i in $(seq 1 30); do echo \"line $i of 30\"; sleep 1; done"]
"##,
            token = token_file.display(),
            state = folder("state"),
            origin = folder("origin"),
            rebuild = rebuild.display(),
            stasysmo = folder("stasysmo"),
        );
        write(&self.config(), &config)
    }

    /// The command that starts the agent, in a process group of its own: Ctrl-C goes to the demo only.
    pub(super) fn agent_command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            // Settings of another agent must not influence the demo.
            if name.to_string_lossy().starts_with("NIXFLEET_") {
                command.env_remove(name);
            }
        }
        command.arg("--config").arg(self.config()).arg("run").process_group(0);
        command
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Anything that cannot be removed is in the temporary folder.
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn only_owner(path: &Path) -> Result<(), String> {
    fs::set_permissions(path, Permissions::from_mode(0o600))
        .map_err(|err| format!("cannot make {} private: {err}", path.display()))
}

fn executable(path: &Path) -> Result<(), String> {
    fs::set_permissions(path, Permissions::from_mode(0o755))
        .map_err(|err| format!("cannot make {} executable: {err}", path.display()))
}

/// Replaces `nixos-rebuild`: writes similar output, slowly enough to watch.
const REBUILD: &str = r#"#!/bin/sh
echo "This stand-in for nixos-rebuild changes nothing. It was called as: nixos-rebuild $*"
exec >&2
store=/nix/store/00000000000000000000000000000000
case " $* " in
*" --rollback "*)
  echo "switching profile from version 12 to 11"
  ;;
*)
  echo "building the system configuration..."
  sleep 2
  names="unit-nginx.service system-units etc-hosts etc nixos-system-demo-host-26.05"
  echo "these 5 derivations will be built:"
  for name in $names; do
    echo "  $store-$name.drv"
  done
  echo "these 3 paths will be fetched (4.21 MiB download, 17.90 MiB unpacked):"
  for name in nginx-1.30.0 pcre2-10.46 zlib-1.3.1; do
    echo "  $store-$name"
  done
  for name in zlib-1.3.1 pcre2-10.46 nginx-1.30.0; do
    echo "copying path '$store-$name' from 'https://cache.nixos.org'..."
    sleep 0.5
  done
  for name in $names; do
    echo "building '$store-$name.drv'..."
    sleep 1
  done
  ;;
esac
echo "stopping the following units: nginx.service"
sleep 1
echo "activating the configuration..."
sleep 2
echo "setting up /etc..."
echo "starting the following units: nginx.service"
"#;
