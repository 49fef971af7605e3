//! Texts of switch-to-configuration and nixos-rebuild, in the wording of the programs in Perl and shell and in that of
//! their successors, and what they mean. The scenes with a name for people are in docs/outcomes.md.

use super::*;
use crate::spec::Outcome::{
    ActivatedDespiteError, ActivatedWithFailures, BootloaderFailed, Busy, Failed, InterruptedByReboot,
    NeedsReboot, NoSpace, Refused, Stopped, TimedOut,
};

/// How nixos-rebuild-ng ends when a program of its failed.
pub(super) fn closing(code: i32) -> String {
    format!(
        "Command 'systemd-run -E LOCALE_ARCHIVE -E NIXOS_INSTALL_BOOTLOADER -E NIXOS_NO_CHECK --collect \
         --no-ask-password --pipe --quiet --service-type=exec --unit=nixos-rebuild-switch-to-configuration \
         {NEW}/bin/switch-to-configuration switch' returned non-zero exit status {code}.\n"
    )
}

/// How nixos-rebuild in shell ends then, with exit code 1.
const OLDER: &str = "warning: error(s) occurred while switching to the new configuration\n";

const BUILDING: &str = "building the system configuration...\n";

/// An activation up to the work on the units.
const ACTIVATION: &str = "stopping the following units: web.service\nactivating the configuration...\nsetting up \
                          /etc...\nreloading user units for alice...\nrestarting sysinit-reactivation.target\n";

const STARTS: &str = "starting the following units: web.service\n";

/// What the switch inhibitors say.
const INHIBITED: &str = "Checking switch inhibitors...\nThere are changes to critical components of the \
                         system:\n\ndbus-implementation : dbus -> broker\n\nSwitching into this system is not \
                         recommended.\nYou probably want to run 'nixos-rebuild boot' and reboot your system \
                         instead.\n\nIf you really want to switch into this configuration directly, then\nyou can set \
                         NIXOS_NO_CHECK=1 to ignore pre-switch checks.\n\nWARNING: doing so might cause the switch to \
                         fail or your system to become unstable.\n\nPre-switch check 'switchInhibitors' \
                         failed\nPre-switch checks failed\n";

/// The boot loader's installer on a full partition.
const BOOT_FULL: &str = "updating systemd-boot from 256 to 257\nTraceback (most recent call last):\n  File \
                         \"/nix/store/n0m7-systemd-boot/bin/systemd-boot\", line 431, in <module>\n    main()\nOSError: \
                         [Errno 28] No space left on device: '/nix/store/1234-initrd' -> \
                         '/boot/EFI/nixos/1234-initrd.efi'\nFailed to install bootloader\n";

const GRUB_FULL: &str = "updating GRUB 2 menu...\ncannot copy /nix/store/1234-linux-6.12/bzImage to \
                         /boot/kernels/1234-bzImage.tmp: No space left on device\n";

/// The warning about another init. The old and the new program have the same.
const OTHER_INIT: &str = "Warning: the new NixOS configuration has an ‘init’ that is\nincompatible with the current \
                          configuration.  The new configuration\nwon't take effect until you reboot the system.\n\n";

/// systemd re-executed itself and did not answer in time.
const BUS: &str = "activating the configuration...\nsetting up /etc...\nrestarting systemd...\nError: Failed to reset \
                   failed units\n\nCaused by:\n    Did not receive a reply. Possible causes include: the remote \
                   application did not send a reply\n";

/// A status that follows the warning about failed units.
fn unit_failed(unit: &str) -> String {
    format!(
        "warning: the following units failed: {unit}\n× {unit} - Web\n     Loaded: loaded (/etc/systemd/system/{unit}; \
         enabled; preset: ignored)\n     Active: failed (Result: exit-code) since Tue 2026-07-14 12:00:00 UTC; 40ms \
         ago\n"
    )
}

/// All scenes.
pub(super) fn scenes() -> Vec<Scene> {
    [nothing_activated(), activated(), units(), ended(), not_told_in_the_docs()]
        .into_iter()
        .flatten()
        .collect()
}

