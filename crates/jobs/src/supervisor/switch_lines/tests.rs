use std::borrow::Cow;

use super::*;

fn read(text: &str) -> SwitchLines {
    let mut lines = SwitchLines::default();
    for line in text.lines() {
        lines.read(Source::Stderr, &Piece { text: Cow::Borrowed(line), cont: false });
    }
    lines
}

#[test]
fn a_line_of_a_build_means_nothing_for_the_switch() {
    for line in [
        "warning: the following units failed: web.service",
        "Failed to install bootloader",
        "Could not acquire lock",
        "Pre-switch check 'x' failed",
        "activating the configuration...",
        "cp: error writing '/nix/store/a': No space left on device",
        "Unit nixos-rebuild-switch-to-configuration.service was already loaded",
        "the new NixOS configuration has an ‘init’ that is",
    ] {
        let mut quiet = read(&format!("vm-test-run-web> {line}\n       > {line}"));
        quiet.recent = Default::default();
        quiet.since_no_room = 0;
        assert_eq!(quiet, SwitchLines::default(), "{line}");
        assert_ne!(read(line), SwitchLines::default(), "{line}");
    }
}

#[test]
fn a_text_of_the_configuration_means_nothing_for_the_switch() {
    for line in [
        "Pre-switch check 'x' failed",
        "Pre-switch checks failed",
        "Could not acquire lock",
        "Failed to install bootloader",
        "Warning: the new NixOS configuration has an ‘init’ that is",
    ] {
        let said = |text: &str| {
            let found = read(text);
            found.check.is_some() || found.busy || found.boot_loader_failed || found.needs_reboot
        };
        // The text of a `throw`, and of a trace with two lines.
        for text in [
            format!("error: the firewall is off\n       {line}"),
            format!(
                "trace: a\n{line}\nerror:\n       … while evaluating\n\n       error: attribute 'a' missing"
            ),
            format!("trace: a\n{line}\nbuilding '/nix/store/0-a.drv'..."),
        ] {
            assert!(!said(&text), "{text}");
        }
        assert!(said(line), "{line}");
        assert!(said(&format!("building '/nix/store/0-a.drv'...\n{line}")), "{line}");
    }
}

#[test]
fn a_long_line_counts_by_its_beginning_and_each_stream_has_its_own_lines() {
    let mut lines = SwitchLines::default();
    let piece = |text, cont| Piece { text: Cow::Borrowed(text), cont };
    lines.read(Source::Stderr, &piece("a beginning ", true));
    lines.read(Source::Stdout, &piece("activating the configuration...", false));
    lines.read(Source::Stderr, &piece("Could not acquire lock", false));
    assert!(lines.activating && !lines.busy);
    lines.read(Source::Stderr, &piece("Could not acquire lock", false));
    assert!(lines.busy);
}

#[test]
fn a_held_lock_is_known_in_each_wording() {
    for (line, busy) in [
        ("Could not acquire lock", true),
        (
            "Could not acquire lock - Resource temporarily unavailable at \
             /nix/store/4rv8-switch-to-configuration line 93.",
            true,
        ),
        (
            "Failed to start transient service unit: Unit nixos-rebuild-switch-to-configuration.service was already \
             loaded or has a fragment file.",
            true,
        ),
        ("Could not open lock", false),
        ("Could not acquire lockfile of the database", false),
    ] {
        assert_eq!(read(line).busy, busy, "{line}");
    }
}

