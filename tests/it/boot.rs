//! The command `boot`, what the next boot runs, what is looked at before a command, and the wait for a registration.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nixfleet_protocol::{HostSystem, NextBootSource, Status, StatusKind, UpdateState};

use crate::command::{commit, git};
use crate::rig::{AgentProcess, Fleet, TOKEN, eventually, program};

/// A `nixos-rebuild` with systemd-boot: it makes a system, sets the profile, installs the entry, and activates the system
/// if it is asked to `switch`. The partition is full if there is a file `full`.
const REBUILD: &str = r#"#!/bin/sh
set -eu
cd "$(dirname "$0")"
echo "$1" >>calls
number=$(($(ls systems | wc -l) + 1))
system=$PWD/systems/$number
mkdir "$system"
ln -sfn "$system" profile
if [ -e full ]; then
  echo "OSError: [Errno 28] No space left on device: '/boot/EFI/nixos/initrd.efi'" >&2
  exit 1
fi
cat >boot/loader/entries/nixos-generation-$number.conf <<END
title NixOS
version Generation $number NixOS 26.05
linux /EFI/nixos/kernel.efi
options init=$system/init quiet
END
echo "default nixos-generation-$number.conf" >boot/loader/loader.conf
if [ "$1" = switch ]; then ln -sfn "$system" current; fi
"#;

