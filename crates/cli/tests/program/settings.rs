use std::process::Stdio;

use nixfleet_protocol::StatusKind;
use nixfleet_testbed::{Nats, Setup};
use tokio::process::Command;

use crate::rig::{Play, Rig, texts};

async fn run(words: &str, variables: &[(&str, &str)]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_nixfleet"));
    command.env_clear().env("HOME", folder.path()).envs(variables.iter().copied());
    texts(&command.args(words.split_whitespace()).stdin(Stdio::null()).output().await.unwrap())
}

#[tokio::test]
async fn wrong_usage_and_settings_name_the_fix() {
    for (words, variables, code, part) in [
        ("hosts", &[][..], 64, "no NATS server is named: give --server"),
        ("hosts", &[("NIXFLEET_NATS_SERVRES", "nats://a")], 64, "did you mean NIXFLEET_NATS_SERVERS?"),
        ("hosts -s nats://127.0.0.1:x", &[], 64, "is no address of a NATS server"),
        ("hosts -s nats://127.0.0.1:1", &[], 2, "is the address right"),
        ("hosts -s nats://127.0.0.1:1 --nkey /nonexistent", &[], 64, "/nonexistent"),
        ("hosts --config /nonexistent", &[], 64, "there is no such file"),
        ("host", &[], 64, "hosts"),
        ("run", &[], 64, "<COMMAND>"),
        ("run web-* --all", &[], 64, "no NATS server"),
    ] {
        let (got, stdout, stderr) = run(words, variables).await;
        assert_eq!((got, stdout.as_str()), (code, ""), "{words}: {stderr}");
        assert!(stderr.contains(part), "{words}: {stderr}");
    }
    for words in ["--help", "run --help", "--version", "-V"] {
        let (code, stdout, stderr) = run(words, &[]).await;
        assert_eq!((code, stderr.as_str()), (0, ""), "{words}");
        assert!(!stdout.is_empty());
    }
}

#[tokio::test]
async fn a_server_without_a_fleet_is_told_from_one_that_is_away() {
    let Some(nats) = Nats::start() else { return };
    for words in ["hosts", "watch", "logs web-1", "run pull web-1", "stop web-1"] {
        let (code, stdout, stderr) = run(&format!("{words} -s {}", nats.url()), &[]).await;
        assert_eq!((code, stdout.as_str()), (2, ""), "{words}: {stderr}");
        assert!(stderr.contains("no gateway has made it yet"), "{words}: {stderr}");
    }
    let setup = Setup { config: "jetstream: disabled".to_owned(), name: None };
    let Some(nats) = Nats::with(&setup) else { return };
    let (code, _, stderr) = run(&format!("hosts -s {}", nats.url()), &[]).await;
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("JetStream is off"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_login_of_an_operator_may_do_all_that_the_program_does() {
    let Some(rig) = Rig::with_logins().await else { return };
    rig.host("web-1").await.plays(Play::Ends(2, StatusKind::Ok)).await;
    for (words, part) in [
        ("hosts", "web-1  online"),
        ("run switch web-1 --follow", "\n1 good\n"),
        ("run switch --all --yes", "\n1 good\n"),
        ("stop web-1", "\n1 good\n"),
        ("logs web-1", "line 2 of "),
        ("logs web-1 --since 1h --json", "\"ended\""),
    ] {
        let (code, stdout, stderr) = rig.run(words).await;
        assert_eq!(code, 0, "{words}: {stdout}{stderr}");
        assert!(stdout.contains(part), "{words}: {stdout}");
    }
    let log = rig.nats.log();
    assert!(!log.contains("Violation"), "{log}");
}
