use super::*;

/// The message of the only scene with these words in its situation.
fn message(what: &str) -> String {
    let scenes = table::scenes();
    let found: Vec<_> = scenes.iter().filter(|scene| scene.what.contains(what)).collect();
    assert_eq!(found.len(), 1, "{what}");
    found[0].judged().message
}

#[track_caller]
fn says(what: &str, parts: &[&str]) {
    let message = message(what);
    for part in parts {
        assert!(message.contains(part), "{part:?} is missing in: {message}");
    }
}

#[test]
fn each_message_names_the_thing_and_what_to_do_next() {
    says("evaluated", &["attribute 'nope' missing", "nothing was changed"]);
    says(
        "inhibitors",
        &["`switchInhibitors`", "dbus-implementation : dbus -> broker", "the profile names", "send `boot`"],
    );
    assert!(!message("inhibitors").contains("NO_CHECK"), "nobody is told to switch the checks off");
    says("another check", &["`postgresql`", "the database is older than 15", "send the command again"]);
    says("holds the lock", &["/run/nixos/switch-to-configuration.lock", "send the command again"]);
    says(
        "/boot is full",
        &["no room on /boot", "20260710.7beb50e (0rjzdwp4) runs", "20260714.1c2d3e4 (k3m8v1x5)"],
    );
    says("another init", &["next boot", "send `reboot`", "exit code 100"]);
    says("/nix is full", &["no room on /nix", "nix-collect-garbage", "nothing was changed"]);
    says("without a name", &["does not name", "df -h"]);
    says("of the checkout", &["Pull: no room for /srv/fleet"]);
    says("a snippet", &["`setupSecrets` (1)", "exit code 2"]);
    says("at its start", &["web.service failed", "exit code 4", "systemctl status web.service"]);
    assert!(!message("at its start").contains("old.service"), "an old failure is not blamed");
    says("reloaded", &["dbus-broker.service failed to reload"]);
    says("between two starts", &["had failed and recovered: web.service", "exit code 4"]);
    says("had failed before", &["failed as before this command: old.service"]);
    says("restarted itself", &["Failed to reset failed units: Did not receive a reply"]);
    says(
        "before it started units",
        &["gave up before it had started web.service again", "systemctl status web.service"],
    );
    says("still does not answer", &["took longer than 3s", "systemctl --failed"]);
    says("killed during the activation, by", &["stopped", "may be incomplete"]);
}

#[test]
fn many_names_are_counted() {
    assert_eq!(texts::names([]), "");
    assert_eq!(texts::names(["a"]), "a");
    assert_eq!(texts::names(["a", "b"]), "a and b");
    assert_eq!(texts::names(["a", "b", "c"]), "a, b and c");
    assert_eq!(texts::names(["a", "b", "c", "d", "e", "f", "g", "h"]), "a, b, c, d, e, f and 2 more");
}

#[test]
fn a_system_is_named_by_its_version_and_a_part_of_its_hash() {
    let name = |path: &str| texts::system(std::path::Path::new(path));
    assert_eq!(name(NEW), "nixos-system-web-1-26.05.20260714.1c2d3e4 (k3m8v1x5)");
    assert_eq!(name("/nix/store/new-system"), "new-system");
    assert_eq!(name("/"), "/");
    assert_eq!(name("/ünïcode-ünïcode-ünïcode-ünïcode"), "ünïcode-ünïcode-ünïcode-ünïcode");
}

#[test]
fn a_boot_says_what_the_next_boot_runs() {
    let message = |code, boots, before: (Option<&'static str>, Option<&'static str>)| {
        let scene = Scene::new("", "mount: /boot: read-only\n");
        Scene { command: "boot", code: Ok(code), boots, before, ..scene }.judged().message
    };
    let before = (Some(OLD), Some(OLD));
    assert_eq!(message(0, Some(NEW), before), "Boot: 1c2d3e4 runs from the next boot on");
    assert_eq!(message(0, None, before), "Boot: 1c2d3e4 runs from the next boot on");
    let elsewhere = message(0, Some(OLD), before);
    assert!(elsewhere.contains("1c2d3e4 is in the profile, but the next boot runs"), "{elsewhere}");
    assert!(elsewhere.contains("20260710.7beb50e") && elsewhere.contains("`bootctl list`"), "{elsewhere}");
    let failed = message(1, Some(OLD), before);
    assert!(failed.contains("could not be installed (mount: /boot: read-only)"), "{failed}");
    assert!(
        failed.contains("(k3m8v1x5), and the next boot runs nixos-system-web-1-26.05.20260710"),
        "{failed}"
    );
    let failed = message(1, Some(NEW), before);
    assert!(failed.contains("(0rjzdwp4) runs, and the next boot runs nixos-system-web-1"), "{failed}");
}
