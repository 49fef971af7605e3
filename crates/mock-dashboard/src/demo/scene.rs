//! The folder of the demo: a git origin with test scripts, and the configuration and state of the agent.

use std::fs::{self, DirBuilder, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

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

    /// The link to the system that runs, by the rebuild's account.
    fn current_system(&self) -> PathBuf {
        self.folder.join("current-system")
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
        write(
            &origin.join("flake.lock"),
            "{\n  \"nodes\": { \"root\": {} },\n  \"root\": \"root\",\n  \"version\": 7\n}\n",
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
        let first = Command::new(&rebuild).arg("first").arg(self.origin()).status();
        if !first.as_ref().is_ok_and(ExitStatus::success) {
            return Err(format!("{} first: {first:?}", rebuild.display()));
        }
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
current_system = "{current}"
booted_system = "{booted}"
system_profile = "{profile}"
boot = "{boot}"
stasysmo = "{stasysmo}"

# 30 s of output.
[commands.test-long]
run = ["sh", "-c", "for i in $(seq 1 30); do echo \"line $i of 30\"; sleep 1; done"]
"##,
            token = token_file.display(),
            state = folder("state"),
            origin = folder("origin"),
            rebuild = rebuild.display(),
            current = self.current_system().display(),
            booted = folder("booted-system"),
            profile = folder("profile"),
            boot = folder("boot"),
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

/// Replaces `nixos-rebuild`: writes similar output, slowly enough to watch, and makes `current-system` a link to a
/// folder that tells the deployed commit as a system does. With the argument `first` it makes the first system.
const REBUILD: &str = include_str!("rebuild.sh");

#[cfg(test)]
mod tests {
    use super::*;

    /// A `nixos-rebuild` that does not wait.
    fn rebuild(scene: &Scene, arguments: &[&str]) -> (bool, String) {
        let path = format!("{}:{}", scene.folder.join("quick").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(scene.folder.join("rebuild"));
        let output = command.args(arguments).env("PATH", path).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    }

    fn deployed(scene: &Scene) -> String {
        let program = scene.current_system().join("sw/bin/nixos-version");
        let said = Command::new(program).arg("--json").output().unwrap().stdout;
        serde_json::from_slice::<serde_json::Value>(&said).unwrap()["configurationRevision"].to_string()
    }

    fn head(scene: &Scene) -> String {
        let mut command = Command::new("git");
        let said = command.arg("-C").arg(scene.origin()).args(["rev-parse", "HEAD"]).output().unwrap().stdout;
        format!("\"{}\"", String::from_utf8(said).unwrap().trim())
    }

    #[test]
    fn a_switch_deploys_the_commit_of_the_checkout_and_a_rollback_goes_back() {
        let scene = Scene::build("127.0.0.1:8000".parse().unwrap(), "token").unwrap();
        let sleep = scene.folder.join("quick/sleep");
        write(&sleep, "#!/bin/sh\n").unwrap();
        executable(&sleep).unwrap();
        let first = head(&scene);
        assert_eq!(deployed(&scene), first);
        let commit = ["commit", "--quiet", "--allow-empty", "--message", "Another"];
        git(&scene.origin(), &commit).unwrap();
        assert_ne!(head(&scene), first);
        let flake = format!("{}#demo-host", scene.origin().display());
        let (good, said) = rebuild(&scene, &["switch", "--flake", &flake]);
        assert!(good && said.contains("activating the configuration..."), "{said}");
        assert_eq!(deployed(&scene), head(&scene));
        let system = fs::read_link(scene.current_system()).unwrap();
        assert!(rebuild(&scene, &["switch", "--rollback"]).0);
        assert_eq!(deployed(&scene), first);
        let (good, said) = rebuild(&scene, &["switch", "--rollback"]);
        assert!(!good && said.contains("no generation older than the current (1) exists"), "{said}");
        assert!(said.ends_with("returned non-zero exit status 1.\n"), "the real one ends so: {said}");
        assert!(rebuild(&scene, &["switch", "--flake", &flake]).0);
        assert_eq!(deployed(&scene), head(&scene));
        let system_of_switch = fs::read_link(scene.current_system()).unwrap();
        assert_ne!(system_of_switch, system, "each switch makes a new system");
        assert!(rebuild(&scene, &["boot", "--flake", &flake]).0);
        assert_eq!(fs::read_link(scene.current_system()).unwrap(), system_of_switch, "nothing is activated");
        let next = fs::read_link(scene.folder.join("profile")).unwrap();
        assert_ne!(next, system_of_switch);
        let menu = fs::read_to_string(scene.folder.join("boot/grub/grub.cfg")).unwrap();
        assert!(menu.contains(&format!("init={}/init", next.display())), "{menu}");
    }
}
