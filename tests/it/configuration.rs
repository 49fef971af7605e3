//! Error messages for a wrong configuration or command line.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::rig::run_program;

const GOOD: [(&str, &str); 3] = [
    ("NIXFLEET_URL", "ws://127.0.0.1:1/ws"),
    ("NIXFLEET_TOKEN", "t0psecret"),
    ("NIXFLEET_STATE_DIR", "/tmp/never-made"),
];

#[track_caller]
fn refused(extra: &[(&str, &str)], words: &[&str]) {
    let environment: Vec<_> = GOOD.iter().chain(extra).copied().collect();
    for arguments in [&["check-config"][..], &[]] {
        let output = run_program(arguments, &environment);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        for word in words {
            assert!(text.contains(word), "`{word}` is not in: {text}");
        }
        assert!(!text.contains("t0psecret"), "{text}");
    }
}

#[test]
fn wrong_settings_are_named_with_their_origin_and_exit_64() {
    for value in ["0", "-5", "3601", "soon", "1.5"] {
        refused(&[("NIXFLEET_INTERVAL", value)], &["interval", value, "NIXFLEET_INTERVAL"]);
    }
    refused(&[("NIXFLEET_URL", "http://dash/ws")], &["url", "NIXFLEET_URL", "wss://dash/ws"]);
    refused(&[("NIXFLEET_URL", "not a url")], &["url", "NIXFLEET_URL"]);
    refused(&[("NIXFLEET_URL", "ws://dash.example/ws")], &["wss://", "NIXFLEET_ALLOW_INSECURE=1"]);
    refused(&[("NIXFLEET_TOKEN", "")], &["token", "NIXFLEET_TOKEN_FILE"]);
    refused(
        &[("NIXFLEET_HOSTNAME", "my_host")],
        &["NIXFLEET_HOSTNAME", "hostname = \"my-host\"", "rebuild.flake_attr = \"my_host\""],
    );
    refused(&[("NIXFLEET_LOG_LEVEL", "verbose")], &["NIXFLEET_LOG_LEVEL", "verbose", "did you mean debug?"]);
}

#[test]
fn an_unknown_key_of_the_file_is_named_with_the_file_and_the_nearest_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    fs::write(&file, "intervall = 5\n").unwrap();
    let path = file.to_str().unwrap();
    refused(&[("NIXFLEET_CONFIG", path)], &["intervall", path, "\"interval\""]);
    fs::write(&file, "interval = \n").unwrap();
    refused(&[("NIXFLEET_CONFIG", path)], &[path, ":1:"]);
    let missing = run_program(&["--config", "/no/such/file", "check-config"], &GOOD);
    assert_eq!(missing.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/no/such/file"));
}

#[test]
fn a_good_configuration_is_confirmed_without_starting() {
    let output = run_program(&["check-config"], &GOOD);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("ws://127.0.0.1:1/ws") && text.contains("30 s") && !text.contains("t0psecret"),
        "{text}"
    );
}

#[test]
fn a_second_agent_with_the_same_state_folder_is_sent_away() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    fs::create_dir(folder.path().join("agent")).unwrap();
    let lock = fs::File::create(folder.path().join("agent/lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let environment = [GOOD[0], GOOD[1], ("NIXFLEET_STATE_DIR", state)];
    let output = run_program(&[], &environment);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("another agent runs") && text.contains("NIXFLEET_STATE_DIR"), "{text}");
}

