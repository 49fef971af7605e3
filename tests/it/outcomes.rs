//! How a switch ends: what the programs of NixOS say and do, and what arrives of it. docs/outcomes.md has all messages.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

use nixfleet_protocol::{Heartbeat, StatusKind, UpdateState};

use crate::command::{commit, git, with_origin};
use crate::rig::{AgentProcess, Fleet};

/// What nixos-rebuild does: it sets the profile, and lets the new system check, install the boot loader and activate.
/// `said` is what all of that writes. The files `profile-target` and `running-target` name the systems, if they change.
const REBUILD: &str = r#"#!/bin/sh
cd FOLDER
echo "building the system configuration..." >&2
[ -e profile-target ] && ln -sfn "$(cat profile-target)" profile
[ -e running-target ] && ln -sfn "$(cat running-target)" current-system
cat said >&2
code=$(cat code)
[ "$code" = 0 ] || echo "Command 'systemd-run --pipe --quiet --unit=nixos-rebuild-switch-to-configuration \
/nix/store/new/bin/switch-to-configuration switch' returned non-zero exit status $code." >&2
exit "$code"
"#;

/// systemctl, for the two questions about units.
const SYSTEMCTL: &str = r#"#!/bin/sh
cd FOLDER
echo "$1" >> systemctl-calls
case $1 in list-units) cat failed ;; show) cat states ;; *) exit 1 ;; esac
"#;

const ACTIVATION: &str = "stopping the following units: web.service\nactivating the configuration...\nsetting up \
                          /etc...\nrestarting sysinit-reactivation.target\nstarting the following units: web.service\n";

/// A host with NixOS and systemd.
struct Host {
    fleet: Fleet,
    _agent: AgentProcess,
}

impl Host {
    async fn new() -> Self {
        let fleet = with_origin(Fleet::strict().await);
        for (name, text) in [("rebuild", REBUILD), ("bin/systemctl", SYSTEMCTL)] {
            let path = fleet.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text.replace("FOLDER", &fleet.folder.path().display().to_string())).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::create_dir_all(fleet.path("systemd/system")).unwrap();
        for system in ["old", "new"] {
            fs::create_dir(fleet.path(system)).unwrap();
        }
        for link in ["current-system", "profile"] {
            symlink(fleet.path("old"), fleet.path(link)).unwrap();
        }
        let mut command = fleet.agent_command();
        let path = format!("{}:{}", fleet.path("bin").display(), std::env::var("PATH").unwrap());
        command.env("PATH", path);
        command.env("NIXFLEET_PATHS__SYSTEMD", fleet.path("systemd"));
        command.env("NIXFLEET_PATHS__SYSTEM_PROFILE", fleet.path("profile"));
        let agent = AgentProcess::spawn(command, fleet.path("state"));
        let host = Self { fleet, _agent: agent };
        host.units(&[], "");
        host.fleet.ended("clone").await;
        host
    }

    /// Changes what systemctl says.
    fn units(&self, failed: &[&str], states: &str) {
        let line = |unit: &&str| format!("{unit} loaded failed failed A unit\n");
        fs::write(self.fleet.path("failed"), failed.iter().map(line).collect::<String>()).unwrap();
        fs::write(self.fleet.path("states"), states).unwrap();
    }

    /// Makes the next rebuild write this, end with that code, and put these systems into the profile and to the place
    /// of the running one.
    fn rebuild(&self, said: &str, code: i32, profile: Option<&str>, running: Option<&str>) {
        fs::write(self.fleet.path("said"), said).unwrap();
        fs::write(self.fleet.path("code"), code.to_string()).unwrap();
        for (name, target) in [("profile-target", profile), ("running-target", running)] {
            match target {
                Some(system) => {
                    fs::write(self.fleet.path(name), self.fleet.path(system).display().to_string())
                }
                None => fs::remove_file(self.fleet.path(name)).or(Ok(())),
            }
            .unwrap();
        }
    }

    /// Runs `switch`; checks its outcome and that the message has these words.
    async fn switch(&self, outcome: &str, says: &[&str]) {
        let status = self.fleet.run("switch").await;
        let code: i32 = fs::read_to_string(self.fleet.path("code")).unwrap().parse().unwrap();
        assert_eq!(status.outcome.as_deref(), Some(outcome), "{}", status.message);
        assert_eq!(
            (status.exit_code, status.status == StatusKind::Ok),
            (code, outcome == "ok"),
            "{}",
            status.message
        );
        for words in says {
            assert!(status.message.contains(words), "{words:?} is missing in: {}", status.message);
        }
    }

    /// Waits for a heartbeat like that.
    async fn beat(&self, what: &str, like: impl Fn(&Heartbeat) -> bool) {
        self.fleet.wait(what, |fleet| fleet.beats().pop().filter(|(_, beat)| like(beat)).map(|_| ())).await;
    }
}

fn light(beat: &Heartbeat) -> (UpdateState, String) {
    let system = beat.update_status.clone().unwrap_or_default().system;
    (system.status, system.message)
}