fn nothing_activated() -> Vec<Scene> {
    let scene = |what, text: &str| Scene::new(what, &format!("{BUILDING}{text}"));
    let git = |what, text| Scene { command: "pull", in_rebuild: false, ..Scene::new(what, text) }.exit(128);
    vec![
        scene("the configuration cannot be evaluated", &format!("error: attribute 'nope' missing\n{}", closing(1)))
            .untouched()
            .is(Failed),
        scene("the switch inhibitors refuse the new system", &format!("{INHIBITED}{}", closing(1))).is(Refused),
        scene(
            "another check refuses the new system",
            &format!("the database is older than 15\nPre-switch check 'postgresql' failed\nPre-switch checks failed\n{}", closing(1)),
        )
        .is(Refused),
        scene("somebody else holds the lock", &format!("Could not acquire lock\n{}", closing(11))).exit(11).is(Busy),
        scene("/boot is full", &format!("{BOOT_FULL}{}", closing(1))).is(BootloaderFailed),
        scene("the boot loader's installer failed", &format!("Error: no EFI partition is mounted\nFailed to install bootloader\n{}", closing(1)))
            .is(BootloaderFailed),
        scene("another init: systemd cannot take over", &format!("{OTHER_INIT}{}", closing(100))).exit(100).is(NeedsReboot),
        scene("/nix is full", &format!("error: opening file '/nix/var/nix/temproots/812': No space left on device\n{}", closing(1)))
            .untouched()
            .is(NoSpace),
        scene("a full file system without a name", "error: writing to file: No space left on device\n").untouched().is(NoSpace),
        git("the file system of the checkout is full", "fatal: write error: No space left on device\nfatal: fetch-pack: invalid index-pack output\n").is(NoSpace),
    ]
}

fn activated() -> Vec<Scene> {
    let scene = |what, text: &str| Scene::new(what, &format!("{BUILDING}{text}")).activated();
    vec![
        scene("all went well", &format!("{ACTIVATION}{STARTS}")).exit(0).is(Outcome::Ok),
        scene(
            "a snippet of the activation script failed",
            &format!("{ACTIVATION}{STARTS}Activation script snippet 'setupSecrets' failed (1)\nFailed to run activate script\n{}", closing(2)),
        )
        .exit(2)
        .is(ActivatedWithFailures),
        scene("a unit failed at its start", &format!("{ACTIVATION}{STARTS}{}{}", unit_failed("web.service"), closing(4)))
            .exit(4)
            .failed(&["old.service"], &["old.service", "web.service"])
            .is(ActivatedWithFailures),
        scene("a unit could not be reloaded", &format!("{ACTIVATION}Failed to reload dbus-broker.service\n{}", closing(4)))
            .exit(4)
            .is(ActivatedWithFailures),
        scene("a unit was between two starts and runs half a minute later", &format!("{ACTIVATION}{STARTS}{}{}", unit_failed("web.service"), closing(4)))
            .exit(4)
            .state("web.service", "active", "success")
            .is(ActivatedDespiteError),
        scene("only a unit failed that had failed before", &format!("{ACTIVATION}{STARTS}{}{}", unit_failed("old.service"), closing(4)))
            .exit(4)
            .failed(&["old.service"], &["old.service"])
            .is(ActivatedDespiteError),
        scene("D-Bus timed out while systemd restarted itself", &format!("{BUS}{}", closing(1))).is(ActivatedDespiteError),
        scene("D-Bus timed out before it started units", &format!("stopping the following units: web.service, gone.service\n{BUS}{}", closing(1)))
            .state("web.service", "inactive", "success")
            .is(ActivatedWithFailures),
        Scene { unknown: Some("took longer than 3s"), failed: (Some(vec![]), None), ..scene("D-Bus timed out, and systemd still does not answer", &format!("{BUS}{}", closing(1))) }
            .is(ActivatedWithFailures),
        Scene { code: Err(9), ..scene("the rebuild was killed during the activation", ACTIVATION) }.is(ActivatedWithFailures),
    ]
}

