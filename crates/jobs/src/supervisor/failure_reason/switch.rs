//! What nixos-rebuild, switch-to-configuration, the activation, boot loader installers and home-manager say.

use super::rule::Meaning::{
    AddedWithLine, Begins, Cause, CauseAfterLine, CauseAfterLines, CauseOfLines, CauseWith, Closing, Lead,
    Noise, Part, Remark, Traceback, Units, WithLine,
};
use super::rule::Rule;
use super::rule::Topic::Disk;
use super::rule::When::{Both, Has, Starts};

pub(super) const RULES: &[Rule] = &[
    (Starts("building the system configuration..."), Begins),
    // A newer nixos-rebuild could not be built. The one that runs goes on.
    (Has("could not find a newer version of nixos-rebuild"), Begins),
    (Starts("Checking switch inhibitors..."), Begins),
    (Starts("updating GRUB "), Begins),
    (Starts("updating systemd-boot from "), Begins),
    (Starts("stopping the following units: "), Begins),
    (Starts("activating the configuration..."), Begins),
    // How nixos-rebuild, its predecessor and Python end.
    (Both("Command '", "' died with <Signals."), WithLine),
    (Has("CalledProcessError: Command "), Closing),
    (Both("Command '", "returned non-zero exit status"), Closing),
    (Starts("warning: error(s) occurred while switching"), Closing),
    (Starts("Finished with result: "), Closing),
    (Starts("Main processes terminated with: "), Closing),
    (Starts("Service runtime: "), Noise),
    (Starts("CPU time consumed: "), Noise),
    (Starts("Traceback (most recent call last):"), Traceback),
    (Starts("During handling of the above exception"), Noise),
    (Starts("The above exception was the direct cause"), Noise),
    (Starts("note: run with `RUST_BACKTRACE=1`"), Noise),
    // Before anything is changed.
    (Both("Pre-switch check '", "' failed"), CauseAfterLines),
    (Starts("Pre-switch checks failed"), WithLine),
    (Starts("Could not acquire lock"), Cause),
    (Starts("Could not open lock"), Cause),
    (Starts("This is not a NixOS installation!"), Cause),
    (Both("Warning: the new NixOS configuration has an", "init"), CauseOfLines(2)),
    // The boot loader.
    (Starts("Failed to install bootloader"), AddedWithLine),
    (Starts("failed to create initrd secrets"), CauseAfterLine),
    (Starts("Skipping \""), Remark),
    (Starts("Copied \""), Remark),
    (Starts("Created \""), Remark),
    // The warning says what is odd about the disk, the error that GRUB does not go on.
    (Has("grub-install: warning: "), Lead(Disk)),
    (Has("grub-install: error: "), CauseWith(Disk)),
    (Has(": installation of GRUB on "), WithLine),
    // The activation and the units.
    (Both("Activation script snippet '", "failed"), CauseAfterLine),
    (Starts("Failed to run activate script"), WithLine),
    (Starts("warning: the following units failed: "), Units),
    (Starts("warning: the following user units failed: "), Units),
    (Both("warning: user activation for ", "failed"), Part),
    (Starts("Failed to reload "), Part),
    (Starts("Failed to restart "), Part),
    (Starts("Failed to start transient "), Cause),
    (Starts("Failed to start "), Part),
    (Starts("Failed to stop "), Part),
    (Starts("Unable to list users with logind"), Cause),
    // A chain of causes of a program in Rust.
    (Starts("Error: "), Cause),
    (Both("thread '", "panicked at "), CauseOfLines(1)),
    (Starts("terminate called after throwing an instance of"), CauseOfLines(1)),
    (Starts("panic: "), Cause),
    (Starts("fatal error: "), Cause),
    // Secrets. The file that was not decrypted is missed by each program behind it.
    (Starts("age: error: "), Cause),
    (Starts("age: report unexpected "), Noise),
    // home-manager.
    (Starts("Existing file '"), Cause),
    // What a shell says about a program that was killed for its memory.
    (Has(" Killed  "), Cause),
    (Starts("WARN: "), Remark),
];

/// What a line about a single unit begins with. The list of the failed units says the same.
pub(super) const OF_A_UNIT: &[&str] =
    &["Failed to start ", "Failed to restart ", "Failed to reload ", "Failed to stop "];