#[tokio::test]
async fn a_switch_says_whether_the_new_system_runs_and_what_is_wrong() {
    let host = Host::new().await;
    let first = git(&host.fleet.path("origin"), &["rev-parse", "HEAD"]);
    host.rebuild("activating the configuration...\n", 0, Some("old"), None);
    host.switch("ok", &["Deployed"]).await;

    host.rebuild("error: attribute 'nope' missing\n", 1, None, None);
    host.switch("failed", &["attribute 'nope' missing", "nothing was changed"]).await;
    let check = "dbus-implementation : dbus -> broker\nYou probably want to run 'nixos-rebuild boot' and reboot your \
                 system instead.\nPre-switch check 'switchInhibitors' failed\nPre-switch checks failed\n";
    host.rebuild(check, 1, Some("new"), None);
    host.switch(
        "refused",
        &["`switchInhibitors`: dbus-implementation : dbus -> broker", "the profile names"],
    )
    .await;
    host.rebuild("Could not acquire lock\n", 11, None, None);
    host.switch("busy", &["switch-to-configuration.lock"]).await;
    host.rebuild(
        "cp: error writing '/boot/a': No space left on device\nFailed to install bootloader\n",
        1,
        None,
        None,
    );
    host.switch("bootloader_failed", &["no room on /boot", "old runs, the profile names new"]).await;
    host.rebuild("error: writing to file '/nix/store/a': No space left on device\n", 1, None, None);
    host.switch("no_space", &["no room on /nix"]).await;
    host.beat("the commit that runs, as before", |beat| beat.generation == first[..7]).await;

    // It takes effect at the next boot, and is known then.
    let next = commit(&host.fleet.path("origin"), "flake.nix", "{ b = 2; }");
    assert_eq!(host.fleet.run("pull").await.exit_code, 0);
    let other_init = "Warning: the new NixOS configuration has an ‘init’ that is\nincompatible with the current \
                      configuration.\n";
    host.rebuild(other_init, 100, Some("new"), None);
    host.switch("needs_reboot", &["next boot", "send `reboot`"]).await;
    let waits = (UpdateState::Outdated, format!("{} takes effect at the next boot", &next[..7]));
    host.beat("an outdated system", |beat| light(beat) == waits && beat.generation == first[..7]).await;
    fs::remove_file(host.fleet.path("current-system")).unwrap();
    symlink(host.fleet.path("new"), host.fleet.path("current-system")).unwrap();
    host.fleet.send("refresh-system");
    let deployed = (UpdateState::Ok, format!("{} is deployed", &next[..7]));
    host.beat("the new system", |beat| light(beat) == deployed && beat.generation == next[..7]).await;
    host.fleet.assert_no_violations();
}

#[tokio::test]
async fn an_activation_is_judged_by_what_runs_and_not_by_the_exit_code_alone() {
    let host = Host::new().await;
    let snippet = "Activation script snippet 'setupSecrets' failed (1)\nFailed to run activate script\n";
    host.rebuild(&format!("{ACTIVATION}{snippet}"), 2, Some("new"), Some("new"));
    host.switch("activated_with_failures", &["the new system is active", "`setupSecrets` (1)"]).await;
    // systemd restarted itself, and D-Bus timed out.
    let bus = "activating the configuration...\nrestarting systemd...\nError: Failed to reset failed units\n\nCaused \
               by:\n    Connection timed out\n";
    host.rebuild(bus, 1, Some("old"), Some("old"));
    host.switch("activated_despite_error", &["Failed to reset failed units: Connection timed out"]).await;
    host.beat("the light of a deployed system", |beat| light(beat).0 == UpdateState::Ok).await;
    // An error number that looks like an exit code.
    host.rebuild(
        "Error: Failed to open dbus connection\n\nCaused by:\n    Interrupted system call\n",
        4,
        None,
        None,
    );
    host.switch("failed", &["nothing was changed"]).await;
    host.fleet.assert_no_violations();
}

/// systemd counts a unit as failed while it is between two starts. The look again takes 30 s.
#[tokio::test]
async fn a_unit_that_runs_again_half_a_minute_later_is_told_as_recovered() {
    let host = Host::new().await;
    host.units(&["old.service"], "");
    let failed = format!("{ACTIVATION}warning: the following units failed: old.service, web.service\n");
    host.rebuild(&failed, 4, Some("new"), Some("new"));
    host.fleet.send("switch");
    host.fleet.line("looking again in 30s").await;
    let running = "Id=web.service\nLoadState=loaded\nActiveState=active\nResult=success\n";
    host.units(&["old.service"], running);
    let begun = Instant::now();
    let look = |fleet: &Fleet| fleet.statuses().into_iter().find(|status| status.command == "switch");
    let status = loop {
        // Longer than the bound of a wait; heartbeats go on meanwhile.
        if let Some(status) = look(&host.fleet) {
            break status;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "no status");
        let beats = host.fleet.beats().len();
        host.fleet.wait("a heartbeat", |fleet| (fleet.beats().len() > beats).then_some(())).await;
    };
    assert_eq!((status.exit_code, status.outcome.as_deref()), (4, Some("activated_despite_error")));
    for words in ["had failed and recovered: web.service", "failed as before this command: old.service"] {
        assert!(status.message.contains(words), "{}", status.message);
    }
    host.fleet.assert_no_violations();
}

#[tokio::test]
async fn a_stop_ends_the_wait_for_the_second_look_and_changes_no_outcome() {
    let host = Host::new().await;
    host.rebuild(
        &format!("{ACTIVATION}warning: the following units failed: web.service\n"),
        4,
        Some("new"),
        Some("new"),
    );
    host.fleet.send("switch");
    host.fleet.line("looking again in 30s").await;
    host.beat("no process while nothing runs", |beat| {
        beat.pending_command.is_some() && beat.command_pid.is_none()
    })
    .await;
    host.units(&["web.service"], "");
    let begun = Instant::now();
    host.fleet.send("stop");
    let status = host.fleet.ended("switch").await;
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!((status.exit_code, status.outcome.as_deref()), (4, Some("activated_with_failures")));
    host.fleet.assert_no_violations();
}