#[test]
fn missing_room_is_told_from_other_limits_with_the_same_error() {
    let path = |line: &str| read(line).no_room().map(|found| found.path.clone());
    for (line, expected) in [
        ("error: writing to file: No space left on device", None),
        (
            "error: opening file '/nix/var/nix/temproots/812': No space left on device",
            Some("/nix/var/nix/temproots/812"),
        ),
        ("fatal: write error: No space left on device", None),
        (
            "OSError: [Errno 28] No space left on device: '/nix/store/1234-initrd' -> '/boot/EFI/nixos/1234-initrd.efi'",
            Some("/boot/EFI/nixos/1234-initrd.efi"),
        ),
        (
            "cannot copy /nix/store/1234-linux-6.12/bzImage to /boot/kernels/1234-bzImage.tmp: No space left on device",
            Some("/boot/kernels/1234-bzImage.tmp"),
        ),
        (
            "error: executing SQLite statement 'insert into ValidPaths': database or disk is full (in '/nix/var/nix/db/db.sqlite')",
            Some("/nix/var/nix/db/db.sqlite"),
        ),
        ("cp: cannot create directory '/srv/x': Disk quota exceeded", Some("/srv/x")),
    ] {
        assert_eq!(path(line), Some(expected.map(str::to_owned)), "{line}");
    }
    for line in [
        "error: cloning builder process: No space left on device",
        "Failed to add a watch for /run/systemd/ask-password: No space left on device",
        "inotify_add_watch: No space left on device",
        "unshare: unshare failed: No space left on device",
        "error (ignored): error: writing to file: No space left on device",
        "warning: cannot write the cache: No space left on device",
        "error: build on 'ssh://builder' failed: writing to file: No space left on device",
    ] {
        assert_eq!(path(line), None, "{line}");
    }
    // A line far behind is another matter.
    let later = "building\n".repeat(EXPLAINS_FOR + 1);
    let full = "error: writing to file: No space left on device\n";
    assert!(read(&format!("{full}{}", "trace\n".repeat(EXPLAINS_FOR))).no_room().is_some());
    assert!(read(&format!("{full}{later}error: attribute 'nope' missing")).no_room().is_none());
}

#[test]
fn names_are_names_of_units_and_all_lists_are_bounded() {
    let lines = read(
        "activating the configuration...\n\
         warning: the following units failed: a.service, systemd-fsck@dev-disk-by\\x2dlabel-home.service, -rf.service, \
         no-unit, b.mount\nFailed to reload dbus-broker.service\nFailed to start Network Time Synchronization.\nFailed to \
         start c.service: Unit c.service not found.\nFailed to restart user unit d.service: Timeout was reached",
    );
    let fsck = "systemd-fsck@dev-disk-by\\x2dlabel-home.service";
    assert_eq!(lines.failed_units, ["a.service", fsck, "b.mount"]);
    let jobs: Vec<_> = lines.failed_jobs.iter().map(|job| (job.verb.to_string(), &*job.unit)).collect();
    assert_eq!(jobs, [("reload".to_owned(), "dbus-broker.service"), ("start".to_owned(), "c.service")]);
    assert_eq!(lines.user_units, ["d.service"]);

    let many: Vec<String> = (0..1000).map(|n| format!("u{n}.service")).collect();
    let snippets: String =
        (0..1000).map(|n| format!("Activation script snippet '{n}' failed (1)\n")).collect();
    let noise = "x".repeat(10_000) + "\n";
    let lines = read(&format!(
        "{snippets}{}warning: the following units failed: {}\nPre-switch check 'y' failed",
        noise.repeat(100),
        many.join(", ")
    ));
    assert_eq!((lines.failed_units.len(), lines.snippets.len()), (MAX_NAMES, MAX_NAMES));
    let check = lines.check.unwrap();
    assert_eq!(check.lines.len(), MAX_CHECK_LINES);
    assert!(check.lines.iter().all(|line| line.chars().count() <= MAX_LINE));
}

#[test]
fn a_check_is_quoted_without_what_ran_before_it_and_without_general_advice() {
    let check = read(
        "building the system configuration...\nweb> a line of a build\nbuilding '/nix/store/h1cd-nixos-system.drv'...\nChecking switch \
         inhibitors... done\nThe new system needs 4 GiB of memory,\n\nthis host has 2.\nPre-switch check 'memory' \
         failed\nPre-switch checks failed",
    )
    .check
    .unwrap();
    assert_eq!((&*check.name, check.advises_boot), ("memory", false));
    assert_eq!(check.lines, ["The new system needs 4 GiB of memory,", "this host has 2."]);
}

#[test]
fn an_error_is_kept_with_its_causes() {
    let error = |text: &str| read(text).error;
    assert_eq!(
        error(
            "Error: Failed to reset failed units\n\nCaused by:\n    Connection timed out\nCommand 'x' failed"
        ),
        "Failed to reset failed units: Connection timed out"
    );
    assert_eq!(error("Error: a\n\nCaused by:\n    0: b\n    1: c: d\nwhat follows"), "a: b: c: d");
    assert_eq!(error("Error: a\nCaused by:\n\n  b\n  c"), "a: b");
    assert_eq!(error("Caused by:\n    b"), "");
}