/// A host that runs the system 1, as does its next boot, with an origin to pull from.
async fn machine(more: &str) -> Fleet {
    let fleet = Fleet::strict().await;
    let origin = fleet.path("origin");
    for folder in ["origin", "systems/1", "boot/loader/entries", "boot/EFI/nixos"] {
        fs::create_dir_all(fleet.path(folder)).unwrap();
    }
    git(&origin, &["init", "--quiet"]);
    commit(&origin, "flake.nix", "{ }");
    let rebuild = fleet.path("rebuild");
    fs::write(&rebuild, REBUILD).unwrap();
    fs::set_permissions(&rebuild, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(fleet.path("boot/EFI/nixos/kernel.efi"), "kernel").unwrap();
    let system = fleet.path("systems/1");
    let entry = format!("linux /EFI/nixos/kernel.efi\noptions init={}/init\n", system.display());
    fs::write(fleet.path("boot/loader/entries/nixos-generation-1.conf"), entry).unwrap();
    fs::write(fleet.path("boot/loader/loader.conf"), "default nixos-generation-1.conf\n").unwrap();
    for link in ["current", "booted", "profile"] {
        symlink(&system, fleet.path(link)).unwrap();
    }
    let path = |name: &str| fleet.path(name).display().to_string();
    let text = format!(
        "{more}\n[repo]\nurl = \"file://{}\"\n[rebuild]\nprogram = [\"{}\"]\n[paths]\ncurrent_system = \"{}\"\n\
         booted_system = \"{}\"\nsystem_profile = \"{}\"\nboot = \"{}\"\nsys = \"{}\"\n",
        path("origin"),
        path("rebuild"),
        path("current"),
        path("booted"),
        path("profile"),
        path("boot"),
        path("sys"),
    );
    fleet.configure(&text)
}

/// Waits for a heartbeat in which the systems are as wanted.
async fn seen(fleet: &Fleet, what: &str, wanted: impl Fn(&HostSystem) -> bool) -> HostSystem {
    let newest = |fleet: &Fleet| fleet.beats().pop()?.1.system.filter(|system| wanted(system));
    *fleet.wait(what, newest).await
}

fn boots(system: &HostSystem) -> Option<PathBuf> {
    system.boots.as_ref().map(|boots| PathBuf::from(&boots.system))
}

fn calls(fleet: &Fleet) -> String {
    fs::read_to_string(fleet.path("calls")).unwrap_or_default()
}

#[tokio::test]
async fn a_boot_changes_what_the_next_boot_runs_and_nothing_of_what_runs() {
    let fleet = machine("").await;
    let _agent = fleet.agent().await;
    fleet.ended("clone").await;
    let (one, two) = (fleet.path("systems/1"), fleet.path("systems/2"));
    let before = seen(&fleet, "what boots", |system| system.boots.is_some()).await;
    assert_eq!(boots(&before).as_deref(), Some(one.as_path()));
    assert_eq!(before.boots.unwrap().source, NextBootSource::BootLoader);
    assert_ne!(before.reboot_required, Some(true));

    let head = git(&fleet.path("origin"), &["rev-parse", "HEAD"]);
    let status = fleet.run("boot").await;
    assert_eq!(status.outcome.as_deref(), Some("ok"), "{}", status.message);
    assert_eq!(status.message, format!("Boot: {} runs from the next boot on", &head[..7]));
    // The heartbeat directly behind the status.
    let after =
        seen(&fleet, "another system that boots", |system| boots(system).is_some_and(|boots| boots != one))
            .await;
    assert_eq!(boots(&after).as_deref(), Some(two.as_path()));
    assert_eq!((after.current.as_deref(), after.booted.as_deref()), (one.to_str(), one.to_str()));
    assert_eq!(after.reboot_required, Some(true));
    let vitals = fleet.beats().pop().unwrap().1.vitals.unwrap();
    assert_eq!(vitals.reboot_required, Some(true), "both places say the same");

    // The machine boots what was prepared.
    for link in ["current", "booted"] {
        fs::remove_file(fleet.path(link)).unwrap();
        symlink(&two, fleet.path(link)).unwrap();
    }
    let booted = seen(&fleet, "the booted system", |system| system.current.as_deref() == two.to_str()).await;
    assert_ne!(booted.reboot_required, Some(true));
    let deployed = fleet.wait("the verdict", |fleet| {
        let system = fleet.beats().pop()?.1.update_status?.system;
        (system.status == UpdateState::Ok).then_some(system.message)
    });
    assert_eq!(deployed.await, format!("{} is deployed", &head[..7]), "the commit is known by the history");
    fleet.assert_no_violations();
}

#[tokio::test]
async fn a_boot_loader_that_could_not_be_installed_is_told_with_what_boots() {
    let fleet = machine("").await;
    let _agent = fleet.agent().await;
    fleet.ended("clone").await;
    fs::write(fleet.path("full"), "").unwrap();
    let status = fleet.run("boot").await;
    assert_eq!(
        (status.outcome.as_deref(), status.exit_code),
        (Some("bootloader_failed"), 1),
        "{}",
        status.message
    );
    let one = fleet.path("systems/1");
    assert!(status.message.contains("No space left on device"), "{}", status.message);
    let said = "nothing was activated: 1 runs, the profile names 2, and the next boot runs 1";
    assert!(status.message.contains(said), "{}", status.message);
    let system = seen(&fleet, "what boots", |system| system.boots.is_some()).await;
    assert_eq!(boots(&system), Some(one), "not the profile");
    fleet.assert_no_violations();
}

fn not_begun(status: &Status, outcome: &str, texts: &[&str]) {
    assert_eq!((status.status, status.exit_code), (StatusKind::Error, 1), "{}", status.message);
    assert_eq!(status.outcome.as_deref(), Some(outcome), "{}", status.message);
    for text in texts {
        assert!(status.message.contains(text), "{text}: {}", status.message);
    }
}

#[tokio::test]
async fn a_rebuild_without_room_is_not_begun_and_a_pull_is() {
    // More than any disk has.
    for (setting, wanted, reason) in
        [("nix_free", 1_i64 << 50, "free of"), ("nix_inodes", 1_000_000_000, "inodes free of")]
    {
        let fleet = machine(&format!("[preflight]\n{setting} = {wanted}")).await;
        if setting == "nix_inodes" && rustix::fs::statvfs(fleet.folder.path()).unwrap().f_files == 0 {
            continue;
        }
        let _agent = fleet.agent().await;
        assert_eq!(fleet.ended("clone").await.exit_code, 0);
        for command in ["switch", "boot", "pull-switch"] {
            let status = fleet.run(command).await;
            let store = fleet.path("systems").display().to_string();
            not_begun(&status, "no_space", &["not begun: ", &store, reason, &format!("preflight.{setting}")]);
        }
        assert_eq!(fleet.run("pull").await.exit_code, 0);
        assert_eq!(calls(&fleet), "", "nothing ran");
        assert_eq!(fs::read_link(fleet.path("profile")).unwrap(), fleet.path("systems/1"));
        fleet.assert_no_violations();
    }
}

#[tokio::test]
async fn a_pull_without_room_for_the_checkout_is_not_begun() {
    let fleet = machine(&format!("[preflight]\nstate_free = {}", 1_i64 << 50)).await;
    let _agent = fleet.agent().await;
    let status = fleet.ended("clone").await;
    not_begun(&status, "no_space", &["Clone: not begun: ", "preflight.state_free"]);
    assert!(!fleet.path("state/repo").exists());
}

#[tokio::test]
async fn a_clock_that_is_behind_the_last_command_is_refused_once() {
    let fleet = machine("").await;
    let _agent = fleet.agent().await;
    fleet.ended("clone").await;
    let later = SystemTime::now() + Duration::from_secs(3 * 3600);
    let noted = fs::File::options().write(true).open(fleet.path("state/jobs/checkout.json")).unwrap();
    noted.set_modified(later).unwrap();
    drop(noted);
    not_begun(
        &fleet.run("switch").await,
        "refused",
        &["the clock of this machine is ", "min behind", "timedatectl"],
    );
    assert_eq!(calls(&fleet), "");
    assert_eq!(fleet.run("switch").await.exit_code, 0, "it was the clock of then that was wrong");
    assert_eq!(calls(&fleet), "switch\n");
}

/// The exit code and what it says.
fn wait_registered(state: &Path, seconds: &str) -> (Option<i32>, String) {
    let mut command = program();
    command.args(["wait-registered", "--timeout", seconds]).env("NIXFLEET_STATE_DIR", state);
    let output = command.env("NIXFLEET_HOSTNAME", "any").env("NIXFLEET_TOKEN", TOKEN).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn wait_registered_ends_well_as_soon_as_the_agent_is_registered() {
    let fleet = Fleet::strict().await;
    let state = fleet.path("state");
    let (code, said) = wait_registered(&state, "1");
    assert_eq!(code, Some(1));
    assert!(said.contains("not registered within 1 s: no agent answers at "), "{said}");
    // It is started before the agent, as at a boot.
    let waiting = tokio::task::spawn_blocking(move || wait_registered(&state, "60"));
    let _agent = fleet.agent().await;
    assert_eq!(waiting.await.unwrap(), (Some(0), String::new()));
    fleet.assert_no_violations();
}

#[tokio::test]
async fn wait_registered_says_what_keeps_an_agent_from_being_registered() {
    let fleet = Fleet::strict().await;
    let state = fleet.path("state");
    let mut command = fleet.agent_command();
    command.env("NIXFLEET_TOKEN", "wrong");
    let _agent = AgentProcess::spawn(command, state.clone());
    eventually("the agent's socket", || state.join("agent/status.sock").exists().then_some(())).await;
    let waited = tokio::task::spawn_blocking(move || wait_registered(&state, "3")).await.unwrap();
    assert_eq!(waited.0, Some(1));
    assert!(waited.1.contains("; nixfleet-agent doctor looks for the cause"), "{}", waited.1);
    assert!(waited.1.contains("not registered within 3 s: the agent is waiting: "), "{}", waited.1);
}

#[test]
fn wait_registered_refuses_a_time_that_is_none() {
    for seconds in ["0", "86401", "soon"] {
        assert_eq!(wait_registered(Path::new("/nowhere"), seconds).0, Some(64), "{seconds}");
    }
}