/// What else is told, by the state of units.
fn units() -> Vec<Scene> {
    let scene =
        |text: &str| Scene::new("", &format!("{ACTIVATION}{STARTS}{text}{}", closing(4))).activated().exit(4);
    let web = unit_failed("web.service");
    vec![
        // Between two starts once more: it fails again and again.
        scene(&web).state("web.service", "activating", "exit-code").is(ActivatedWithFailures),
        // Done: a unit of the type "oneshot".
        scene(&web).state("web.service", "inactive", "success").is(ActivatedDespiteError),
        scene(&web).state("web.service", "inactive", "exit-code").is(ActivatedWithFailures),
        // It was not started, because a unit that it needs failed.
        scene("Failed to start web.service\n")
            .state("web.service", "inactive", "success")
            .is(ActivatedWithFailures),
        scene("Failed to start web.service\n")
            .state("web.service", "active", "success")
            .is(ActivatedDespiteError),
        // The list of failed units decides where systemctl has no states.
        scene(&web).is(ActivatedDespiteError),
        // Without systemd, the rebuild is believed.
        Scene { failed: (None, None), ..scene(&web) }.is(ActivatedWithFailures),
        // One recovered, one failed, one had failed.
        scene("warning: the following units failed: a.service, b.service, c.service\n")
            .failed(&["c.service"], &["b.service", "c.service"])
            .state("a.service", "active", "success")
            .is(ActivatedWithFailures),
        // It runs again although the rebuild did not get there.
        Scene::new("", &format!("stopping the following units: web.service\n{BUS}"))
            .activated()
            .state("web.service", "active", "success")
            .is(ActivatedDespiteError),
        // A unit that nobody named.
        scene("").failed(&[], &["late.service"]).is(ActivatedWithFailures),
        scene("warning: user activation for alice failed\n").is(ActivatedWithFailures),
        scene("warning: the following user units failed: sync.service\n").is(ActivatedWithFailures),
        // Exit code 0, and a unit failed a moment later.
        scene("").exit(0).failed(&[], &["late.service"]).is(Outcome::Ok),
    ]
}

/// Commands that were ended.
fn ended() -> Vec<Scene> {
    let scene = |what, stopped, code| Scene { stopped: Some(stopped), code, ..Scene::new(what, BUILDING) };
    vec![
        scene("stopped during the build", Reason::Request, Err(15)).untouched().is(Stopped),
        Scene {
            text: ACTIVATION.to_owned(),
            ..scene("killed during the activation, by SIGKILL", Reason::Request, Err(9))
        }
        .activated()
        .is(Stopped),
        scene("the machine went down", Reason::Shutdown, Err(15)).untouched().is(InterruptedByReboot),
        Scene { command: "backup", ..scene("a command of the host ran too long", Reason::Timeout, Err(15)) }
            .is(TimedOut),
    ]
}