#[tokio::test]
async fn the_environment_alone_is_enough_to_start() {
    let fleet = crate::rig::Fleet::start().await;
    let repo = fleet.path("repo");
    fs::create_dir_all(repo.join(".git/refs/heads")).unwrap();
    fs::write(repo.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
    fs::write(repo.join(".git/refs/heads/main"), "1d91f2b".repeat(5) + "abcde\n").unwrap();
    let mut command = crate::rig::program();
    command.env_clear();
    command
        .env("NIXFLEET_URL", fleet.url())
        .env("NIXFLEET_TOKEN", crate::rig::TOKEN)
        .env("NIXFLEET_REPO_DIR", &repo)
        .env("NIXFLEET_STATE_DIR", fleet.path("state"));
    let _agent = crate::rig::AgentProcess::spawn(command, fleet.path("state"));
    let host = fleet
        .wait("a beat", |fleet| fleet.dashboard.hosts().pop().filter(|host| host.last_seen.is_some()))
        .await;
    assert_eq!(host.heartbeat_interval, 30, "the default");
    assert!(!host.hostname.is_empty() && !host.hostname.contains('.'));
    // Outside NixOS the checkout is the only source of the generation.
    if !std::path::Path::new("/run/current-system").exists() {
        assert_eq!(host.generation, "1d91f2b");
    }
}

#[test]
fn help_and_version_are_no_mistakes_and_wrong_usage_is() {
    let help = run_program(&["--help"], &[]);
    assert!(help.status.success());
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(
        text.contains("check-config") && text.contains("NIXFLEET_URL") && !text.contains("exec-job"),
        "{text}"
    );
    assert!(!text.contains("--check") && !text.contains("-v,") && !text.contains("-v "), "{text}");
    assert!(run_program(&["--version"], &[]).status.success());
    assert_eq!(run_program(&["--nonsense"], &[]).status.code(), Some(64));
}

#[test]
fn a_slip_in_a_subcommand_an_option_or_a_value_names_the_near_one() {
    for (words, wanted) in [
        (&["statsu"][..], "similar subcommand exists: 'status'"),
        (&["help", "statsu"], "similar subcommand exists: 'status'"),
        (&["check-conf"], "'check-config'"),
        (&["logs", "--lits"], "similar argument exists: '--list'"),
        (&["--confg", "x"], "'--config'"),
        (&["vitals", "--format", "jsno"], "similar value exists: 'json'"),
        (&["doctor", "--color", "alwys"], "'always'"),
    ] {
        let output = run_program(words, &[]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{text}");
        assert!(text.contains(wanted), "{words:?}: {text}");
    }
}

#[test]
fn the_long_version_has_the_commit_of_the_package() {
    let folder = tempfile::tempdir().unwrap();
    let (program, share) =
        (folder.path().join("bin/nixfleet-agent"), folder.path().join("share/nixfleet-agent"));
    fs::create_dir(folder.path().join("bin")).unwrap();
    fs::create_dir_all(&share).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_nixfleet-agent"), &program).unwrap();
    let said = |option: &str| {
        let output = std::process::Command::new(&program).arg(option).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let short = said("-V");
    assert_eq!(said("--version"), short, "without a package");
    for (commit, wanted) in
        [("unknown", String::new()), ("1d91f2b4c0ffee", " (commit 1d91f2b4c0ffee)".to_owned())]
    {
        fs::write(share.join("source-commit"), commit).unwrap();
        assert_eq!(said("--version"), short.trim_end().to_owned() + &wanted + "\n");
        assert_eq!(said("-V"), short);
    }
}

#[test]
fn the_options_of_the_go_agent_do_what_they_did() {
    let version = run_program(&["-V"], &[]).stdout;
    assert!(String::from_utf8_lossy(&version).starts_with("nixfleet-agent "), "{version:?}");
    let short = run_program(&["-v"], &[]);
    assert_eq!((short.status.code(), &short.stdout), (Some(0), &version));
    let wanted = run_program(&["check-config"], &GOOD);
    let checked = run_program(&["--check"], &GOOD);
    assert_eq!((checked.status.code(), checked.stdout), (Some(0), wanted.stdout));
    let bad = [GOOD[0], GOOD[1], GOOD[2], ("NIXFLEET_INTERVAL", "0")];
    assert_eq!(run_program(&["--check"], &bad).status.code(), Some(64));
    let beside = run_program(&["--check", "status"], &GOOD);
    let text = String::from_utf8(beside.stderr).unwrap();
    assert_eq!(beside.status.code(), Some(64), "{text}");
    assert!(text.contains("use nixfleet-agent check-config"), "{text}");
}

#[test]
fn of_an_installed_agent_check_config_reads_the_client_certificate_that_its_unit_passes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| fs::write(path(name), text).unwrap();
    let credential = |name: &str| format!("LoadCredential={name}:{}\n", path(name).display());
    let unit = |names: &[&str]| {
        let lines: String = names.iter().map(|name| credential(name)).collect();
        write("unit", &format!("[Service]\nEnvironment=NIXFLEET_URL=wss://127.0.0.1:1/ws\n{lines}"));
    };
    write("systemctl", &format!("#!/bin/sh\nexec cat {}\n", path("unit").display()));
    fs::set_permissions(path("systemctl"), fs::Permissions::from_mode(0o755)).unwrap();
    let system_path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let check = || {
        let output = run_program(&["check-config"], &[("PATH", &system_path)]);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let made = || rcgen::generate_simple_self_signed(vec!["web-1".to_owned()]).unwrap();
    let (one, other) = (made(), made());
    write("token", "t0psecret");
    write("client-cert", &one.cert.pem());
    write("client-key", &one.signing_key.serialize_pem());
    fs::set_permissions(path("client-key"), fs::Permissions::from_mode(0o400)).unwrap();
    unit(&["token", "client-cert", "client-key"]);
    assert_eq!(check(), (Some(0), String::new()));

    let from_the_unit = "(LoadCredential= of nixfleet-agent.service)";
    let refused = |words: &[&str]| {
        let (code, said) = check();
        assert!(code == Some(64) && said.lines().count() == 1, "{code:?} {said}");
        for word in words {
            assert!(said.contains(word), "`{word}` is not in: {said}");
        }
    };
    fs::remove_file(path("client-key")).unwrap();
    refused(&["client_key: /", "does not exist on this machine; nixfleet-agent.service cannot connect"]);
    write("client-key", &other.signing_key.serialize_pem());
    refused(&["client_key: ", "is not that of the certificate in", from_the_unit]);
    unit(&["token", "client-cert"]);
    refused(&["client_cert: is set without client_key", from_the_unit]);
}
