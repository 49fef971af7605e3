//! The message of a command that failed names the cause, whatever the programs write behind it.

use std::fs;

use crate::command::rebuilt_by;

/// A rebuild that writes two files, which each case replaces, and fails.
const REBUILD: &str = "#!/bin/sh\ncat \"$0.out\"\ncat \"$0.err\" >&2\nexit 1\n";

/// How nixos-rebuild ends when a program of its failed.
const CLOSING: &str = "Command 'nix --extra-experimental-features 'nix-command flakes' build' returned non-zero exit \
    status 1.\n";

#[tokio::test]
async fn the_message_of_a_failed_switch_names_the_cause_and_not_its_consequences() {
    let fleet = rebuilt_by(REBUILD).await;
    let _agent = fleet.agent().await;
    fleet.ended("clone").await;
    for (output, errors, cause) in [
        (
            "",
            "building the system configuration...\nerror:\n       … while evaluating the option `x':\n\n       \
             error:\n       Failed assertions:\n       - No root file system.\n       - No boot loader.\n",
            "error: Failed assertions: - No root file system. - No boot loader.",
        ),
        (
            "{\"message\":\"token expired\"}\n",
            "curl: (22) The requested URL returned error: 403\n",
            "curl: (22) The requested URL returned error: 403; {\"message\":\"token expired\"}",
        ),
        (
            "",
            "sudo: unable to resolve host web-1: Name or service not known\nsudo: a password is required\n",
            "sudo: a password is required",
        ),
        (
            "",
            "\u{1b}[31;1merror:\u{1b}[0m cannot connect to socket at '/d': Connection refused\n",
            "error: cannot connect to socket at '/d': Connection refused",
        ),
    ] {
        fs::write(fleet.path("rebuild.out"), output).unwrap();
        fs::write(fleet.path("rebuild.err"), format!("{errors}{CLOSING}")).unwrap();
        let status = fleet.run("switch").await;
        assert!(status.message.contains(&format!(": {cause}")), "{}", status.message);
        let lines: Vec<String> = fleet.lines().into_iter().map(|(_, line, _)| line).collect();
        assert!(lines.iter().any(|line| format!("{line}\n") == CLOSING), "the log has all lines: {lines:?}");
    }
    fleet.assert_no_violations();
}

#[tokio::test]
async fn what_a_post_build_hook_wrote_is_in_the_log_and_explains_its_failure() {
    let fleet = rebuilt_by(REBUILD).await;
    let _agent = fleet.agent().await;
    fleet.ended("clone").await;
    let log = "@nix {\"action\":\"start\",\"id\":7,\"level\":3,\"text\":\"running post-build-hook '/h'\",\"type\":110,\
         \"fields\":[\"/nix/store/5cdz-app-1.0.drv\"]}\n\
         @nix {\"action\":\"result\",\"id\":7,\"type\":107,\"fields\":[\"Unable to locate credentials\"]}\n\
         @nix {\"action\":\"msg\",\"level\":0,\"msg\":\"error: program '/h' failed with exit code 1\"}\n";
    fs::write(fleet.path("rebuild.out"), "").unwrap();
    fs::write(fleet.path("rebuild.err"), log).unwrap();
    let status = fleet.run("switch").await;
    let why = "app (post)> Unable to locate credentials; error: program '/h' failed with exit code 1";
    assert!(status.message.contains(why), "{}", status.message);
    let lines: Vec<String> = fleet.lines().into_iter().map(|(_, line, _)| line).collect();
    let shown = ["running post-build-hook '/h'...", "app (post)> Unable to locate credentials"];
    assert!(shown.iter().all(|wanted| lines.iter().any(|line| line == wanted)), "{lines:?}");
    fleet.assert_no_violations();
}