fn not_told_in_the_docs() -> Vec<Scene> {
    let scene = |text: &str| Scene::new("", text);
    let none = (None, None);
    vec![
        // nixos-rebuild in shell: 1 stands for every exit code.
        scene(&format!("{INHIBITED}{OLDER}")).is(Refused),
        scene(&format!("{BOOT_FULL}{OLDER}")).is(BootloaderFailed),
        // Older switch-to-configuration says nothing when the installer of the boot loader fails.
        scene(&format!("{GRUB_FULL}{OLDER}")).is(BootloaderFailed),
        scene(&format!("{OTHER_INIT}{OLDER}")).is(NeedsReboot),
        scene(&format!("{ACTIVATION}{STARTS}{}{OLDER}", unit_failed("web.service")))
            .activated()
            .failed(&[], &["web.service"])
            .is(ActivatedWithFailures),
        // Perl: systemctl tells what failed.
        scene(&format!(
            "activating the configuration...\nsetting up tmpfiles\nJob for web.service failed because the control \
             process exited with error code.\nSee \"systemctl status web.service\" and \"journalctl -xeu web.service\" \
             for details.\n{}",
            unit_failed("web.service")
        ))
        .activated()
        .exit(4)
        .failed(&[], &["web.service"])
        .is(ActivatedWithFailures),
        scene("Could not acquire lock - Resource temporarily unavailable at /nix/store/4rv8-switch line 93.\n")
            .exit(11)
            .is(Busy),
        scene("Failed to start transient service unit: Unit nixos-rebuild-switch-to-configuration.service was already loaded or has a fragment file.\n").is(Busy),
        // Exit codes that are errors of the operating system: nothing was activated.
        scene("Error: Failed to parse os-release\n\nCaused by:\n    No such file or directory (os error 2)\n").exit(2).is(Failed),
        scene("Error: Failed to open dbus connection\n\nCaused by:\n    Interrupted system call\n").exit(4).is(Failed),
        scene("This is not a NixOS installation!\n").exit(2).is(Failed),
        scene("thread 'main' panicked at src/main.rs:1:1:\n").exit(101).is(Failed),
        // The same system once more.
        Scene { before: (Some(NEW), Some(NEW)), ..scene(&format!("{ACTIVATION}{STARTS}{}{}", unit_failed("web.service"), closing(4))) }
            .activated()
            .exit(4)
            .failed(&[], &["web.service"])
            .is(ActivatedWithFailures),
        // A specialisation: the profile names the system that contains it.
        Scene { after: (Some(OLD), Some(NEW)), before: (Some(OLD), Some(NEW)), ..scene(&format!("{ACTIVATION}{STARTS}Failed to reload a.service\n")) }
            .exit(4)
            .is(ActivatedWithFailures),
        // The activation script failed before it came to the link of the running system.
        scene("stopping the following units: web.service\nactivating the configuration...\nFailed to run activate script\nError: a\n").exit(1).is(Failed),
        // Nobody knows which system runs.
        Scene { before: none, after: none, failed: none2(), ..scene(&format!("{ACTIVATION}Activation script snippet 'nix' failed (127)\nFailed to run activate script\n")) }
            .exit(2)
            .is(ActivatedWithFailures),
        Scene { before: none, after: none, failed: none2(), ..scene(INHIBITED) }.is(Refused),
        Scene { before: none, after: none, failed: none2(), ..scene("error: a\n") }.exit(2).is(Failed),
        // Without a line, the exit code is all there is.
        Scene { failed: none2(), ..scene("") }.activated().exit(4).is(ActivatedWithFailures),
        Scene { failed: none2(), ..scene("") }.activated().exit(2).is(ActivatedWithFailures),
        Scene { failed: none2(), ..scene(BUS) }.activated().is(ActivatedDespiteError),
        // The same error of the kernel, and no full disk.
        scene("error: cloning builder process: No space left on device\nerror: unable to start build process\n").untouched().is(Failed),
        // A full disk of a build, which may run on another machine.
        scene("web> cp: error writing '/build/a': No space left on device\nerror: builder for '/nix/store/h1cd-web.drv' failed with exit code 1\n").untouched().is(Failed),
        // A full disk behind which the activation went on.
        scene(&format!("{ACTIVATION}cp: error writing '/var/lib/a': No space left on device\nActivation script snippet 'a' failed (1)\nFailed to run activate script\n"))
            .activated()
            .exit(2)
            .is(ActivatedWithFailures),
        // Somebody stopped the unit of the activation, and `systemd-run` ended with 0.
        scene("stopping the following units: web.service\n").exit(0).is(Failed),
        scene("activating the configuration...\n").exit(0).is(Failed),
        scene("").exit(0).is(Outcome::Ok),
        // On trial, the system is not in the profile yet.
        scene(OTHER_INIT).untouched().exit(100).is(NeedsReboot),
        // The words were lost, but the profile is set. nix ends with 100 when a build failed.
        scene("").exit(100).is(NeedsReboot),
        scene("error: builder for '/nix/store/0-a.drv' failed with exit code 1\n").untouched().exit(100).is(Failed),
        // `boot` activates nothing.
        Scene { command: "boot", ..scene(&format!("{BOOT_FULL}{}", closing(1))) }.is(BootloaderFailed),
        // It sets the profile, and nothing comes behind the boot loader.
        Scene { command: "boot", ..scene("mount: /boot: read-only\n") }.is(BootloaderFailed),
        Scene { command: "boot", ..scene("error: attribute 'web' missing\n") }.untouched().is(Failed),
        Scene { command: "boot", boots: Some(NEW), ..scene("") }.exit(0).is(Outcome::Ok),
        // A pull before the switch.
        Scene { command: "pull-switch", in_rebuild: false, ..scene("fatal: a\n") }.untouched().exit(128).is(Failed),
        // A program of the operator may write what it likes.
        Scene { command: "backup", ..scene("cp: error writing '/srv/a': No space left on device\n") }.is(Failed),
    ]
}

fn none2() -> (Option<Vec<&'static str>>, Option<Vec<&'static str>>) {
    (None, None)
}
